"""What comes out of editing a batch: an edited case, what its editor measured of it, and what an error means."""

from __future__ import annotations

import gc
import json
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editfrontier.base.errors import EditorError, UserError
from editfrontier.data.pictures import Pixels
from editfrontier.editing.editor import Measured


@dataclass(frozen=True)
class Edited:
    """An edited case.

    Attributes:
        pixels: uint8 [H, W, 3].
        seconds: its share of the batch's.
        forwards: its share of the batch's.
        measures: what its editor measured, as JSON, "" for nothing.
        latents: [C, h, w] for the next step of its chain, None for none.
    """

    pixels: Pixels
    seconds: float
    forwards: int
    seed: int
    measures: str
    latents: Tensor | None = None


def with_measure(result: Tensor | Measured, name: str, values: Sequence[float]) -> Measured:
    """Return what an editor returned with one more measure, a value for each case."""
    if isinstance(result, Measured):
        return Measured(result.images, {**result.measures, name: values})
    return Measured(result, {name: values})


def measured(result: Any, count: int, editor: str) -> tuple[Tensor, list[str]]:
    """Return the images, and what the editor measured of each of the `count` cases as JSON ("" for nothing).

    Raises:
        EditorError: a measure has not one finite number a case; the message names the editor.
    """
    if not isinstance(result, Measured):
        return result, [""] * count
    measures = {name: _numbers(values) for name, values in result.measures.items()}
    for name, numbers in measures.items():
        if len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise EditorError(
                f"editor '{editor}': its measure '{name}' is {result.measures[name]!r}, expected {count} finite "
                "numbers, one a case. Mend it."
            )
    rows = [{name: numbers[i] for name, numbers in measures.items()} for i in range(count)]
    return result.images, [json.dumps(row, sort_keys=True) if row else "" for row in rows]


def _numbers(values: Any) -> list[float]:
    """Return a measure as numbers, none if it is something else."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        # ALLOC_FAILED: of cuBLAS and cuDNN, which take memory besides PyTorch's.
        text in str(error)
        for text in ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    )


def no_memory(editor: str, error: Exception) -> UserError:
    """Return what to say of a device that is too small for one image."""
    return UserError(
        f"editor '{editor}': memory runs out with one image at a time ({error}), expected a device that holds the "
        "model and one image. Use one with more memory that no other job uses."
    )


def release(error: BaseException) -> None:
    """Let go of all that the frames of an error and of those behind it hold; its traceback can still be printed."""
    seen: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in seen:
        traceback.clear_frames(behind.__traceback__)
        seen.append(behind)
        behind = behind.__cause__ or behind.__context__
    gc.collect()
