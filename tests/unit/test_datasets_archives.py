"""Unpacking archives of data sets: nothing half-written is taken for whole, nothing lands outside of its folder."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.fetching import archives
from editfrontier.base.fetching.archives import unpack
from editfrontier.base.fetching.files import ExpectedFile, find_file
from test_datasets_files import CONTENT, make_tar, make_zip, tree


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_outside_of_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"a.{kind}", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(UserError, match="leads outside the folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert tree(tmp_path) == {f"a.{kind}"}


def test_links_are_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    for name in ("a.zip", "a.tar"):
        with pytest.raises(UserError, match="'link' is a link or a device"):
            unpack(tmp_path / name, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


@pytest.mark.parametrize(("kind", "kept"), [("zip", 0.5), ("zip", 0.99), ("tar.gz", 0.5), ("tar.gz", 0.9)])
def test_a_truncated_archive_leaves_nothing(tmp_path: Path, kind: str, kept: float) -> None:
    names = {f"images/{number}.bin": os.urandom(5000) for number in range(20)}
    archive = (make_zip if kind == "zip" else make_tar)(tmp_path / f"a.{kind}", names)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=r"a.(zip|tar.gz): is truncated or damaged .*download it again"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.bin": CONTENT})
    damaged = bytearray(archive.read_bytes())
    damaged[5000] ^= 255
    archive.write_bytes(damaged)
    with pytest.raises(UserError, match="is truncated or damaged"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("compression", "place"), [(zipfile.ZIP_BZIP2, 60), (zipfile.ZIP_LZMA, 60), (zipfile.ZIP_DEFLATED, -6)]
)
def test_damage_of_every_kind_is_said_to_be_damage(tmp_path: Path, compression: int, place: int) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr("1.bin", CONTENT)
    damaged = bytearray(archive.read_bytes())
    damaged[place] ^= 255  # the start of the content, or where the directory begins
    archive.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a.zip: is truncated or damaged .*download it again"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path) == {"a.zip"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.bin": CONTENT})

    def refused(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(archives.tempfile, "TemporaryDirectory", refused)  # nobody is refused anything as root
    with pytest.raises(UserError, match=r"out cannot be written \(Read-only file system\).*option `root`"):
        unpack(archive, tmp_path / "out")


KILLED = """
import os, signal, sys
from pathlib import Path
from editfrontier.base.fetching import archives

name, mark = sys.argv[3:]
action = getattr(archives, name) if hasattr(archives, name) else getattr(os, name)

def killed(*args, **kwargs):
    if mark in str(args):
        os.kill(os.getpid(), signal.SIGKILL)
    return action(*args, **kwargs)

setattr(archives if hasattr(archives, name) else os, name, killed)
archives.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("function", "mark"), [("_write_member", "b/2.bin"), ("rename", "2.bin"), ("rename", "whole")], ids=str
)
def test_what_a_killed_job_unpacked_is_not_taken_for_the_data(tmp_path: Path, function: str, mark: str) -> None:
    """One that is killed while it writes, while it fills a folder that is there, and before the last rename."""
    names = {f"{folder}/{number}.bin": CONTENT[:9999] for folder in ("a", "b", "whole") for number in range(3)}
    archive, out = make_zip(tmp_path / "all.zip", names), tmp_path
    (out / "b").mkdir()
    (out / "b" / "1.bin").write_bytes(b"mine")
    command = [sys.executable, "-c", KILLED, str(archive), str(out), function, mark]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = out.glob(".unpacking-*")
    file = ExpectedFile(path="whole/", what="images", archive="all.zip")
    archive.rename(tmp_path / "elsewhere.zip")
    with pytest.raises(UserError, match=r"there is no .*all\.zip, or unpacked"):  # and not: move what was unpacked
        find_file("d", tmp_path, file, "by hand")
    (tmp_path / "elsewhere.zip").rename(archive)
    find_file("d", tmp_path, file, "by hand")
    assert not left.exists() and tree(tmp_path) == {"all.zip", *names}


def test_what_a_job_of_another_machine_unpacks_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = tmp_path / ".unpacking-1@another-node-x1y2z3_a"
    own = tmp_path / f".unpacking-{os.getpid()}@{socket.gethostname()}-abc"
    for folder in (theirs, own):
        folder.mkdir()
    unpack(make_zip(tmp_path / "a.zip", {"1.png": b"1"}), tmp_path)
    assert theirs.is_dir() and own.is_dir()
    assert f"{theirs}: belongs to a job on another machine" in caplog.text and str(own) not in caplog.text


def test_a_web_page_in_place_of_an_archive_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>Google Drive: quota exceeded</html>")
    with pytest.raises(UserError, match="is truncated or damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_an_encrypted_archive_is_to_be_unpacked_by_hand(tmp_path: Path) -> None:
    # Python reads encrypted files but does not write them: here the flag alone says that it is one.
    archive = make_zip(tmp_path / "a.zip", {"1.bin": b"x" * 100})
    raw = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    archive.write_bytes(raw)
    with pytest.raises(UserError, match=r"cannot be unpacked \(.*password"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.bin": CONTENT})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="its files need 1024000 bytes but the disk of .* has 1000 left"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.bin": CONTENT, "2.bin": CONTENT})

    def full(source: object, target: object, length: int = 0) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"a.zip: the disk is full. Free some space and run again"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


def test_files_that_are_there_stay_and_others_come_beside_them(tmp_path: Path) -> None:
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out" / "images" / "1.png").write_bytes(b"mine")
    unpack(make_zip(tmp_path / "a.zip", {"images/1.png": b"theirs", "images/2.png": b"2"}), tmp_path / "out")
    assert (tmp_path / "out" / "images" / "1.png").read_bytes() == b"mine"
    assert (tmp_path / "out" / "images" / "2.png").read_bytes() == b"2"


def test_what_a_mac_adds_is_left_out(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip", {"1.png": b"1", "__MACOSX/._1.png": b"x"}), tmp_path / "out")
    assert tree(tmp_path / "out") == {"1.png"}
