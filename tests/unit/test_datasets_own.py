"""A user's own pictures: tables with the mistakes that people make, and folders."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.datasets.own_images import read_table
from editfrontier.data.reading.build import build_task

HEADER = "id,image,instruction,source_caption,target_caption,mask,source\n"


def picture(path: Path, width: int = 32, height: int = 32, grey: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), grey, np.uint8)).save(path)


def mask(path: Path, width: int = 32, height: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width), np.uint8)
    pixels[4:12, -8:] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    picture(root / "a.png")
    picture(root / "deep" / "b c.jpg", 64, 32, 50)
    mask(root / "masks" / "a.png")
    (root / "images.csv").write_text(
        HEADER + 'cat,a.png,"Add a hat, please",a cat,a cat with a hat,masks/a.png,cats\n\n'
        ",deep/b c.jpg,make it night,,,,\n"
    )
    return root


def built(raw: Path, n: int = 50, **options: Any) -> dict[str, Case]:
    out = raw.parent / "out"
    build_task("own", n, 0, out, dataset="own_images", root=str(raw), **{"size": 32, **options})
    return {case.case_id: case for case in read_cases(out / "cases.parquet")}


def test_rows_become_cases(raw: Path) -> None:
    cases = built(raw)
    assert list(cases) == ["own-cat", "own-00002-b-c"]
    cat, night = cases.values()
    assert (cat.instruction, cat.source_caption, cat.target_caption) == (
        "Add a hat, please",
        "a cat",
        "a cat with a hat",
    )
    assert cat.cluster == "own-cats" and cat.licence == "not stated" and cat.edit_type == "own"
    found = read_mask(raw.parent / "out" / cat.mask, (32, 32))
    assert found.sum() == 64 and found[4:12, 24:].all()
    assert night.cluster == "own-deep/b c.jpg" and night.mask == night.target_caption == ""
    assert read_image(raw.parent / "out" / night.image).shape == (32, 32, 3)
    assert len(built(raw, 1)) == 1


def test_texts_of_options_stand_for_empty_cells(raw: Path) -> None:
    cases = built(raw, target_caption="a scene", instruction="not used", licence="CC0-1.0")
    assert [case.target_caption for case in cases.values()] == ["a cat with a hat", "a scene"]
    assert [case.instruction for case in cases.values()] == ["Add a hat, please", "make it night"]
    assert {case.licence for case in cases.values()} == {"CC0-1.0"}


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffimage;instruction\r\na.png;one\r\nb.png;two\r\n",
        "image\tinstruction\na.png\tone\n\n\nb.png\ttwo\n\t\n",
        "instruction,image\none,a.png\n two , b.png\n",
        "image,instruction,notes,rating\na.png,one,x,1\nb.png,two\n",
    ],
    ids=["spreadsheet", "tabs", "spaces", "other columns and short rows"],
)
def test_tables_are_read_as_programs_save_them(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    found = [(row["image"], row["instruction"]) for row in read_table(path)]
    assert found == [("a.png", "one"), ("b.png", "two")]


def test_columns_of_other_names_are_given(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("file,prompt\na.png,one\n")
    assert read_table(path, ["file = image", "prompt=instruction"]) == [
        {"image": "a.png", "instruction": "one", "line": "2"}
    ]
    with pytest.raises(UserError, match=r"option 'columns': 'file=imag'.* Did you mean 'image'"):
        read_table(path, ["file=imag"])
    with pytest.raises(UserError, match=r"has no column 'promt'\. Did you mean 'prompt'"):
        read_table(path, ["file=image", "promt=instruction"])


BAD_TABLES = {
    "misspelt": ("image,instuction\na.png,x\n", r"no column 'instuction'\. Did you mean 'instruction'"),
    "capitals": ("Image,instruction\na.png,x\n", r"no column 'Image'\. Did you mean 'image'"),
    "no image": ("file,instruction\na.png,x\n", r"has no column 'image' among file, instruction.*`columns`"),
    "twice": ("image,mask,mask\na.png,x,y\n", r"has the column 'mask' twice"),
    "empty": ("image,instruction\n", r"has no row below its column names"),
    "nothing": ("", r"has no row below its column names"),
    "too many cells": ("image,instruction\na.png,add a hat, please\n", r"line 2: has 3 cells but there are 2.*quotes"),
    "open quotes": ('image,instruction\na.png,"add\n', r"line 2: no readable CSV"),
    "no picture": ("image,instruction\na.png,x\n,y\n", r"line 3: its image is empty"),
    "same id": ("image,id\na.png,x\na.png,y\na.png,x\n", r"the id 'x' stands in the lines 2 and 4"),
    "odd id": ("image,id\na.png,a/b\n", r"line 2: the id 'a/b' has other characters than letters"),
    "ids by capitals": ("image,id\na.png,Cat\na.png,cat\n", r"ids 'Cat' and 'cat' in the lines 2 and 3 differ in cap"),
    "missing file": ("image\nz.png\n", r"z\.png: no such image file"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_mistakes_in_tables_are_named(raw: Path, name: str) -> None:
    content, message = BAD_TABLES[name]
    (raw / "images.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        built(raw)


def test_long_names_of_pictures_are_shortened(raw: Path) -> None:
    # Services call pictures by their prompts.
    name = "a-cat-with-a-hat-" * 14
    picture(raw / f"{name}.png")
    picture(raw / f"{name}s.png")
    (raw / "images.csv").write_text(f"image,source\n{name}.png,one\n{name}s.png,two\n")
    cases = built(raw)
    assert len(cases) == 2 and all(len(case_id) < 130 for case_id in cases)
    (raw / "images.csv").write_text(f"image,id\na.png,{'x' * 121}\n")
    with pytest.raises(UserError, match=r"line 2: the id x+\.\.\. has 121 letters, expected at most 120"):
        built(raw)


def test_tables_that_are_no_text_are_named(raw: Path) -> None:
    (raw / "images.csv").write_bytes("image,instruction\na.png,Füße\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"images\.csv: is not in UTF-8 \(byte 25\)"):
        built(raw)
    (raw / "images.csv").write_bytes(b"PK\x03\x04\0\0image")
    with pytest.raises(UserError, match=r"images\.csv: is no text but a binary file"):
        built(raw)
    with pytest.raises(UserError, match=r"other\.csv: no such table of pictures"):
        built(raw, table="other.csv")


def test_masks_of_another_size_or_kind_are_named(raw: Path) -> None:
    mask(raw / "masks" / "a.png", 16, 16)
    with pytest.raises(UserError, match=r"masks/a\.png: the mask is 16x16 but its image is 32x32.*nearest-neighbour"):
        built(raw)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(raw / "masks" / "a.png")
    with pytest.raises(UserError, match=r"masks/a\.png: the mask is empty, expected a white area"):
        built(raw)
    with pytest.raises(UserError, match=r"masks/a\.png: has no alpha channel, which `mask_from: alpha` reads"):
        built(raw, mask_from="alpha")
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[:8, :8, 3] = 0
    Image.fromarray(rgba).save(raw / "masks" / "a.png")
    case = built(raw, mask_from="alpha")["own-cat"]
    assert np.argwhere(read_mask(raw.parent / "out" / case.mask, (32, 32))).max() == 7


def test_a_true_edit_and_a_background_belong_to_the_picture(raw: Path) -> None:
    (raw / "images.csv").write_text("image,mask,true_edit,background_mask\na.png,masks/a.png,t.png,masks/bg.png\n")
    picture(raw / "t.png", 32, 32, 200)
    mask(raw / "masks" / "bg.png")
    (case,) = built(raw).values()
    assert read_image(raw.parent / "out" / case.true_edit).min() == 200
    assert read_mask(raw.parent / "out" / case.background_mask, (32, 32)).sum() == 64
    picture(raw / "t.png", 64, 32)
    with pytest.raises(UserError, match=r"t\.png: the true edit is 64x32 but its image is 32x32"):
        built(raw)


def test_a_crop_follows_the_mask_and_small_pictures_are_enlarged_with_a_word(
    raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(raw / "a.png", 96, 32)
    mask(raw / "masks" / "a.png", 96, 32)
    case = built(raw)["own-cat"]
    assert read_mask(raw.parent / "out" / case.mask, (32, 32))[4:12, -8:].all()
    assert "enlarged" not in caplog.text
    built(raw, size=64)
    assert "a.png: is enlarged from 32x32 pixels" in caplog.text


def test_a_folder_alone_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = tmp_path / "raw"
    picture(raw / "b.JPG")
    picture(raw / "a.webp")
    mask(raw / "masks" / "b.png")
    (raw / "notes.txt").write_text("not a picture")
    (raw / "._b.JPG").write_bytes(b"\0\5\x16\7 of a Mac")
    (raw / "masks" / "._b.png").write_bytes(b"\0\5\x16\7 of a Mac")
    cases = built(raw, instruction="make it night")
    assert list(cases) == ["own-00001-a", "own-00002-b"]
    assert [bool(case.mask) for case in cases.values()] == [False, True]
    assert {case.instruction for case in cases.values()} == {"make it night"}
    (raw / "masks" / "b.png").rename(raw / "masks" / "b.PNG")
    (raw / "masks" / "a_mask.png").write_bytes(b"")
    cases = built(raw, instruction="make it night")
    assert [bool(case.mask) for case in cases.values()] == [False, True]
    assert "masks/a_mask.png: no picture has this name" in caplog.text
    (raw / "masks" / "b.PNG").rename(raw / "masks" / "b.png")
    mask(raw / "masks" / "b.bmp")
    with pytest.raises(UserError, match=r"the picture b\.JPG has the masks masks/b\.bmp and masks/b\.png"):
        built(raw)


def test_a_folder_without_pictures_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images\.csv: no such table of pictures.* option `root`"):
        built(tmp_path / "raw")
    picture(tmp_path / "raw" / "photos" / "a.png")
    with pytest.raises(UserError, match=r"holds neither images\.csv nor a picture.*some in .*photos.* `root`"):
        built(tmp_path / "raw")


def test_pictures_of_every_format_are_read_and_what_is_not_gets_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = tmp_path / "raw"
    for number, (name, kind) in enumerate(
        {"a.png": "PNG", "b.jfif": "JPEG", "c.gif": "GIF", "d.avif": "AVIF", "e.JPG": "JPEG", "f.TIF": "TIFF"}.items()
    ):
        picture(raw / "x.png", grey=40 * number)
        Image.open(raw / "x.png").save(raw / name, kind)
        (raw / "x.png").unlink()
    mask(raw / "masks" / "b.gif")
    (raw / "g.heic").write_bytes(b"\0\0\0\x18ftypheic")
    picture(raw / "deeper" / "h.png")
    cases = built(raw)
    assert [case.cluster for case in cases.values()] == [
        f"own-{name}" for name in ("a.png", "b.jfif", "c.gif", "d.avif", "e.JPG", "f.TIF")
    ]
    assert cases["own-00002-b"].mask
    assert f"{raw / 'g.heic'}: is no file that ends in .png, .jpg" in caplog.text
    assert f"{raw / 'deeper'}: is a folder, it is not read" in caplog.text
    assert str(raw / "masks") not in caplog.text


def test_a_mask_has_the_name_of_its_picture_in_whatever_form_of_unicode(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    picture(raw / unicodedata.normalize("NFC", "café.png"))
    mask(raw / "masks" / unicodedata.normalize("NFD", "café.png"))
    (case,) = built(raw).values()
    assert case.mask


@pytest.mark.parametrize(
    ("stored", "named", "said"),
    [
        ("cafe\u0301.png", "caf\xe9.png", r"'cafe\\u0301.png', where 'caf\\xe9.png' is named.*the Unicode form"),
        ("photos/cat.png", "photos\\cat.png", r"photos/cat\.png', which differs in its slashes only"),
        ("cat.JPG", "cat.jpg", r"cat\.JPG', which differs in its capitals only"),
        ("Photos/cat.png", "photos/cat.png", r"Photos/cat\.png', which differs in its capitals only"),
        ("photos/cat.jpeg", "photos/cat.jpg", r"Did you mean '.*photos/cat\.jpeg'\?"),
    ],
)
def test_a_name_that_is_nearly_that_of_a_file_names_it(tmp_path: Path, stored: str, named: str, said: str) -> None:
    raw = tmp_path / "raw"
    picture(raw / stored)
    (raw / "images.csv").write_text(f"image\n{named}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"no such image file\. .*{said}.* Rename it, or correct what names it"):
        built(raw)
    (raw / "images.csv").write_text("image\nzebra.png\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no such image file\. Put it there, or correct what names it"):
        built(raw)


def test_a_table_of_nearly_the_name_is_proposed(raw: Path) -> None:
    with pytest.raises(UserError, match=r"Images\.CSV: no such table of pictures\. There is '.*images\.csv'"):
        built(raw, table="Images.CSV")


# --- sources ---------------------------------------------------------------------------------------------------------


def test_one_picture_under_several_names_is_one_source(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    picture(raw / "copy.png")  # the pixels of a.png
    picture(raw / "wide.png", 96, 32, 70)
    picture(raw / "wide2.png", 96, 32, 70)
    mask(raw / "masks" / "wide.png", 96, 32)  # so that the crops differ
    (raw / "link.png").symlink_to(raw / "deep" / "b c.jpg")
    rows = ("./a.png", "deep/../a.png", "copy.png", "wide.png,masks/wide.png", "wide2.png", "link.png", "deep/b c.jpg")
    (raw / "images.csv").write_text("image,mask\n" + "\n".join(rows) + "\n", encoding="utf-8")
    clusters = [case.cluster for case in built(raw).values()]
    assert clusters == ["own-a.png"] * 3 + ["own-wide.png"] * 2 + ["own-deep/b c.jpg"] * 2
    assert "the sources own-a.png and own-copy.png have equal pixels, they are one cluster" in caplog.text


@pytest.mark.parametrize("role", ["image", "mask", "background_mask", "true_edit"])
@pytest.mark.parametrize("way", ["dots", "absolute", "link", "folder"])
def test_a_table_may_not_name_files_outside_of_its_folder(raw: Path, role: str, way: str) -> None:
    secret = raw.parent / "secret" / "s.png"
    mask(secret)
    (raw / "link.png").symlink_to(secret)
    (raw / "folder").symlink_to(secret.parent)
    path = {"dots": "../secret/s.png", "absolute": str(secret), "link": "link.png", "folder": "folder/s.png"}[way]
    row = {"image": "a.png"} | {role: path}
    (raw / "images.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n", encoding="utf-8")
    said = rf"images\.csv, line 2: its {role} '.*' lies at {secret}, outside .*`outside: true`"
    with pytest.raises(UserError, match=said):
        built(raw)
    assert not (raw.parent / "out").exists()
    assert len(built(raw, outside=True)) == 1


def test_a_table_elsewhere_and_links_within_the_folder_are_fine(raw: Path) -> None:
    (raw / "tables").mkdir()
    (raw / "tables" / "t.csv").write_text("image\n../a.png\n", encoding="utf-8")
    (case,) = built(raw, table="tables/t.csv").values()
    assert case.cluster == "own-../a.png"
    (raw.parent / "linked").symlink_to(raw)
    assert len(built(raw.parent / "linked")) == 2
