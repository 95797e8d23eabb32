"""Raw files of data sets: finding and checking them, choosing among them."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile, complete, data_folder, find_file, missing, verify_file
from editfrontier.base.yaml_files import read_yaml
from editfrontier.data.dataset import DATASETS, RENDERED, dataset_problems, get_dataset
from editfrontier.data.reading.choice import check_manifest, read_manifest, salted, write_manifest
from editfrontier.data.reading.inventory import describe, fetch_files, summary

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


def test_a_data_set_without_required_files_is_here_with_anything_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITFRONTIER_DATA", str(tmp_path))
    folder = tmp_path / "own_images"
    assert "(does not exist)" in describe("own_images")
    assert re.search("^own_images +missing ", summary(), re.MULTILINE)
    folder.mkdir()
    assert "(is empty)" in describe("own_images")
    assert not complete(folder, get_dataset("own_images").files)
    (folder / "cat.png").touch()
    assert complete(folder, get_dataset("own_images").files)
    assert re.search("^own_images +here ", summary(), re.MULTILINE)


def test_a_file_whose_name_differs_in_capitals_is_named(tmp_path: Path) -> None:
    (tmp_path / "Celeb.ZIP").touch()
    (tmp_path / "list_2.txt").touch()
    with pytest.raises(UserError, match=r"There is '.*Celeb\.ZIP', which differs in its capitals only\. by hand"):
        find_file("d", tmp_path, ExpectedFile(path="images/", what="images", archive="celeb.zip"), "by hand")
    with pytest.raises(UserError, match=r"list_1\.txt \(a list\)\. by hand"):  # another list is not meant
        find_file("d", tmp_path, ExpectedFile(path="list_1.txt", what="a list"), "by hand")


def test_a_file_of_an_option_whose_name_is_nearly_there_is_named(tmp_path: Path) -> None:
    for name in ("Chosen.csv", "mine.yaml"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"a manifest\. There is '.*Chosen\.csv', which differs in its capitals"):
        read_manifest(tmp_path / "chosen.csv")
    with pytest.raises(UserError, match=r"no such config file\. Did you mean '.*mine\.yaml'\? Correct the path"):
        read_yaml(tmp_path / "mine.yml")
    with pytest.raises(UserError, match=r"no such config file\. Correct the path"):
        read_yaml(tmp_path / "zebra.json")


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


# --- the registry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS.own_names())
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


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_data_sets_are_listed_and_described(name: str) -> None:
    assert re.search(f"^{name} +rendered +{RENDERED[name]}$", summary(), re.MULTILINE)
    assert describe(name).startswith(RENDERED[name])
    with pytest.raises(UserError, match="the micro world renders it, so that it has no raw files"):
        fetch_files(name)


def test_an_unknown_data_set_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="dataset 'celeba-hq': there is no such dataset. Did you mean 'celeba_hq'"):
        get_dataset("celeba-hq")
    with pytest.raises(UserError, match="there is no such dataset"):
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
