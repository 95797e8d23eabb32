"""Regions to drag: reading them, and every message about a drag that cannot be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import write_png
from editfrontier.data.regions import apply, parse_drags, rectangle_around, warp_mask

SIZE = (32, 48)  # height, width: not square, so that swapped coordinates show


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = np.zeros(SIZE, bool)
    source[8:14, 20:30] = True
    write_png(tmp_path / "source.png", source)
    write_png(tmp_path / "empty.png", np.zeros(SIZE, bool))
    write_png(tmp_path / "small.png", np.ones((8, 8), bool))
    return tmp_path


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "relocation",
        "source_mask": "source.png",
        "affine": [[1, 0, 10.0], [0, 1, 5.0]],
        "points": [[[24, 10], [34.0, 15.0]]],
    } | changes


def parse(folder: Path, *entries: Any) -> Any:
    return parse_drags(json.dumps(list(entries)), folder, SIZE, "drags-00007")


def test_a_region_is_read_and_its_target_is_the_warped_source(folder: Path) -> None:
    first, second = parse(folder, entry(), entry(kind="rotation", anchor=[25, 11], affine=[[1, 0, 0], [0, 1, 0]]))
    assert first.kind == "relocation" and first.anchor is None and first.points == (((24.0, 10.0), (34.0, 15.0)),)
    expected = np.zeros(SIZE, bool)
    expected[13:19, 30:40] = True
    assert np.array_equal(first.target, expected)
    assert second.anchor == (25.0, 11.0)
    assert np.array_equal(second.target, second.source)


def test_a_given_target_mask_is_taken(folder: Path) -> None:
    drawn = np.zeros(SIZE, bool)
    drawn[20:30, 20:30] = True
    write_png(folder / "target.png", drawn)
    (region,) = parse(folder, entry(target_mask="target.png"))
    assert np.array_equal(region.target, drawn)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"affine": [[1, 0, 30.0], [0, 1, 0]]}, ["leave the image of 48x32", "Shorten"]),
        ({"affine": [[1, 0, 0], [0, 1, -9.0]]}, ["leave the image", "(20, -1)"]),
        ({"source_mask": "empty.png", "points": []}, ["source region has zero area", "Redraw"]),
        ({"target_mask": "empty.png"}, ["target region has zero area", "Redraw"]),
        ({"affine": [[-1, 0, 50.0], [0, 1, 0]]}, ["affine", "determinant is -1", "positive", "Correct"]),
        ({"affine": [[0, 0, 20.0], [0, 1, 0]]}, ["affine", "determinant is 0", "Correct"]),
        ({"points": [[[10, 24], [20, 29]]]}, ["handle (10, 24)", "outside the source mask", "Move the handle"]),
        ({"points": [[[24, 10], [60, 10]]]}, ["target (60, 10)", "leaves the image", "Shorten"]),
        ({"affine": [[1, 0], [0, 1]]}, ["affine", "two rows of three finite numbers"]),
        ({"affine": [[1, 0, None], [0, 1, 2]]}, ["affine", "two rows of three finite numbers"]),
        ({"affine": "left"}, ["affine", "two rows of three finite numbers"]),
        ({"points": [[24, 10]]}, ["points", "pair"]),
        ({"points": [[[24, 10], [True, 2]]]}, ["points", "pair of finite numbers"]),
        ({"anchor": [1, 2, 3]}, ["anchor", "pair of finite numbers"]),
        ({"kind": "rotatoin"}, ["kind", "Did you mean 'rotation'?"]),
        ({"kind": 3}, ["kind", "expected one of relocation"]),
        ({"affin": 1}, ["no key 'affin'", "Did you mean 'affine'?"]),
        ({"source_mask": 7}, ["source_mask", "path of a mask"]),
        ({"source_mask": "small.png"}, ["small.png", "8x8", "48x32"]),
        ({"source_mask": "none.png"}, ["none.png", "no such image"]),
    ],
)
def test_a_bad_region_is_named_with_its_case_and_a_fix(folder: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(folder, entry(), entry(**changes))
    message = str(caught.value)
    assert "case drags-00007, region 2" in message
    for word in words:
        assert word in message, message


def test_a_malformed_text_is_named_with_its_case(folder: Path) -> None:
    for text, word in (("[{", "JSON"), ("{}", "list"), ("[]", "at least one region"), ("[3]", "region 1: is 3")):
        with pytest.raises(UserError, match="case drags-00007") as caught:
            parse_drags(text, folder, SIZE, "drags-00007")
        assert word in str(caught.value)
    for key in ("kind", "source_mask", "affine"):
        broken = {name: value for name, value in entry().items() if name != key}
        with pytest.raises(UserError, match=f"region 1: has no '{key}'"):
            parse(folder, broken)


def test_the_rectangle_is_the_smallest_at_any_angle() -> None:
    source, target = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    source[4:8, 4:8] = True
    target[24:28, 24:28] = True
    both = rectangle_around([source, target])
    assert (both | ~(source | target)).all()
    upright = (target.nonzero()[0].max() - 4 + 1) ** 2
    assert both.sum() < 0.55 * upright  # a diagonal band, not the upright square
    assert np.array_equal(rectangle_around([source]), source)
    one = np.zeros(SIZE, bool)
    one[5, 40] = True
    assert rectangle_around([one])[5, 40] and rectangle_around([one]).sum() <= 4


def test_warped_pixels_are_where_the_points_go() -> None:
    mask = np.zeros(SIZE, bool)
    mask[10, 20] = True
    affine = np.array([[0.0, -1.0, 36.0], [1.0, 0.0, -10.0]])
    rows, columns = np.nonzero(warp_mask(mask, affine))
    assert np.allclose(apply(affine, np.array([[20.0, 10.0]]))[0], (columns[0], rows[0]))
