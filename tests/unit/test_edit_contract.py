"""Editors that break the rules: each says what is wrong, and one that breaks every case stops its job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editfrontier import editors
from editfrontier.base.errors import EditorError, UserError
from editfrontier.data.cases import read_cases, write_cases
from editfrontier.editing.contract import NEED_OF, TRIES
from editfrontier.editing.editor import NEEDS, EditBatch
from test_edit import cases, register, run
from tiny_pipelines import tiny_cases

__all__ = ["cases", "register"]  # fixtures

SIZES = pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
Edit = Callable[[Any, EditBatch, Any], Any]


def chained(path: Path) -> Path:
    """Make chains of two steps of the cases of a table."""
    cases = read_cases(path)
    write_cases(path, [replace(case, chain=f"chain-{i // 2}", step=i % 2 + 1) for i, case in enumerate(cases)])
    return path


def breaking(*broken: int) -> Edit:
    """Return an editor that breaks the cases of these numbers."""

    def edit(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
        if any(int(name.removeprefix("case-")) in broken for name in batch.case_ids):
            raise TypeError("a slip")
        return batch.images

    return edit


@SIZES
@pytest.mark.parametrize("chains", [False, True])
def test_an_editor_that_breaks_every_case_raises_with_any_batch_size(
    tmp_path: Path, register: Any, batch_size: int, chains: bool
) -> None:
    path = tiny_cases(tmp_path / "data", 6)
    register(breaking(*range(6)))
    with pytest.raises(TypeError, match="a slip"):
        run(chained(path) if chains else path, tmp_path, "theirs", batch_size=batch_size)
    assert not (tmp_path / "shard-0.parquet").exists()


@SIZES
def test_the_first_cases_that_break_are_rows_with_any_batch_size(
    tmp_path: Path, register: Any, batch_size: int
) -> None:
    path = tiny_cases(tmp_path / "data", TRIES + 1)
    register(breaking(*range(TRIES - 1)))
    said: list[str] = []
    rows = run(path, tmp_path, "theirs", batch_size=batch_size, progress=said.append)
    assert [row.status for row in rows.values()] == ["failed"] * (TRIES - 1) + ["ok"] * 2
    assert sum('raise TypeError("a slip")' in line for line in said) == 1  # where it came from, once
    register(breaking(*range(TRIES)))
    with pytest.raises(TypeError, match="a slip"):
        run(path, tmp_path / "more", "theirs", batch_size=batch_size)


@SIZES
def test_steps_that_break_after_others_worked_are_rows(tmp_path: Path, register: Any, batch_size: int) -> None:
    path = chained(tiny_cases(tmp_path / "data", 6))
    register(breaking(1, 3, 5))
    rows = run(path, tmp_path, "theirs", batch_size=batch_size)
    assert [row.status for row in rows.values()] == ["ok", "failed"] * 3
    # A run that goes on, and finds the first steps done, says the same.
    (tmp_path / "shard-0.parquet").unlink()
    again = run(path, tmp_path, "theirs", batch_size=batch_size)
    assert [(row.status, row.reason) for row in again.values()] == [(row.status, row.reason) for row in rows.values()]


@SIZES
def test_what_the_editor_says_of_its_cases_are_rows(tmp_path: Path, register: Any, batch_size: int) -> None:
    def picky(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
        raise UserError(f"{batch.case_ids[0]}: is not for me. Take another one.")

    register(picky)
    rows = run(tiny_cases(tmp_path / "data", TRIES + 2), tmp_path, "theirs", batch_size=batch_size)
    assert {row.status for row in rows.values()} == {"failed"}
    assert len({row.reason for row in rows.values()}) == TRIES + 2


def measured_array(batch: EditBatch) -> editors.Measured:
    """Return what an editor of others can make: in tests the check of shapes would refuse it before the runner."""
    measured = editors.Measured(batch.images, {})
    object.__setattr__(measured, "images", np.zeros(3))
    return measured


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda batch: None, "returned None, expected a torch tensor of floating-point numbers"),
        (lambda batch: batch.images.numpy(), "returned an object of type numpy.ndarray, expected a torch tensor"),
        (lambda batch: (batch.images,), "returned an object of type builtins.tuple"),
        (lambda batch: (batch.images * 127 + 128).to(torch.uint8), "returned numbers of type torch.uint8"),
        (lambda batch: batch.images[:, :1], r"returned \(\d, 1, 32, 32\), expected .* \(\d, 3, 32, 32\)"),
        (measured_array, "returned an object of type numpy.ndarray"),
        (lambda batch: editors.Measured(batch.images, {"error": 1.0}), "its measure 'error' is 1.0, expected"),  # type: ignore[dict-item]
    ],
)
def test_what_is_no_batch_of_images_is_said(
    cases: Path, tmp_path: Path, register: Any, batch_size: int, result: Callable[[EditBatch], Any], words: str
) -> None:
    register(lambda model, batch, params: result(batch))
    with pytest.raises(EditorError, match=f"editor 'theirs': {words}"):
        run(cases, tmp_path, "theirs", batch_size=batch_size)


def without_check(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
    return batch.images * batch.masks


def by_attribute(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
    return batch.images * batch.masks.bool()  # type: ignore[union-attr]


def by_assertion(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
    assert batch.masks is not None
    return batch.images


def by_copy(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
    return without_check(model, replace(batch, images=batch.images * 0.5), params)


@pytest.mark.parametrize("edit", [without_check, by_attribute, by_assertion, by_copy])
def test_reading_what_was_not_asked_for_names_the_need(cases: Path, tmp_path: Path, register: Any, edit: Edit) -> None:
    register(edit)
    with pytest.raises(EditorError, match=r"'theirs': reads .*batch\.masks.* None unless `needs` names .*\"mask\""):
        run(cases, tmp_path, "theirs")
    register(edit, needs=frozenset({"mask"}))
    assert {row.status for row in run(cases, tmp_path / "mended", "theirs").values()} == {"ok"}


def test_looking_whether_something_is_there_is_no_fault(cases: Path, tmp_path: Path, register: Any) -> None:
    def either(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
        if batch.masks is None and "case-1" in batch.case_ids:
            raise TypeError("another slip")
        return batch.images

    register(either)
    rows = run(cases, tmp_path, "theirs")
    assert rows["case-1"].reason == "case case-1: TypeError: another slip"


def test_every_field_that_may_be_missing_has_its_need() -> None:
    empty = {name for name, field in EditBatch.__dataclass_fields__.items() if "None" in str(field.type)}
    assert empty == {*NEED_OF, "inversions"}
    assert set(NEED_OF.values()) <= NEEDS
