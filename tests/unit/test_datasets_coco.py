"""COCO 2017: masks, captions, choice of images and objects, on a fixture in the published format."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coco_files import BOX, SPECIAL, image_id, pack_coco, write_coco
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.datasets import coco
from editfrontier.data.language import load_language
from editfrontier.data.reading.build import build_task
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.coco_masks import instance_mask
from editfrontier.data.reading.coco_texts import edit_texts, with_articles

SIZE = 96
# What pycocotools 2.0.11 makes of the polygon and of the mask below.
POLYGON = [12.3, 40.7, 60.1, 8.4, 101.9, 30.2, 88.6, 77.5, 54.0, 60.3, 20.8, 85.2]
POLYGON_RUNS = (
    "XX17h26K5J6J7J5J6J7J1N0001O01O0001O01O01O00010O000010O0001O01O01O00010O000010O0001O01O100O2N1O2O001O010O010O01"
    "0O010O010O010O010O010O010O010O010O0100O010O010K4M4K4M4K4M4K4M4K4L5L3L5LUe1"
)
MASK_RUNS = (
    "01Z6`0]J0000F[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O[O1e0O"
    "[O1e0O[O1e0O[O1e0900lh0@"
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco") / "coco")


@pytest.fixture
def copy(raw: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(raw, tmp_path / "copy"))


def build(raw: Path, out: Path, n: int = 6, **options: object) -> list[Case]:
    return build_task("scenes", n, 0, out, dataset="coco", root=str(raw), **{"size": SIZE, **options})


@pytest.fixture(scope="module")
def built(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Path]:
    out = tmp_path_factory.mktemp("built")
    return build(raw, out, n=100), out


def place_of(case: Case) -> int:
    return (int(case.cluster.removeprefix("coco-")) - 1000) // 37


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


# --- masks -----------------------------------------------------------------------------------------------------------


def test_compressed_runs_give_the_mask_that_they_were_made_of() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[3:20, 5:30] = True
    mask[10:12, 8:28] = False
    mask[39, 49] = mask[0, 0] = True
    assert (instance_mask({"size": [40, 50], "counts": MASK_RUNS}, 40, 50, "test") == mask).all()


def test_polygons_agree_with_the_authors_library() -> None:
    theirs = instance_mask({"size": [96, 120], "counts": POLYGON_RUNS}, 96, 120, "test")
    assert theirs.sum() == 4078
    ours = instance_mask([POLYGON], 96, 120, "test")
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.01)


def test_a_polygon_on_corners_of_pixels_covers_just_these() -> None:
    mask = instance_mask([[2, 1, 5, 1, 5, 4, 2, 4], [7, 0, 8, 0, 8, 2, 7, 2]], 5, 9, "test")
    expected = np.zeros((5, 9), dtype=bool)
    expected[1:4, 2:5] = expected[0:2, 7:8] = True
    assert (mask == expected).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [9, 5], "counts": [45]}, r"the mask is of the size \[9, 5\] but its image is \[5, 9\]"),
        ({"size": [5, 9], "counts": [40]}, "runs do not fill the image"),
        ({"size": [5, 9], "counts": "XX"}, "runs do not fill the image"),
        ([[1, 2, 3, 4]], "expected at least three points"),
        ([], "expected polygons or runs"),
        (None, "expected polygons or runs"),
    ],
)
def test_a_mask_that_cannot_be_is_named(segmentation: object, message: str) -> None:
    with pytest.raises(UserError, match=f"annotation 7: .*{message}"):
        instance_mask(segmentation, 5, 9, "annotation 7")


# --- texts -----------------------------------------------------------------------------------------------------------


def texts(
    kind: str, category: str, captions: list[str], others: tuple[str, ...] = ("elephant",), share: float = 0.0
) -> Any:
    return edit_texts(kind, category, others, captions, load_language(), random.Random(0), share)


def test_another_category_takes_the_place_of_the_object_in_the_caption() -> None:
    found = texts("replace", "dog", ["Some grass.", "A brown\n dog on a bed. ", "A dog."])
    assert found.source_caption == "A brown dog on a bed"
    assert found.target_caption == "A brown elephant on a bed"
    assert "dog" in found.instruction.text and "an elephant" in found.instruction.text


def test_a_colour_takes_the_place_of_the_old_one_or_stands_before_the_name() -> None:
    plain = texts("recolour", "umbrella", ["A woman with an umbrella"])
    colour = plain.target_caption.removeprefix("A woman with a").removesuffix(" umbrella").removeprefix("n").strip()
    assert colour in {"red", "orange", "yellow", "green", "blue", "purple", "white", "black"}
    assert colour in plain.instruction.text
    brown = texts("recolour", "dog", ["A brown dog on a bed"])
    assert "brown" not in brown.target_caption and brown.target_caption.endswith(" dog on a bed")


def test_what_is_removed_is_not_in_the_target_caption() -> None:
    captions = ["A dog on a bed", "Two dogs", "The bed is white"]
    assert texts("remove", "dog", captions).target_caption == "The bed is white"
    assert texts("remove", "dog", captions[:2]) is None


def test_other_words_for_a_category_are_understood() -> None:
    found = texts("remove", "person", ["Grass under the sky", "A man on a horse"])
    assert (found.source_caption, found.target_caption) == ("A man on a horse", "Grass under the sky")
    assert "man" in found.instruction.text
    assert texts("replace", "dining table", ["A dining table with food"]).target_caption == "An elephant with food"


@pytest.mark.parametrize(
    "caption",
    ["Two dogs on a bed", "A dog and another dog", "A hotdog on a bed", "A dog and two dogs", "A man and his boy"],
)
def test_captions_that_do_not_name_the_object_once_make_no_edit(caption: str) -> None:
    category = "person" if "man" in caption else "dog"
    assert texts("recolour", category, [caption]) is None


def test_free_form_instructions_come_in_the_share_that_is_asked_for() -> None:
    rng = random.Random(1)
    lang = load_language()
    origins = Counter(
        edit_texts("recolour", "dog", (), ["A dog"], lang, rng, 0.3).instruction.origin  # type: ignore[union-attr]
        for _ in range(1000)
    )
    assert 240 < origins["free_form"] < 360


def test_articles_fit() -> None:
    assert with_articles("put a apple and an dog on A orange car") == "put an apple and a dog on An orange car"


# --- cases -----------------------------------------------------------------------------------------------------------


def test_cases_are_read_back_as_they_were_built(built: tuple[list[Case], Path]) -> None:
    cases, out = built
    assert read_cases(out / "cases.parquet") == cases
    for case in cases:
        assert read_image(out / case.image).shape == (SIZE, SIZE, 3)
        assert read_mask(out / case.mask, (SIZE, SIZE)).any()
        assert case.source_caption != case.target_caption
        assert case.mask_origin == "human"


def test_images_without_a_usable_object_are_left_out(built: tuple[list[Case], Path]) -> None:
    places = {place_of(case) for case in built[0]}
    # A crowd, no object, an image below the resolution, two dogs, captions that do not name it.
    left_out = {SPECIAL[name] for name in ("crowd", "empty", "small", "two", "silent")}
    assert places == set(range(24)) - left_out


def test_images_come_in_the_order_of_the_salted_hash(built: tuple[list[Case], Path]) -> None:
    order = salted([image_id(place) for place in range(24)], "coco-0")
    ids = [case.cluster.removeprefix("coco-") for case in built[0]]
    assert ids == [name for name in order if name in ids]
    # sha256 of the text "coco-0:<id>", as any other program computes it.
    digests = [hashlib.sha256(f"coco-0:{name}".encode()).hexdigest() for name in ids]
    assert digests == sorted(digests)


def test_kinds_are_balanced_and_people_are_only_removed(built: tuple[list[Case], Path]) -> None:
    cases = built[0]
    counts = Counter(case.edit_type for case in cases)
    assert max(counts.values()) - min(counts.values()) <= 2
    (person,) = (case for case in cases if place_of(case) == SPECIAL["person"])
    assert person.edit_type == "remove"


@pytest.mark.parametrize("name", ["", "grey", "runs", "aside"])
def test_the_mask_lies_on_the_object(built: tuple[list[Case], Path], name: str) -> None:
    cases, out = built
    place = SPECIAL[name] if name else 10
    (case,) = (case for case in cases if place_of(case) == place)
    mask = read_mask(out / case.mask, (SIZE, SIZE))
    side = 240
    assert mask.sum() == pytest.approx(100 * 100 * (SIZE / side) ** 2, rel=0.05)
    if name == "aside":
        return  # the object of the table is not the one that is drawn
    pixels = read_image(out / case.image).astype(int)
    inside = pixels[mask].mean(axis=0)
    outside = pixels[~mask].mean(axis=0)
    assert inside.mean() - outside.mean() > 60
    # Centred on the object as far as the image allows: its middle is at x = 200 of 320 pixels, the square ends at 320.
    columns = np.flatnonzero(mask.any(axis=0))
    assert (columns[0] + columns[-1] + 1) / 2 == pytest.approx((200 - 80) * SIZE / side, abs=1)


def test_the_licence_is_that_of_the_image(built: tuple[list[Case], Path]) -> None:
    for case in built[0]:
        name = "Attribution-NonCommercial License" if place_of(case) % 2 else "Attribution License"
        assert case.licence == f"{name} (image, Flickr), CC BY 4.0 (annotations)"


def test_more_cases_start_with_the_same_ones(raw: Path, built: tuple[list[Case], Path], tmp_path: Path) -> None:
    assert build(raw, tmp_path, n=5) == built[0][:5]


def test_ids_that_are_excluded_do_not_come(raw: Path, built: tuple[list[Case], Path], tmp_path: Path) -> None:
    first = built[0][0].cluster.removeprefix("coco-")
    (tmp_path / "ids.txt").write_text(f"{int(first):012d}\n7\n")
    cases = build(raw, tmp_path / "out", n=100, exclude=str(tmp_path / "ids.txt"))
    assert {case.cluster for case in cases} == {case.cluster for case in built[0][1:]}


def test_lists_of_ids_that_are_excluded_are_read_as_programs_save_them(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbf1000\r\n001037\r\n")
    names = {case.cluster for case in build(raw, tmp_path / "out", exclude=str(tmp_path / "ids.txt"))}
    assert not names & {"coco-1000", "coco-1037"} and "coco-1481" in names
    (tmp_path / "ids.txt").write_text("²")
    with pytest.raises(UserError, match=r"ids.txt has '²', expected one id of COCO a line"):
        build(raw, tmp_path / "out", exclude=str(tmp_path / "ids.txt"))


def test_objects_out_of_bounds_do_not_come(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gives no case for these options"):
        build(raw, tmp_path, least_share=0.2)
    with pytest.raises(UserError, match="gives no case for these options"):
        build(raw, tmp_path, least_share=0.01, most_share=0.1)


def test_a_manifest_that_was_kept_is_checked(raw: Path, built: tuple[list[Case], Path], tmp_path: Path) -> None:
    manifest = built[1] / "manifest.csv"
    assert manifest.read_text().splitlines()[0] == "id,edit_type,attribute,desired,step,licence"
    assert build(raw, tmp_path / "same", n=4, manifest=str(manifest)) == built[0][:4]
    rows = manifest.read_text().splitlines(keepends=True)
    other = tmp_path / "other.csv"
    other.write_text("".join([rows[0], rows[2], *rows[3:]]))
    with pytest.raises(UserError, match=r"other.csv: row 1 has id 'coco-\d+' but the data give 'coco-\d+'"):
        build(raw, tmp_path / "out", n=4, manifest=str(other))
    assert not (tmp_path / "out" / "cases.parquet").exists()


def test_the_manifest_beside_the_table_is_compared_before_it_is_written_anew(raw: Path, tmp_path: Path) -> None:
    build(raw, tmp_path, n=3)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("coco-", "coco-9", 1))
    before = manifest.read_bytes()
    with pytest.raises(UserError, match=r"manifest.csv: row 1 has id"):
        build(raw, tmp_path, n=3, manifest=str(manifest))
    assert manifest.read_bytes() == before


def test_the_archives_are_unpacked_and_give_the_same_cases(
    raw: Path, built: tuple[list[Case], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(dataclasses.replace(file, md5="", size=0) for file in coco.DATASET.files)
    monkeypatch.setattr(coco, "DATASET", dataclasses.replace(coco.DATASET, files=files))
    pack_coco(raw, tmp_path / "data")
    assert build(tmp_path / "data", tmp_path / "out", n=3) == built[0][:3]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_an_archive_of_another_size_is_not_unpacked(raw: Path, tmp_path: Path) -> None:
    pack_coco(raw, tmp_path / "data")
    with pytest.raises(UserError, match=r"annotations_trainval2017.zip: is truncated, it has \d+ bytes and 252907541"):
        build(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "data" / "annotations").exists()


def test_without_data_the_message_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        build(tmp_path / "data", tmp_path / "out")
    assert "`editfrontier datasets coco --fetch`" in str(error.value)
    assert str(tmp_path / "data" / "annotations_trainval2017.zip") in str(error.value)


def test_an_image_that_was_resized_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "val2017").iterdir():
        Image.open(path).resize((256, 256)).save(path)
    with pytest.raises(UserError, match=r"\d{12}.jpg: is 256x256 pixels but .* says 320x240"):
        build(copy, tmp_path / "out")


def test_a_missing_image_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "val2017").iterdir():
        path.unlink()
    (copy / "val2017" / "000000000000.jpg").touch()
    with pytest.raises(UserError, match=r"\d{12}.jpg: no such image file"):
        build(copy, tmp_path / "out")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content["images"].append(content["images"][0]), "'images' has the id 1000 twice"),
        (
            lambda content: content["annotations"].append(content["annotations"][0]),
            "'annotations' has the id 500000 twice",
        ),
        (lambda content: content["annotations"][0].update(image_id=1), "annotation 500000 names the image 1 and"),
        (
            lambda content: content["annotations"][0].pop("segmentation"),
            "entry 0 of 'annotations' has no 'segmentation'",
        ),
        (lambda content: content.pop("categories"), "has no list 'categories'"),
        (lambda content: content["annotations"][1].update(area={}), "entry 1 of 'annotations' has the area {}"),
        (lambda content: content["images"][2].update(height="240"), "entry 2 of 'images' has the height '240'"),
        (lambda content: content["images"][2].update(id=[1]), r"entry 2 of 'images' has the id \[1\]"),
        (lambda content: content["licenses"].append(3), "entry 2 of 'licenses' has no 'id'"),
        (
            lambda content: [entry.update(file_name="../x.jpg") for entry in content["images"]],
            r"the file_name '../x.jpg' leads out of",
        ),
    ],
)
def test_a_damaged_table_is_named(
    copy: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    change(copy / "annotations" / "instances_val2017.json", edit)
    with pytest.raises(UserError, match=rf"instances_val2017.json: .*{message}"):
        build(copy, tmp_path / "out")


def test_a_truncated_table_is_named(copy: Path, tmp_path: Path) -> None:
    path = copy / "annotations" / "captions_val2017.json"
    path.write_text(path.read_text()[:-100])
    with pytest.raises(UserError, match=r"captions_val2017.json: is truncated or no JSON"):
        build(copy, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": []}, "names no edit"),
        ({"kinds": ["remoove"]}, "Did you mean 'remove'"),
        ({"least_share": 0.6}, "the first below the second"),
        ({"exclude": "nowhere.txt"}, "option 'exclude': nowhere.txt cannot be read"),
    ],
)
def test_wrong_options_are_named(raw: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(raw, tmp_path, **options)


def test_the_fixture_is_what_the_tests_take_it_for(raw: Path) -> None:
    assert Image.open(raw / "val2017" / f"{image_id(SPECIAL['grey']):012d}.jpg").mode == "L"
    assert BOX[2] - BOX[0] == BOX[3] - BOX[1] == 100
