"""Seams at the border of the edit mask, and drift of regions. Images are uint8 [B,3,H,W]; values float64 [B]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editfrontier.metrics.background import erode, masked_mean
from editfrontier.metrics.region_registry import LEAST_PIXELS

RING = 2
"""Pixels on either side of the border; decoders soften a seam over about this much."""


def boundary(source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """How abruptly a change stops at the border of a mask.

    Args:
        source, edited: images.
        mask: bool [B,1,H,W], True = editable.

    Returns:
        mean absolute step of (edited - source) between neighbours that both lie within `RING` px of the border, less
        the mean step between neighbours inside the mask, in [-1, 1], where 1 is the range of a pixel: about 0 for no
        change and for one that fades out, positive for a pasted patch. NaN where the mask has no border or no inside.
    """
    change = (edited.to(torch.float64) - source.to(torch.float64)) / 255
    ring = _grow(mask, RING) & _grow(~mask, RING)
    at_border, inside = _mean_step(change, ring), _mean_step(change, mask)
    return at_border - inside


def _grow(mask: Tensor, radius: int) -> Tensor:
    """Dilate by a square; nothing grows in from outside of the image."""
    return F.max_pool2d(mask.float(), 2 * radius + 1, stride=1, padding=radius) > 0.5


def _mean_step(change: Tensor, area: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical neighbours within an area; NaN if there are none."""
    total, count = torch.zeros(len(change), dtype=torch.float64), torch.zeros(len(change), dtype=torch.float64)
    for axis in (2, 3):
        size = change.shape[axis]
        first, second = (change.narrow(axis, start, size - 1) for start in (0, 1))
        both = area.narrow(axis, 0, size - 1) & area.narrow(axis, 1, size - 1)
        total = total + ((second - first).abs().mean(1, keepdim=True) * both).sum((1, 2, 3))
        count = count + both.sum((1, 2, 3))
    return total / count


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
