"""Point drags on feature maps: handles, motion supervision and point tracking (DragGAN; DragDiffusion, section 3.2).

Positions are (x, y) on the feature grid, whole numbers at cell centres. B cases have up to P handles each; `present`
says which of them exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from editfrontier.data.regions import Point, Region, apply
from editfrontier.diffusion.features import sample_at

ARRIVED = 2.0
"""Grid cells. A handle that is nearer to its target than this is not pulled any further (DragDiffusion)."""


@dataclass(frozen=True)
class Handles:
    """Handles of B cases.

    Attributes:
        start: [B, P, 2] where the handles lie in the source.
        target: [B, P, 2] where the handles go.
        present: bool [B, P].
    """

    start: Tensor
    target: Tensor
    present: Tensor

    def distance(self, position: Tensor) -> Tensor:
        """Return the distance [B, P] of positions [B, P, 2] to the targets; 0 where there is no handle."""
        return (self.target - position).norm(dim=-1) * self.present


def point_pairs(region: Region, handles: Literal["points", "centroid"]) -> list[tuple[Point, Point]]:
    """Return the pairs of points of a region in pixels: its own, or of its centroid (also if it has none)."""
    if handles == "points" and region.points:
        return list(region.points)
    centroid = np.argwhere(region.source)[:, ::-1].mean(0, keepdims=True)
    moved = apply(region.affine, centroid)
    return [((float(centroid[0, 0]), float(centroid[0, 1])), (float(moved[0, 0]), float(moved[0, 1])))]


def make_handles(
    drags: Sequence[Sequence[Region]],
    handles: Literal["points", "centroid"],
    image_size: tuple[int, int],
    grid_size: tuple[int, int],
    device: torch.device,
) -> Handles:
    """Put the point pairs of all regions of each case on the grid.

    Args:
        image_size: (H, W) in pixels.
        grid_size: (h, w) of the features.

    Returns:
        Handles whose start is rounded to cells, because features are compared cell by cell.
    """
    cases = [[pair for region in regions for pair in point_pairs(region, handles)] for regions in drags]
    pairs = torch.zeros(len(cases), max(map(len, cases)), 2, 2)
    present = torch.zeros(pairs.shape[:2], dtype=torch.bool)
    for row, points in enumerate(cases):
        pairs[row, : len(points)] = torch.tensor(points)
        present[row, : len(points)] = True
    scale = torch.tensor([grid_size[1] / image_size[1], grid_size[0] / image_size[0]])
    limit = torch.tensor([grid_size[1] - 1.0, grid_size[0] - 1.0])
    pairs = torch.minimum(((pairs + 0.5) * scale - 0.5).clamp(min=0), limit)
    return Handles(pairs[:, :, 0].round().to(device), pairs[:, :, 1].to(device), present.to(device))


def window(radius: int, device: torch.device) -> Tensor:
    """Return the offsets [(2 radius + 1)^2, 2] of a square."""
    axis = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)


def motion_loss(features: Tensor, position: Tensor, handles: Handles, radius: int, arrived: float = ARRIVED) -> Tensor:
    """Return the motion supervision of each case [B]: the patch around a handle should appear one cell further on.

    sum over handles of (2 r + 1)^2 mean |F(q + d) - sg[F(q)]|, over cells q of a square around the handle, where d is
    the step of length 1 towards the target. Handles that have arrived are left alone.

    Args:
        features: [B, C, h, w] of the present latents, with gradient.
        position: [B, P, 2] of the handles, whole numbers.
        radius: r of the square.
        arrived: distance in cells.
    """
    distance = handles.distance(position)
    step = (handles.target - position) / distance.clamp(min=1e-6)[..., None]
    cells = position[:, :, None] + window(radius, features.device)
    ahead, here = sample_at(features, cells + step[:, :, None]), sample_at(features.detach(), cells)
    patches = (ahead - here).abs().mean((2, 3)) * (2 * radius + 1) ** 2
    return (patches * (handles.present & (distance >= arrived))).sum(1)


def track(features: Tensor, position: Tensor, reference: Tensor, radius: int) -> Tensor:
    """Find each handle again: the cell of a square around its position whose features are nearest to its own.

    Args:
        features: [B, C, h, w] of the present latents.
        position: [B, P, 2] before.
        reference: [B, P, C] features of the handles in the source.
        radius: of the square; cells outside of the grid are not searched.

    Returns:
        [B, P, 2] positions, whole numbers.
    """
    height, width = features.shape[-2:]
    cells = position[:, :, None] + window(radius, features.device)
    difference = (sample_at(features, cells) - reference[:, :, None]).abs().sum(-1)
    limit = torch.tensor([width - 1, height - 1], device=cells.device)
    outside = ((cells < 0) | (cells > limit)).any(-1)
    nearest = difference.masked_fill(outside, torch.inf).argmin(2)
    return cells.gather(2, nearest[:, :, None, None].expand(-1, -1, 1, 2))[:, :, 0]
