"""Distances that need no network: to the true edit, and how much of the source changed. Images are uint8 [B,3,H,W]."""

from __future__ import annotations

import torch
from torch import Tensor

from editfrontier.scoring.metrics.registry import CHANGED_LEVELS


def l1_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each pair of images, pixel values in [0, 1]; float64 [B]."""
    return (a.to(torch.float64) - b.to(torch.float64)).abs().mean(dim=(1, 2, 3)) / 255


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each pair of images, pixel values in [0, 1]; float64 [B]."""
    difference = (a.to(torch.float64) - b.to(torch.float64)) / 255
    return difference.square().mean(dim=(1, 2, 3))


def l2_distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean squared difference of each pair of images, pixel values in [0, 1]; float64 [B]."""
    return squared_distance(a, b).sqrt()


def changed_area(source: Tensor, edited: Tensor, levels: int = CHANGED_LEVELS) -> Tensor:
    """Share of pixels in which some channel differs by more than `levels` of 255; float64 [B] in [0, 1]."""
    difference = (source.to(torch.int16) - edited.to(torch.int16)).abs().amax(dim=1)
    return (difference > levels).to(torch.float64).mean(dim=(1, 2))
