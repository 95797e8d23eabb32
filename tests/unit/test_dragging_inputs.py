"""Drags as an editor gets them: read from a case, or standing for the attribute of a case (E11)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.data.attribute_map import attribute_regions, load_table
from editfrontier.data.cases import Case, read_cases, write_png
from editfrontier.data.language import load_language
from editfrontier.data.regions import apply
from editfrontier.editing.editor import NEEDS
from editfrontier.editing.inputs import make_batch, read_inputs
from editfrontier.editing.records import EditSpec
from tiny_pipelines import SIZE, tiny_cases

DRAGS = {"drags"}
OPTIONAL = {"optional_drags"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cases")
    tiny_cases(path)
    source = np.zeros((SIZE, SIZE), bool)
    source[4:10, 4:12] = True
    write_png(path / "source.png", source)
    write_png(path / "background.png", ~source)
    return path


def drag(**changes: Any) -> str:
    region = {"kind": "relocation", "source_mask": "source.png", "affine": [[1, 0, 9.0], [0, 1, 4.0]]}
    return json.dumps([region | changes])


def case_of(folder: Path, **changes: Any) -> Case:
    return replace(read_cases(folder / "cases.parquet")[0], **changes)


def test_drags_are_read_with_their_masks_and_the_background(folder: Path) -> None:
    case = case_of(folder, drags=drag())
    inputs = read_inputs(case, [case], folder, DRAGS, 0)
    assert inputs.drags is not None and len(inputs.drags) == 1 and inputs.drags[0].source.sum() == 48
    # Without a background mask it is the complement of the mask, and without a mask that of the drag's rectangle.
    assert inputs.background is not None and not inputs.background[4:12, 6:20].any() and inputs.background[20:].all()
    bare = read_inputs(replace(case, mask=""), [case], folder, DRAGS, 0)
    assert bare.background is not None and not bare.background[4:10, 4:12].any()
    assert not bare.background[8:14, 13:21].any() and bare.background[20:].all()
    drawn = read_inputs(replace(case, background_mask="background.png"), [case], folder, DRAGS, 0)
    assert drawn.background is not None and drawn.background.sum() == SIZE**2 - 48


def test_a_batch_holds_the_regions_of_each_case(folder: Path) -> None:
    plain, dragged = case_of(folder, case_id="plain"), case_of(folder, case_id="dragged", drags=drag())
    inputs = [read_inputs(case, [plain, dragged], folder, OPTIONAL, 0) for case in (plain, dragged)]
    batch = make_batch(inputs, EditSpec("drag_flow", "drag_flow"), torch.device("cpu"))
    assert batch.drags is not None and [len(regions) for regions in batch.drags] == [0, 1]
    assert batch.backgrounds is not None and batch.backgrounds.shape == (2, 1, SIZE, SIZE)
    assert batch.masks is None
    without = make_batch([read_inputs(plain, [plain], folder, {"mask"}, 0)], EditSpec("x", "x"), torch.device("cpu"))
    assert without.drags is None and without.backgrounds is None


def test_the_digest_follows_the_masks_that_the_drags_name(folder: Path) -> None:
    case = case_of(folder, drags=drag(source_mask="other.png"))
    found = []
    for row in (4, 5):
        mask = np.zeros((SIZE, SIZE), bool)
        mask[row : row + 3, 4:8] = True
        write_png(folder / "other.png", mask)
        found.append(read_inputs(case, [case], folder, DRAGS, 0).digest)
    assert found[0] != found[1]


def test_a_case_without_drags_fails_where_they_are_needed(folder: Path) -> None:
    case = case_of(folder)
    with pytest.raises(UserError, match=r"case case-0: has no drags"):
        read_inputs(case, [case], folder, DRAGS, 0)
    with pytest.raises(UserError, match=r"case case-0: has neither drags nor a mask"):
        read_inputs(replace(case, mask=""), [case], folder, OPTIONAL, 0)
    with pytest.raises(UserError, match=r"case case-0, region 1: .* leave the image of 32x32"):
        read_inputs(replace(case, drags=drag(affine=[[1, 0, 90], [0, 1, 0]])), [case], folder, OPTIONAL, 0)
    assert OPTIONAL <= NEEDS


def test_attributes_with_a_geometric_counterpart_have_drags_and_no_others() -> None:
    attributes = load_language().attributes
    assert set(load_table()) == {name for name, attribute in attributes.items() if attribute.geometric}
    mask = np.zeros((64, 64), bool)
    mask[40:47, 24:43] = True
    assert attribute_regions("hat", True, mask, "c") == [] == attribute_regions("", True, mask, "c")
    for name in load_table():
        for desired in (True, False):
            regions = attribute_regions(name, desired, mask, "c")
            assert regions and all(region.source.any() and region.target.any() for region in regions)


def test_a_smile_lifts_the_corners_of_the_mouth_and_its_removal_lowers_them() -> None:
    mask = np.zeros((64, 64), bool)
    mask[40:50, 20:40] = True
    for desired, sign in ((True, -1), (False, 1)):
        left, right = attribute_regions("smile", desired, mask, "c")
        middles = [np.argwhere(region.source)[:, ::-1].mean(0) for region in (left, right)]
        assert middles[0][0] < 26 < 34 < middles[1][0]
        moves = [apply(r.affine, m[None])[0] - m for r, m in zip((left, right), middles, strict=True)]
        assert all(np.sign(move[1]) == sign for move in moves)
        assert moves[0][0] == pytest.approx(-moves[1][0]) and np.sign(moves[0][0]) == sign  # outwards for a smile


def test_a_stretch_keeps_its_fixed_point_and_what_would_leave_the_image_is_left_out() -> None:
    mask = np.zeros((64, 64), bool)
    mask[30:64, 8:56] = True
    (region, _) = attribute_regions("long_hair", True, mask, "c")
    assert region.kind == "deformation" and region.anchor is not None
    assert np.allclose(apply(region.affine, np.array([region.anchor]))[0], region.anchor)
    assert region.target.sum() > 2 * region.source.sum()
    table = {"smile": {"add": ({"box": (0.0, 0.0, 1.0, 1.0), "move": (0.0, 0.5)},)}}
    (cut,) = attribute_regions("smile", True, mask, "c", table)
    assert np.nonzero(cut.source)[0].max() == 63 - 17
    with pytest.raises(UserError, match=r"case c, smile, region 1: the source region has zero area"):
        attribute_regions("smile", True, mask, "c", {"smile": {"add": ({"box": (0, 0, 1, 1), "move": (0.0, 2.0)},)}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smile: {add: [{box: [0, 0, 1, 1], move: [0, 1]}]}", ["smile", "`add` and `remove`"]),
        ("smile: {add: [], remove: []}", ["smile.add", "at least one region"]),
        ("smile: {add: [{box: [0, 0, 1], move: [0, 1]}], remove: [3]}", ["smile.add.box", "expected 4 numbers"]),
        ("smile: {add: [{box: [0, 0, 1, 1]}], remove: [3]}", ["smile.add", "`move` or `stretch`"]),
        ("smile: {add: [{boxx: [0, 0, 1, 1]}], remove: [3]}", ["no key 'boxx'", "Did you mean 'box'?"]),
        ("smile: {add: [{box: [1, 0, 0, 1], move: [0, 1]}], remove: [3]}", ["left < right"]),
        ("smile: {add: [{box: [0, 0, 1, 1], stretch: [0, 1]}], remove: [3]}", ["positive factors"]),
        ("[1]", ["holds a list, expected a mapping"]),
        ("{", ["not valid YAML"]),
    ],
)
def test_a_malformed_table_is_named_with_its_key(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "drags.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_table(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)
