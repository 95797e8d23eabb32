"""Raw files of data sets: finding, checking, unpacking, downloading; nothing half-written is taken for whole."""

from __future__ import annotations

import errno
import hashlib
import io
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

from editfrontier.datasets import RENDERED, dataset_names, dataset_problems, get_dataset
from editfrontier.datasets import files as library
from editfrontier.datasets.choice import check_manifest, read_manifest, salted, write_manifest
from editfrontier.datasets.files import ExpectedFile, data_folder, find_file, missing, unpack, verify_file
from editfrontier.datasets.inventory import describe, summary
from editfrontier.errors import UserError

CONTENT = bytes(range(256)) * 4000  # about a megabyte
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def make_zip(path: Path, names: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in names.items():
            file.writestr(name, content)
    return path


def make_tar(path: Path, names: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- where files lie -------------------------------------------------------------------------------------------------


def test_the_folder_is_the_option_the_variable_or_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITFRONTIER_DATA", raising=False)
    assert data_folder("coco") == Path("data/coco")
    monkeypatch.setenv("EDITFRONTIER_DATA", "/shelf")
    assert data_folder("coco") == Path("/shelf/coco")
    assert data_folder("coco", "/here") == Path("/here")


def test_a_file_in_its_archive_is_unpacked_once(tmp_path: Path) -> None:
    file = ExpectedFile(path="images/", what="images", archive="all.zip", inside="Top")
    make_zip(tmp_path / "all.zip", {"Top/images/1.png": b"1", "Top/table.txt": b"t", "readme.txt": b"r"})
    assert find_file("d", tmp_path, file, "by hand") == tmp_path / "images/"
    assert tree(tmp_path) == {"all.zip", "images/1.png", "table.txt"}
    (tmp_path / "all.zip").write_bytes(b"no longer looked at")
    assert find_file("d", tmp_path, file, "by hand") == tmp_path / "images/"


def test_what_is_missing_is_listed_without_optional_files(tmp_path: Path) -> None:
    needed = ExpectedFile(path="a.txt", what="a")
    packed = ExpectedFile(path="b/", what="b", archive="b.zip")
    optional = ExpectedFile(path="c.txt", what="c", optional=True)
    assert missing(tmp_path, [needed, packed, optional]) == [needed, packed]
    (tmp_path / "b.zip").touch()
    assert missing(tmp_path, [needed, packed, optional]) == [needed]


def test_one_folder_too_deep_is_said_with_the_fix(tmp_path: Path) -> None:
    inner = tmp_path / "Set-v1"
    (inner / "images").mkdir(parents=True)
    (inner / "images" / "1.png").touch()
    file = ExpectedFile(path="images/", what="images", archive="all.zip")
    with pytest.raises(UserError) as error:
        find_file("d", tmp_path, file, "by hand")
    assert f"Move the content of {inner} to {tmp_path}, or give the option `root: {inner}`" in str(error.value)


def test_a_folder_within_itself_is_one_too_deep(tmp_path: Path) -> None:
    # `unzip val2017.zip -d val2017` makes it.
    file = ExpectedFile(path="images/", what="images", archive="all.zip")
    inner = tmp_path / "images" / "images"
    inner.mkdir(parents=True)
    (tmp_path / "images" / ".DS_Store").touch()
    with pytest.raises(UserError) as error:
        find_file("d", tmp_path, file, "by hand")
    assert str(error.value) == (f"{inner}: lies one folder too deep. Move the content of {inner} to {inner.parent}.")
    (tmp_path / "images" / "1.png").touch()  # a folder of that name among images is the authors' affair
    assert find_file("d", tmp_path, file, "by hand") == tmp_path / "images/"
    table = ExpectedFile(path="images/table.txt", what="a table")
    (inner / "table.txt").touch()
    with pytest.raises(UserError) as error:
        find_file("d", tmp_path, table, "by hand")
    assert f"Move the content of {inner} to {inner.parent}." in str(error.value)


def test_an_empty_folder_is_not_taken_for_the_data(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    file = ExpectedFile(path="images/", what="images", archive="all.zip")
    assert missing(tmp_path, [file]) == [file]
    make_zip(tmp_path / "all.zip", {"images/1.png": b"1"})
    find_file("d", tmp_path, file, "by hand")
    assert tree(tmp_path) == {"all.zip", "images/1.png"}


def test_a_plain_file_of_another_checksum_is_said_to_be_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = ExpectedFile(path="table.txt", what="a table", md5=MD5)
    (tmp_path / "table.txt").write_bytes(CONTENT)
    find_file("d", tmp_path, file, "by hand")
    assert not caplog.records
    (tmp_path / "table.txt").write_bytes(CONTENT[:-1])
    assert find_file("d", tmp_path, file, "by hand") == tmp_path / "table.txt"
    assert f"table.txt: has the md5 {hashlib.md5(CONTENT[:-1]).hexdigest()}, expected {MD5}" in caplog.text


def test_an_unfinished_download_is_not_taken_for_missing(tmp_path: Path) -> None:
    (tmp_path / "all.zip.part").write_bytes(b"12345")
    file = ExpectedFile(path="images/", what="images", archive="all.zip", url="http://nowhere")
    with pytest.raises(UserError, match=r"all.zip.part: the download of 'd' is not finished \(5 bytes are there\)"):
        find_file("d", tmp_path, file, "by hand")


def test_another_archive_of_the_same_name_is_said_to_be_one(tmp_path: Path) -> None:
    make_zip(tmp_path / "all.zip", {"other/1.png": b"1"})
    file = ExpectedFile(path="images/", what="images", archive="all.zip")
    with pytest.raises(UserError, match=r"all.zip: holds no 'images/'"):
        find_file("d", tmp_path, file, "by hand")


# --- checking --------------------------------------------------------------------------------------------------------


def test_checksums_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    verify_file(path, size=len(CONTENT), md5=MD5, sha256=SHA256)
    verify_file(path)
    with pytest.raises(UserError, match=rf"has the md5 {MD5}, expected 00. It is damaged or another version"):
        verify_file(path, md5="00")
    with pytest.raises(UserError, match=f"has the sha256 {SHA256}, expected 11"):
        verify_file(path, md5=MD5, sha256="11")
    with pytest.raises(UserError, match="is truncated, it has 1024000 bytes and 1024001 were expected"):
        verify_file(path, size=len(CONTENT) + 1)


def test_an_archive_with_a_wrong_checksum_is_not_unpacked(tmp_path: Path) -> None:
    make_zip(tmp_path / "all.zip", {"images/1.png": b"1"})
    file = ExpectedFile(path="images/", what="images", archive="all.zip", md5="00")
    with pytest.raises(UserError, match=r"all.zip: has the md5 .*delete it and download it again"):
        find_file("d", tmp_path, file, "by hand")
    assert tree(tmp_path) == {"all.zip"}


# --- unpacking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_outside_of_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"a.{kind}", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(UserError, match="leads outside of the folder"):
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

    monkeypatch.setattr(library.tempfile, "TemporaryDirectory", refused)  # nobody is refused anything as root
    with pytest.raises(UserError, match=r"out cannot be written \(Read-only file system\).*option `root`"):
        unpack(archive, tmp_path / "out")


KILLED = """
import os, signal, sys
from pathlib import Path
from editfrontier.datasets import files

name, mark = sys.argv[3:]
action = getattr(files, name) if hasattr(files, name) else getattr(os, name)

def killed(*args, **kwargs):
    if mark in str(args):
        os.kill(os.getpid(), signal.SIGKILL)
    return action(*args, **kwargs)

setattr(files if hasattr(files, name) else os, name, killed)
files.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
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
    assert f"{theirs}: is of a job on another machine" in caplog.text and str(own) not in caplog.text


def test_a_web_page_in_place_of_an_archive_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>Google Drive: quota exceeded</html>")
    with pytest.raises(UserError, match="is truncated or damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_an_encrypted_archive_needs_its_password(tmp_path: Path) -> None:
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
    monkeypatch.setattr(library.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="its files need 1024000 bytes but the disk of .* has 1000 left"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.bin": CONTENT, "2.bin": CONTENT})

    def full(source: object, target: object, length: int = 0) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(library.shutil, "copyfileobj", full)
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


# --- the registry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dataset_names())
def test_every_data_set_says_where_it_comes_from_and_on_which_terms(name: str) -> None:
    dataset = get_dataset(name)
    assert dataset.name == name and name not in RENDERED
    for text in (dataset.title, dataset.licence, dataset.terms, dataset.by_hand):
        assert text.strip()
    text = describe(name, "/nowhere")
    assert dataset.licence in text
    for file in dataset.files:
        assert file.path in text
        assert not Path(file.path).is_absolute() and ".." not in Path(file.path).parts
        assert all(character in "0123456789abcdef" for character in file.md5 + file.sha256)
    assert name in summary()


def test_data_sets_of_the_micro_world_are_known_by_name() -> None:
    from editfrontier.microworld.dataset import DATASETS

    assert set(RENDERED) == set(DATASETS)


def test_an_unknown_data_set_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="dataset 'celeba-hq': there is no such data set. Did you mean 'celeba_hq'"):
        get_dataset("celeba-hq")
    with pytest.raises(UserError, match="there is no such data set"):
        get_dataset("files")


def test_problems_of_a_config_are_named_by_their_key() -> None:
    tasks = {
        "a": {"dataset": "portraits"},
        "b": {"dataset": "cocoa"},
        "c": {"dataset": "coco", "options": {"kinds": ["paint"]}},
    }
    found = list(dataset_problems({"tasks": tasks, "reference": {"dataset": "portraits", "images": 4}}))
    assert [path for path, _ in found] == [
        ["tasks", "b", "dataset"],
        ["tasks", "c", "options"],
        ["reference", "dataset"],
    ]
    assert "Did you mean 'coco'" in found[0][1]
    assert "has no images apart from edits" in next(
        text for _, text in dataset_problems({"tasks": {}, "reference": {"dataset": "red_bench", "images": 4}})
    )
    assert [path for path, _ in dataset_problems({"tasks": {}, "reference": {"images": 4}})] == [["reference"]]


# --- choice and manifest ---------------------------------------------------------------------------------------------


def test_the_salted_order_is_that_of_the_hash() -> None:
    ids = [str(number) for number in range(100)]
    order = salted(range(100), "salt")
    assert sorted(order) == sorted(ids) and order != ids
    digests = [hashlib.sha256(f"salt:{name}".encode()).hexdigest() for name in order]
    assert digests == sorted(digests)
    assert salted(range(100), "pepper") != order
    assert [name for name in order if int(name) < 50] == salted(range(50), "salt")


def test_manifests_are_written_read_and_checked(tmp_path: Path) -> None:
    rows = [{"id": "a", "licence": "x, y"}, {"id": "b", "licence": ""}]
    write_manifest(tmp_path / "m.csv", rows)
    assert read_manifest(tmp_path / "m.csv") == rows
    check_manifest(tmp_path / "m.csv", rows, rows)
    check_manifest(tmp_path / "m.csv", rows, rows[:1])
    with pytest.raises(UserError, match="row 2 has id 'b' but the data give 'c'"):
        check_manifest(tmp_path / "m.csv", rows, [rows[0], {"id": "c", "licence": ""}])
    with pytest.raises(UserError, match="names 2 images, 3 were chosen"):
        check_manifest(tmp_path / "m.csv", rows, [*rows, rows[0]])
    text = (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())  # as Excel saves it
    assert read_manifest(tmp_path / "m.csv") == rows
    for content in (b"\x89PNG\r\n\x1a\n", b'id,licence\na,"\xff"\n'):
        (tmp_path / "m.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"m\.csv: cannot be read .*expected a manifest"):
            read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("name\na\n")
    with pytest.raises(UserError, match="has no column 'id'"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path / "nowhere.csv")
