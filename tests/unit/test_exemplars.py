"""Exemplars of portrait cases: other people, aligned, with the desired value, and the region that shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask, write_cases, write_png
from editfrontier.data.language import load_language
from editfrontier.editing.inputs import make_batch, read_inputs
from editfrontier.editing.records import EditSpec
from editfrontier.microworld.dataset import build_task
from editfrontier.microworld.edits import MINIMUM_PIXELS, attribute_directions, portrait_edits
from editfrontier.microworld.exemplars import portrait_exemplars

NEEDS = ("mask", "exemplar")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    build_task("portraits", 6, 0, folder)
    return folder


def cases_of(folder: Path) -> list[Case]:
    return read_cases(folder / "cases.parquet")


def test_every_attribute_and_direction_has_a_visible_exemplar_of_its_own() -> None:
    lang, n = load_language(), len(attribute_directions())
    edits = portrait_edits(n, 5, lang)
    exemplars = portrait_exemplars(edits, 5, "studio")
    assert len(exemplars) == n == len({exemplar.image.tobytes() for exemplar in exemplars})
    for edit, exemplar in zip(edits, exemplars, strict=True):
        assert exemplar.mask.sum() >= MINIMUM_PIXELS
        assert np.abs(exemplar.image.astype(int) - edit.before).mean() > 1  # another person
    longer = portrait_exemplars(edits[:3], 5, "studio")
    assert all(np.array_equal(a.image, b.image) for a, b in zip(longer, exemplars[:3], strict=True))


def test_the_region_shows_the_attribute_where_the_edit_puts_it(root: Path) -> None:
    """The shipped classifier sees the desired value in exemplars as in true edits, and the regions lie alike."""
    from editfrontier.scoring.evaluators.attributes import AttributeEvaluator

    edits = [e for e in portrait_edits(40, 9, load_language()) if e.attribute in ("hat", "beard", "glasses", "smile")]
    exemplars = portrait_exemplars(edits, 9, "studio")
    images = torch.from_numpy(np.stack([e.image for e in exemplars])).permute(0, 3, 1, 2)
    model = AttributeEvaluator.load(root / "resources" / "micro" / "attributes")
    probabilities = model.probabilities(images)
    names = list(model.names)
    right = [
        (float(probabilities[row, names.index(edit.attribute)]) > 0.5) == edit.desired for row, edit in enumerate(edits)
    ]
    assert np.mean(right) >= 0.9
    for edit, exemplar in zip(edits, exemplars, strict=True):
        centres = [np.argwhere(mask).mean(0) for mask in (edit.mask, exemplar.mask)]
        assert np.abs(centres[0] - centres[1]).max() < 12


def test_cases_name_the_exemplar_and_its_mask(folder: Path) -> None:
    for case in cases_of(folder):
        assert read_image(folder / case.exemplar).shape == (64, 64, 3)
        assert read_mask(folder / case.exemplar_mask, (64, 64)).any()


def test_batches_hold_exemplars_and_their_masks(folder: Path) -> None:
    cases = cases_of(folder)
    inputs = [read_inputs(case, cases, folder, NEEDS, 0) for case in cases[:3]]
    batch = make_batch(inputs, EditSpec("tf_icon", "test"), torch.device("cpu"))
    assert batch.exemplars is not None and batch.exemplars.shape == batch.images.shape
    assert batch.exemplar_masks is not None and batch.exemplar_masks.shape == (3, 1, 64, 64)
    assert set(batch.exemplar_masks.unique().tolist()) == {0.0, 1.0}
    without = make_batch([read_inputs(cases[0], cases, folder, ["mask"], 0)], EditSpec("x", "y"), torch.device("cpu"))
    assert without.exemplars is None and without.exemplar_masks is None


def test_an_exemplar_without_a_mask_counts_as_a_whole(folder: Path) -> None:
    cases = cases_of(folder)
    whole = read_inputs(replace(cases[0], exemplar_mask=""), cases, folder, NEEDS, 0)
    assert whole.exemplar_mask is not None and whole.exemplar_mask.all()
    assert whole.digest != read_inputs(cases[0], cases, folder, NEEDS, 0).digest


def test_bad_exemplars_are_named(folder: Path, tmp_path: Path) -> None:
    cases = cases_of(folder)
    with pytest.raises(UserError, match=rf"case {cases[0].case_id}: has no exemplar, which the editor needs"):
        read_inputs(replace(cases[0], exemplar=""), cases, folder, NEEDS, 0)
    with pytest.raises(UserError, match=r"gone\.png: no such image file"):
        read_inputs(replace(cases[0], exemplar="gone.png"), cases, folder, NEEDS, 0)
    write_png(folder / "small.png", np.zeros((32, 48, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"small\.png: is 48x32, expected 64x64 as its source"):
        read_inputs(replace(cases[0], exemplar="small.png"), cases, folder, NEEDS, 0)
    write_png(folder / "empty.png", np.zeros((64, 64), dtype=bool))
    with pytest.raises(UserError, match=r"empty\.png: the mask is empty"):
        read_inputs(replace(cases[0], exemplar_mask="empty.png"), cases, folder, NEEDS, 0)


def test_the_table_stays_strict(folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    write_cases(tmp_path / "cases.parquet", cases_of(folder))
    frame = pd.read_parquet(tmp_path / "cases.parquet").drop(columns="exemplar_mask")
    frame.to_parquet(tmp_path / "old.parquet")
    with pytest.raises(UserError, match="exemplar_mask"):
        read_cases(tmp_path / "old.parquet")
