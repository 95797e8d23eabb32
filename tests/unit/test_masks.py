"""Masks made worse on purpose, and the data set that is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import MASK_ORIGINS, read_mask
from editfrontier.data.mask_quality import MASK_KINDS
from editfrontier.data.masks import DEGRADATIONS, LEAST_SHARE, degrade, dilated, eroded, iou, shifted, with_holes
from editfrontier.editing.inputs import noise_name, read_inputs
from editfrontier.microworld.dataset import build_task


def _square(size: int = 64, low: int = 20, high: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[low:high, low:high] = True
    return mask


def test_erosion_and_dilation_move_the_border_by_pixels_of_the_image() -> None:
    mask = _square()
    assert eroded(mask, 0, 8.0).tolist() == _square(64, 22, 38).tolist()  # 8 px at 256 are 2 px at 64
    assert eroded(_square(128, 40, 80), 0, 8.0).tolist() == _square(128, 44, 76).tolist()
    grown = dilated(mask, 0, 8.0)
    assert grown[18, 30]
    assert not grown[17, 30]
    assert not grown[18, 18]  # round corners
    assert (grown & mask).tolist() == mask.tolist()


def test_the_border_of_the_image_is_no_rim() -> None:
    mask = _square(64, 0, 20)
    assert eroded(mask, 0, 8.0).tolist() == _square(64, 0, 18).tolist()
    assert eroded(np.ones((8, 8), dtype=bool), 0).all()


def test_erosion_leaves_something_of_thin_masks() -> None:
    line = np.zeros((64, 64), dtype=bool)
    line[30, 10:50] = True
    assert eroded(line, 0, 40.0).sum() >= LEAST_SHARE * line.sum()


def test_a_shift_keeps_the_shape_and_has_the_asked_length() -> None:
    mask = _square()
    turns = set()
    for seed in range(8):
        moved = shifted(mask, seed, 16.0)
        assert moved.sum() == mask.sum()
        step = np.argwhere(moved)[0] - np.argwhere(mask)[0]
        assert abs(np.hypot(*step) - 4) < 0.8
        turns.add(tuple(step))
    assert len(turns) > 3
    corner = np.zeros((64, 64), dtype=bool)
    corner[0, 0] = True
    assert all(shifted(corner, seed).any() for seed in range(20))


def test_holes_take_their_share_from_inside() -> None:
    mask = _square()
    holed = with_holes(mask, 3)
    assert not (holed & ~mask).any()
    assert 0.5 < holed.sum() / mask.sum() <= 0.65
    dot = np.zeros((64, 64), dtype=bool)
    dot[5, 5] = True
    assert with_holes(dot, 0).any()


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_degradations_are_seeded_pure_and_never_empty(kind: str) -> None:
    mask = _square()
    before = mask.copy()
    first, again = degrade(mask, kind, 7), degrade(mask, kind, 7)
    assert first.tolist() == again.tolist()
    assert first.any()
    assert first.tolist() != mask.tolist()
    assert mask.tolist() == before.tolist()


def test_a_wrong_kind_and_an_empty_mask_are_named() -> None:
    with pytest.raises(UserError, match="'erode'.*Did you mean 'eroded'"):
        degrade(_square(), "erode", 0)
    with pytest.raises(UserError, match="empty"):
        degrade(np.zeros((4, 4), dtype=bool), "eroded", 0)


def test_each_edit_comes_once_with_every_mask_at_equal_noise(tmp_path: Path) -> None:
    cases = build_task("mq", 12, 5, tmp_path, dataset="mask_quality")
    designs = [json.loads(case.design) for case in cases]
    assert [design["mask"] for design in designs] == [*MASK_KINDS, *MASK_KINDS]
    assert len({case.cluster for case in cases}) == 2
    for first in (0, 6):
        group = cases[first : first + 6]
        exact = read_mask(tmp_path / group[0].mask, (64, 64))
        assert len({noise_name(case) for case in group}) == 1
        assert len({case.image for case in group}) == len({case.true_edit for case in group}) == 1
        for case, design in zip(group, designs[first : first + 6], strict=True):
            used = read_mask(tmp_path / case.mask, (64, 64))
            assert iou(used, exact) == pytest.approx(design["iou"], abs=1e-4)
            assert (read_mask(tmp_path / case.background_mask, (64, 64)) == ~exact).all()
            assert case.mask_origin in MASK_ORIGINS
            assert (case.mask_origin == "exact") == (design["mask"] == "exact") == (design["iou"] == 1)


def test_an_editor_is_told_of_the_worse_mask_and_not_of_the_exact_one(tmp_path: Path) -> None:
    cases = build_task("mq", 6, 5, tmp_path, dataset="mask_quality")
    digests = set()
    for case in cases:
        inputs = read_inputs(case, cases, tmp_path, {"mask", "optional_drags"}, 0)
        assert inputs.mask is not None
        assert inputs.background is not None
        assert (inputs.background == ~inputs.mask).all()
        digests.add(inputs.digest)
    assert len(digests) == len(cases)


def test_repeats_share_the_image_and_have_noise_of_their_own(tmp_path: Path) -> None:
    plain = build_task("p", 2, 5, tmp_path / "a", dataset="portraits")
    thrice = build_task("p", 2, 5, tmp_path / "b", dataset="portraits", repeats=3)
    assert [case.case_id for case in thrice[:2]] == [case.case_id for case in plain]
    assert [case.case_id[-3:] for case in thrice[2:]] == ["-r1", "-r1", "-r2", "-r2"]
    assert {case.cluster for case in thrice} == {case.cluster for case in plain}
    assert {case.image for case in thrice} == {case.image for case in plain}
    assert len({noise_name(case) for case in thrice}) == 6
    masks = build_task("m", 6, 5, tmp_path / "c", dataset="mask_quality", repeats=2)
    assert len({noise_name(case) for case in masks}) == 2
    with pytest.raises(UserError, match="repeats is 0, expected at least 1"):
        build_task("p", 2, 5, tmp_path / "d", dataset="portraits", repeats=0)
