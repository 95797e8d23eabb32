"""Inversion of a batch's sources under their captions, kept for other editors where the batch has a cache."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from editfrontier.editing.editor import EditBatch
from editfrontier.inversion import Trajectory, invert


def invert_sources(
    model: Any, clean: Tensor, batch: EditBatch, method: str, steps: int, start: int, **options: Any
) -> Trajectory:
    """Return the inverted trajectory of the latents `clean` [B, C, h, w] of a batch's sources.

    Args:
        method, steps, start: as for `inversion.invert`.
        options: further ones of `inversion.invert`; `cache` replaces the cache of the batch.
    """
    options = {"images": batch.images, "cache": batch.inversions} | options
    return invert(model, clean, method, steps, batch.source_captions, start=start, **options)
