"""The size that a model edits at, which may differ from the size that images are judged at.

A model that was trained on images of 512 pixels edits smaller ones badly, but all editors are judged on images of
one size. So a batch can be scaled up before it is edited, and what came out is scaled back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from editfrontier.data.regions import Region
    from editfrontier.editing.editor import EditBatch


def edit_sides(sides: tuple[int, int], size: int | None, multiple: int) -> tuple[int, int]:
    """Return the height and width that images are edited at.

    Args:
        size: the shorter side after scaling, pixels; None = the images stay as they are.
        multiple: what both sides have to be divisible by; they are rounded to it.
    """
    if size is None:
        return sides
    scale = size / min(sides)
    height, width = (max(multiple, round(side * scale / multiple) * multiple) for side in sides)
    return height, width


def scaled_images(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """Scale images [B, 3, H, W] in [-1, 1], bicubic and antialiased as Pillow does it; unchanged at their own size."""
    if tuple(images.shape[-2:]) == tuple(sides):
        return images
    return functional.interpolate(images, sides, mode="bicubic", antialias=True, align_corners=False).clamp(-1.0, 1.0)


def scaled_batch(batch: EditBatch, sides: tuple[int, int]) -> EditBatch:
    """Return a batch at another size: images bicubic, masks by the nearest pixel, drags with their coordinates.

    Pixel centres are mapped to pixel centres of the same place, x -> (x + 1/2) s - 1/2.
    """
    before = (batch.images.shape[-2], batch.images.shape[-1])
    if before == tuple(sides):
        return batch

    def images(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else scaled_images(tensor, sides)

    def masks(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else functional.interpolate(tensor, sides, mode="nearest-exact")

    drags = batch.drags and [[_scaled_region(region, before, sides) for region in regions] for regions in batch.drags]
    return replace(
        batch,
        images=scaled_images(batch.images, sides),
        masks=masks(batch.masks),
        true_edits=images(batch.true_edits),
        others=images(batch.others),
        drags=drags,
        backgrounds=masks(batch.backgrounds),
        exemplars=images(batch.exemplars),
        exemplar_masks=masks(batch.exemplar_masks),
    )


def _scaled_region(region: Region, before: tuple[int, int], after: tuple[int, int]) -> Region:
    scale = np.array([after[1] / before[1], after[0] / before[0]])  # of x and y
    shift = (scale - 1) / 2

    def point(value: tuple[float, float]) -> tuple[float, float]:
        x, y = np.array(value) * scale + shift
        return float(x), float(y)

    def mask(value: Any) -> Any:
        tensor = torch.from_numpy(value)[None, None].float()
        return functional.interpolate(tensor, after, mode="nearest-exact")[0, 0].numpy() > 0.5

    linear = scale[:, None] * region.affine[:, :2] / scale
    offset = scale * region.affine[:, 2] + shift - linear @ shift
    return replace(
        region,
        source=mask(region.source),
        affine=np.column_stack([linear, offset]),
        target=mask(region.target),
        points=tuple((point(start), point(end)) for start, end in region.points),
        anchor=None if region.anchor is None else point(region.anchor),
    )
