"""PIE-Bench, on a mapping file of the published format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.datasets.pie_bench import SIDE, decode_mask
from editfrontier.data.reading.build import build_task

MASK = [512 * 100 + 50, 200, 512 * 101 + 50, 200, 512 * 102 + 50, 200]
EVERYTHING = [0, 512 * 512]


def entry(number: int, kind: int, mask: list[int], folder: str) -> dict[str, Any]:
    return {
        "image_path": f"{folder}/{number:012d}.jpg",
        "original_prompt": "a [round] cake with [orange] frosting",
        "editing_prompt": "a [square] cake with [orange] frosting ",
        "editing_instruction": "Change the shape of the cake to square",
        "editing_type_id": str(kind),
        "blended_word": "cake cake",
        "mask": mask,
    }


def pie(root: Path, **changes: Any) -> Path:
    mapping = {
        "000000000000": entry(0, 0, MASK, "0_random_140"),
        "111000000001": entry(1, 1, MASK, "1_change_object_80/1_artificial/1_animal"),
        "911000000002": entry(2, 9, EVERYTHING, "9_change_style_80"),
        "311000000003": entry(3, 3, [], "3_delete_object_80"),
    }
    for number, value in enumerate(mapping.values()):
        path = root / "annotation_images" / value["image_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((SIDE, SIDE, 3), 50 * number + 20, np.uint8)).save(path)
    mapping["000000000000"] |= changes
    (root / "mapping_file.json").write_text(json.dumps(mapping))
    return root


def built(out: Path, root: Path, n: int = 700, **options: Any) -> dict[str, Case]:
    build_task("pie", n, 0, out, dataset="pie_bench", root=str(root), **{"size": 256, **options})
    return {case.case_id: case for case in read_cases(out / "cases.parquet")}


def authors_mask(runs: list[int]) -> np.ndarray:
    """What their loop does, pixel by pixel."""
    flat = [0] * (SIDE * SIDE)
    for start, length in zip(runs[0::2], runs[1::2], strict=True):
        for place in range(start, min(start + length, len(flat))):
            flat[place] = 1
    return np.array(flat).reshape(SIDE, SIDE) == 1


def test_masks_are_decoded_as_the_authors_do() -> None:
    for runs in (MASK, EVERYTHING, [], [SIDE * SIDE - 10, 500], [5, 0], [3, 4, 5, 6]):
        assert np.array_equal(decode_mask(runs, "x"), authors_mask(runs))


def test_entries_become_cases_with_plain_prompts_and_types(tmp_path: Path) -> None:
    cases = built(tmp_path / "out", pie(tmp_path / "raw"))
    assert len(cases) == 4
    case = cases["pie-111000000001"]
    assert case.source_caption == "a round cake with orange frosting"
    assert case.target_caption == "a square cake with orange frosting"
    assert case.instruction == "Change the shape of the cake to square" and case.edit_type == "change_object"
    assert read_image(tmp_path / "out" / case.image).mean() == pytest.approx(70, abs=2)
    assert {name: one.edit_type for name, one in cases.items()} == {
        "pie-000000000000": "random",
        "pie-111000000001": "change_object",
        "pie-911000000002": "change_style",
        "pie-311000000003": "delete_object",
    }


def test_the_border_counts_as_edited_for_metrics_but_not_for_editors(tmp_path: Path) -> None:
    cases = built(tmp_path / "out", pie(tmp_path / "raw"), size=SIDE)
    drawn, border = authors_mask(MASK), np.zeros((SIDE, SIDE), bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    case = cases["pie-000000000000"]
    assert np.array_equal(read_mask(tmp_path / "out" / case.mask, (SIDE, SIDE)), drawn)
    assert np.array_equal(read_mask(tmp_path / "out" / case.background_mask, (SIDE, SIDE)), ~(drawn | border))
    style = cases["pie-911000000002"]
    assert read_mask(tmp_path / "out" / style.mask, (SIDE, SIDE)).all()
    assert not read_mask(tmp_path / "out" / style.background_mask, (SIDE, SIDE), allow_empty=True).any()
    # Where nobody drew anything there is no mask for editors, and everything but the border is background.
    bare = cases["pie-311000000003"]
    assert bare.mask == "" and np.array_equal(read_mask(tmp_path / "out" / bare.background_mask, (SIDE, SIDE)), ~border)


def test_no_pixel_of_the_background_holds_a_part_of_the_edit(tmp_path: Path) -> None:
    cases = built(tmp_path / "out", pie(tmp_path / "raw"))
    background = read_mask(tmp_path / "out" / cases["pie-000000000000"].background_mask, (256, 256))
    assert not background[[0, -1]].any() and not background[:, [0, -1]].any()
    expected = np.ones((256, 256), bool)
    expected[[0, -1]] = expected[:, [0, -1]] = False
    expected[50:52, 25:125] = False  # rows 100 to 102, columns 50 to 249
    assert np.array_equal(background, expected)


def test_types_are_chosen_and_the_order_follows_the_seed(tmp_path: Path) -> None:
    root = pie(tmp_path / "raw")
    assert list(built(tmp_path / "out", root, types=["change_style", "delete_object"])) == sorted(
        ["pie-911000000002", "pie-311000000003"], key=list(built(tmp_path / "all", root)).index
    )
    assert list(built(tmp_path / "two", root, 2)) == list(built(tmp_path / "all", root))[:2]
    with pytest.raises(UserError, match=r"option 'types': 'change_stile'.* Did you mean 'change_style'"):
        built(tmp_path / "out", root, types=["change_stile"])


BAD = {
    "a text": ({"mask": "0 262144"}, r"its mask is a text, as in PIE-Bench\+\+.* Get the original"),
    "odd": ({"mask": [1, 2, 3]}, r"its mask is no list of starts and lengths"),
    "negative": ({"mask": [1, -2]}, r"its mask is no list of starts and lengths"),
    "too far": ({"mask": [512 * 512, 1]}, r"starts behind the last of 262144 pixels"),
    "type": ({"editing_type_id": "10"}, r"its editing_type_id is '10', expected 0 to 9"),
    "path": ({"image_path": "../secret.jpg"}, r"its image_path '\.\./secret\.jpg' leads out of"),
    "no text": ({"editing_prompt": None}, r"entry 000000000000: its editing_prompt is None, expected a text"),
    "no image": ({"image_path": "0_random_140/9.jpg"}, r"9\.jpg: no such image file"),
}


@pytest.mark.parametrize("name", BAD)
def test_entries_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    changes, message = BAD[name]
    with pytest.raises(UserError, match=message):
        built(tmp_path / "out", pie(tmp_path / "raw", **changes))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*mapping_file\.json.*Fill in the form"):
        built(tmp_path / "out", tmp_path)
    root = pie(tmp_path / "raw")
    path = root / "mapping_file.json"
    text = path.read_text()
    path.write_text(text[:-40])
    with pytest.raises(UserError, match=r"mapping_file\.json: is truncated or no JSON"):
        built(tmp_path / "out", root)
    path.write_text(text.replace("911000000002", "000000000000"))
    with pytest.raises(UserError, match=r"the key '000000000000' stands twice"):
        built(tmp_path / "out", root)
    path.write_text(text.replace("editing_prompt", "edited_prompt", 1))
    with pytest.raises(UserError, match=r"entry 000000000000: has no 'editing_prompt'\. Did you mean 'edited_prompt'"):
        built(tmp_path / "out", root)
    path.write_text(text)
    image = root / "annotation_images" / "0_random_140" / "000000000000.jpg"
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(image)
    with pytest.raises(UserError, match=r"000000000000\.jpg: is 256x256, expected 512x512"):
        built(tmp_path / "out", root)
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(UserError, match=r"000000000000\.jpg: is no readable image"):
        built(tmp_path / "out", root)
