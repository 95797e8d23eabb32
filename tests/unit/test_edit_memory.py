"""The shard runner when memory runs out: batches are halved, and nothing of a failed one is held."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from editfrontier import editors
from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from test_edit import cases, register, run

__all__ = ["cases", "register"]  # fixtures


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_out_of_memory_halves_the_batch(cases: Path, tmp_path: Path, register: Any, words: str) -> None:
    sizes: list[int] = []

    def hungry(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        sizes.append(len(batch.images))
        if len(batch.images) > 1:
            raise RuntimeError(words)
        return batch.images

    register(hungry)
    rows = run(cases, tmp_path, "theirs")
    assert [row.status for row in rows.values()] == ["ok"] * 5
    assert sizes == [4, 2, 1, 1, 1, 1, 1]
    assert read_parquet(tmp_path / "shard-0.parquet", "")[1]["batch_size"] == 1


def test_memory_of_a_batch_that_was_too_large_is_free_before_its_parts_run(
    cases: Path, tmp_path: Path, register: Any
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def forward(batch: editors.EditBatch) -> torch.Tensor:
        activations = batch.images.repeat(2, 1, 1, 1)
        held.append(weakref.ref(activations))
        if len(batch.images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return activations[:1]

    def hungry(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        alive.append(sum(reference() is not None for reference in held))
        circle: list[Any] = [batch.images]  # a cycle, as closures make them, which only the collector ends
        circle.append(circle)
        try:
            return forward(batch)
        except torch.OutOfMemoryError as error:  # an error that follows from another one
            raise RuntimeError("out of memory in the denoiser") from error

    register(hungry)
    rows = run(cases, tmp_path, "theirs")
    assert [row.status for row in rows.values()] == ["ok"] * 5
    assert alive[:3] == [0, 0, 0]  # with 4 images, with 2, with the first of 1


def test_other_errors_hold_no_memory_while_the_parts_run(cases: Path, tmp_path: Path, register: Any) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def faulty(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        alive.append(sum(reference() is not None for reference in held))
        activations = batch.images.clone()
        held.append(weakref.ref(activations))
        if "case-1" in batch.case_ids:
            raise ValueError("cannot do this one")
        return activations

    register(faulty)
    assert run(cases, tmp_path, "theirs")["case-1"].reason == "case case-1: ValueError: cannot do this one"
    assert max(alive) == 0


def test_a_model_that_never_fits_stops_the_job(cases: Path, tmp_path: Path, register: Any) -> None:
    def hungry(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    register(hungry)
    with pytest.raises(UserError, match=r"theirs.*memory.*one image.*Tried to allocate 20 GiB"):
        run(cases, tmp_path, "theirs")
    assert not (tmp_path / "shard-0.parquet").exists()  # or the study would go on with no image of this editor


def test_one_image_that_does_not_fit_fails_alone(cases: Path, tmp_path: Path, register: Any) -> None:
    def hungry(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        if "case-3" in batch.case_ids:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return batch.images

    register(hungry)
    rows = run(cases, tmp_path, "theirs")
    assert "out of memory" in rows["case-3"].reason
    assert [rows[f"case-{i}"].status for i in (0, 1, 2, 4)] == ["ok"] * 4
