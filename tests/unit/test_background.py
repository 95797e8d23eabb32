"""What must not change in a case: one rule, by the first thing that the case has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.background import WORSE, background_of
from editfrontier.data.cases import Case, write_images

SIZE = (16, 16)
DRAG = {"kind": "relocation", "source_mask": "region/a.png", "affine": [[1, 0, 6.0], [0, 1, 0.0]]}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    masks = {name: np.zeros(SIZE, dtype=np.bool_) for name in ("mask", "background_mask", "region", "empty")}
    masks["mask"][:8] = True
    masks["background_mask"][12:] = True
    masks["region"][2:5, 2:6] = True
    paths = write_images(tmp_path, "a", masks)
    texts = dict.fromkeys(("source_caption", "target_caption", "instruction"), "a")
    return Case(
        case_id="a", task="t", image="a.png", edit_type="x", cluster="a", licence="CC0", mask=paths["mask"],
        background_mask=paths["background_mask"], drags=json.dumps([DRAG]), **texts,
    )  # fmt: skip


def kept(case: Case, folder: Path, *, for_editor: bool = False) -> int:
    background = background_of(case, folder, SIZE, for_editor=for_editor)
    assert background is not None
    return int(background.sum())


def test_the_rule_goes_by_the_first_that_a_case_has(case: Case, tmp_path: Path) -> None:
    assert kept(case, tmp_path) == kept(case, tmp_path, for_editor=True) == 4 * 16
    masked = replace(case, background_mask="")
    assert kept(masked, tmp_path) == 8 * 16
    dragged = replace(masked, mask="")
    assert kept(dragged, tmp_path) == 256 - 3 * 10  # the rectangle around columns 2 to 5 and 8 to 11 of three rows
    assert background_of(replace(dragged, drags=""), tmp_path, SIZE) is None


@pytest.mark.parametrize("origin", WORSE)
def test_an_editor_goes_by_the_mask_that_it_was_given(case: Case, tmp_path: Path, origin: str) -> None:
    worse = replace(case, mask_origin=origin)
    assert kept(worse, tmp_path) == 4 * 16
    assert kept(worse, tmp_path, for_editor=True) == 8 * 16
    assert kept(replace(worse, mask=""), tmp_path, for_editor=True) == 4 * 16  # there is no worse mask to go by


def test_an_empty_background_is_an_answer_and_a_damaged_one_is_not_passed_over(case: Case, tmp_path: Path) -> None:
    assert kept(replace(case, background_mask="empty/a.png"), tmp_path) == 0
    with pytest.raises(UserError, match=r"gone\.png: no such image file"):
        background_of(replace(case, background_mask="gone.png"), tmp_path, SIZE)
    with pytest.raises(UserError, match=r"gone\.png: no such image file"):
        background_of(replace(case, background_mask="", mask="gone.png"), tmp_path, SIZE)
    with pytest.raises(UserError, match="case a, drags: not readable as JSON"):
        background_of(replace(case, background_mask="", mask="", drags="[{"), tmp_path, SIZE)
