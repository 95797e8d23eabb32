"""Seams at the border of the edit mask, and drift of regions. Images are uint8 [B,3,H,W]; values float64 [B]."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from editfrontier.scoring.metrics.background import erode, masked_mean
from editfrontier.scoring.metrics.region_registry import LEAST_PIXELS

CONTOURS = (-1, 0, 1, 2)
"""Pixels that the border is moved outwards to look for a seam: latent cells and decoders put it a little beside."""


def boundary(source: Tensor, edited: Tensor, mask: Tensor, true_edit: Tensor | None = None) -> Tensor:
    """How strong a seam runs along the border of a mask.

    An edge counts as far as it is stronger than that of the source, and of the true edit, at the same place. So neither
    the source nor the true edit has any, whatever the mask.

    Args:
        source, edited: images.
        mask: bool [B,1,H,W], True = editable.
        true_edit: images, None if it is not known; edges that the edit is asked for then count as well.

    Returns:
        mean step between neighbouring pixels on either side of the border, or of one of the borders that run beside it
        (`CONTOURS`) where it is greatest, less the mean step between neighbours inside the mask; in [-1, 1], where 1 is
        the range of a pixel. NaN where the mask has no border or no inside.
    """
    across = []
    for radius in CONTOURS:
        grown = _grow(mask, radius) if radius >= 0 else ~_grow(~mask, -radius)
        across.append(_mean_step(source, edited, true_edit, lambda first, second: first ^ second, grown))
    strongest = torch.stack(across).nan_to_num(nan=-torch.inf).amax(0)
    found = strongest - _mean_step(source, edited, true_edit, torch.logical_and, mask)
    return torch.where(across[CONTOURS.index(0)].isfinite() & found.isfinite(), found, torch.nan)


def _grow(mask: Tensor, radius: int) -> Tensor:
    """Dilate by a square; nothing grows in from outside of the image."""
    return F.max_pool2d(mask.float(), 2 * radius + 1, stride=1, padding=radius) > 0.5


def _mean_step(
    source: Tensor, edited: Tensor, true_edit: Tensor | None, which: Callable[[Tensor, Tensor], Tensor], area: Tensor
) -> Tensor:
    """Mean excess of the edit's steps over horizontal and vertical neighbours, those whose places in `area` `which`
    chooses; NaN if there are none."""
    total, count = torch.zeros(len(source), dtype=torch.float64), torch.zeros(len(source), dtype=torch.float64)
    for axis in (2, 3):
        first, second = (area.narrow(axis, start, area.shape[axis] - 1) for start in (0, 1))
        chosen = which(first, second)
        known = _steps(source, axis) if true_edit is None else _steps(source, axis).maximum(_steps(true_edit, axis))
        excess = (_steps(edited, axis) - known).clamp(min=0).mean(1, keepdim=True)
        total = total + (excess * chosen).sum((1, 2, 3))
        count = count + chosen.sum((1, 2, 3))
    return total / count


def _steps(images: Tensor, axis: int) -> Tensor:
    return images.to(torch.float64).diff(dim=axis).abs() / 255


def drift(source: Tensor, edited: Tensor, region: Tensor, background: Tensor) -> Tensor:
    """Mean absolute difference over a region outside of the edit.

    Args:
        source, edited: images.
        region: bool [B,1,H,W], the part of the source that is meant.
        background: bool [B,1,H,W], what must not change; a rim of one pixel of it is left out.

    Returns:
        in [0, 1]; NaN where fewer than `LEAST_PIXELS` pixels are left.
    """
    area = region & erode(background, 1)
    difference = (edited.to(torch.float64) - source.to(torch.float64)).abs().mean(1) / 255
    found = masked_mean(difference, area[:, 0])
    return torch.where(area.sum((1, 2, 3)) >= LEAST_PIXELS, found, torch.full_like(found, torch.nan))
