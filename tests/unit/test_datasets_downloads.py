"""Downloads of raw files: resumed, checked, named last; refusals say what to do by hand."""

from __future__ import annotations

import dataclasses
import errno
import http.server
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.fetching import downloads
from editfrontier.base.fetching.downloads import download
from editfrontier.base.fetching.progress import reporter
from editfrontier.data.reading.inventory import fetch_files
from test_datasets_files import CONTENT, MD5, SHA256, tree


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`, and breaks off as often as the test wants."""

    breaks = 0
    ranges = True
    tag = '"one"'
    requests: list[str] = []  # noqa: RUF012 - reset by each test

    def do_GET(self) -> None:
        cls = type(self)
        cls.requests.append(self.headers.get("Range", ""))
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/gated":
            self.send_error(403)
            return
        start = 0
        if cls.ranges and self.headers.get("Range") and self.headers.get("If-Range", cls.tag) == cls.tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", cls.tag)
        self.end_headers()
        if cls.breaks:
            cls.breaks -= 1
            body = body[: len(body) // 3]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.breaks, Handler.ranges, Handler.tag, Handler.requests = 0, True, '"one"', []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def test_a_download_is_checked_and_named_last(server: str, tmp_path: Path) -> None:
    download(f"{server}/a", tmp_path / "x" / "a.zip", size=len(CONTENT), md5=MD5, sha256=SHA256)
    assert (tmp_path / "x" / "a.zip").read_bytes() == CONTENT
    assert tree(tmp_path) == {"x/a.zip"}
    download(f"{server}/a", tmp_path / "x" / "a.zip")  # nothing to do
    assert len(Handler.requests) == 1


def test_a_broken_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    Handler.breaks = 2
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5, wait=0)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert Handler.requests[0] == "" and [text != "" for text in Handler.requests[1:]] == [True, True]


def test_a_later_run_goes_on_too(server: str, tmp_path: Path) -> None:
    Handler.breaks = 1
    with pytest.raises(UserError, match=r"cannot be downloaded .*a.zip.part is kept, a further run continues it"):
        download(f"{server}/a", tmp_path / "a.zip", tries=1)
    done = (tmp_path / "a.zip.part").stat().st_size
    assert 0 < done < len(CONTENT) and not (tmp_path / "a.zip").exists()
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5)
    assert Handler.requests[-1] == f"bytes={done}-"


def test_a_file_that_has_changed_is_downloaded_anew(server: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"start of the old file")
    (tmp_path / "a.zip.part.tag").write_text('"zero"')
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_anew(server: str, tmp_path: Path) -> None:
    Handler.ranges, Handler.breaks = False, 1
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5, wait=0)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_of_unknown_origin_is_not_continued(server: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"what is this")
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5)
    assert Handler.requests == [""]


def test_a_part_that_is_too_long_is_thrown_away(server: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.zip.part.tag").write_text('"one"')
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5, wait=0)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_content_with_a_wrong_checksum_is_not_kept(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="what was downloaded is not what was expected: .*md5"):
        download(f"{server}/a", tmp_path / "a.zip", md5="00", by_hand="Ask the authors.")
    assert tree(tmp_path) == set()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone", "there is nothing any more .HTTP 404."),
        ("gated", "access was refused .HTTP 403.; terms must be accepted"),
    ],
)
def test_refusals_say_what_to_do_by_hand(server: str, tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"{message}.*Ask the authors. The file goes to .*a.zip"):
        download(f"{server}/{path}", tmp_path / "a.zip", by_hand="Ask the authors.", wait=0)
    assert len(Handler.requests) == 1  # asking again would not help


def test_without_network_the_message_says_what_to_do_by_hand(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be downloaded .*Ask the authors. The file goes to .*a.zip"):
        download("http://127.0.0.1:9/a", tmp_path / "a.zip", by_hand="Ask the authors.", tries=2, wait=0)


def test_a_full_disk_keeps_the_part(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Handler.breaks = 1
    with pytest.raises(UserError):
        download(f"{server}/a", tmp_path / "a.zip", tries=1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"a.zip.part: the disk is full"):
        download(f"{server}/a", tmp_path / "a.zip", wait=0)
    assert (tmp_path / "a.zip.part").stat().st_size > 0


def test_a_download_that_is_killed_goes_on(server: str, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from editfrontier.base.fetching import downloads\n"
        "downloads._CHUNK = 100_000\n"
        "def reporter(what): return lambda done, total: done > 300_000 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "downloads.reporter = reporter\n"
        "downloads.download(sys.argv[1], Path(sys.argv[2]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, f"{server}/a", str(tmp_path / "a.zip")], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = (tmp_path / "a.zip.part").stat().st_size
    assert 100_000 < done < len(CONTENT) and not (tmp_path / "a.zip").exists()
    download(f"{server}/a", tmp_path / "a.zip", md5=MD5)
    assert Handler.requests[-1] == f"bytes={done}-" and tree(tmp_path) == {"a.zip"}


def test_a_folder_that_cannot_be_made_or_written_is_named(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: this folder cannot be made \(File exists\)"):
        download(f"{server}/a", tmp_path / "file" / "a.zip")

    def refused(*args: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(downloads, "_continue", refused)  # nobody is refused anything as root
    with pytest.raises(
        UserError, match=r"a.zip.part: cannot be written \(Permission denied\). Correct the permissions"
    ):
        download(f"{server}/a", tmp_path / "a.zip")


def test_progress_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([0.0, 1.0, 11.0, 12.0, 25.0])
    report = reporter("downloading a", period=10, clock=lambda: next(times))
    with caplog.at_level("INFO"):
        for done in (1, 2, 3, 4):
            report(done * 10**9, 5 * 10**9)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "downloading a: 40 % of 5.00 GB",
        "downloading a: 80 % of 5.00 GB",
    ]


def test_what_may_be_downloaded_is(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from editfrontier.data.datasets import coco

    files = tuple(
        dataclasses.replace(file, url=f"{server}/{file.archive}", size=len(CONTENT), md5=MD5)
        for file in coco.DATASET.files
    )
    monkeypatch.setattr(coco, "DATASET", dataclasses.replace(coco.DATASET, files=files))
    assert fetch_files("coco", str(tmp_path)) == [tmp_path / "val2017.zip", tmp_path / "annotations_trainval2017.zip"]
    assert len(Handler.requests) == 2  # two tables come from one archive
    assert fetch_files("coco", str(tmp_path)) == []


def test_what_may_not_be_downloaded_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing of it may be downloaded by a program. Read the agreement"):
        fetch_files("celeba_hq", str(tmp_path))
