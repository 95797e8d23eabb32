"""The objective of a region drag: features at a moved region of the latents against the source's at its old place.

Features of the latents that are optimised are sampled at the points of a working grid instead of being resized to it as
a whole: the values equal bilinear resizing, and only the regions take memory. Coordinates (x, y) are pixels of
the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.data.regions import Matrix, Region, apply, rectangle_around

UPDATES = ("plain", "normalized", "adam")


# Motion ---------------------------------------------------------------------------------------------------------------


def partial_affine(region: Region, progress: float) -> Matrix:
    """Return the affine map [2, 3] of a region that has gone a part of its way.

    A rotation turns by that part of its angle (and its stretch, if any, grows along with it) about its fixed point;
    other maps are interpolated from the identity, which moves every point on a straight line.

    Args:
        progress: in [0, 1].

    Source:
        DragFlow moves regions by k / K of the shift of their centre or of the angle, and deforms them by a shift; maps
        that stretch or shear are ours.
    """
    if progress >= 1.0:
        return region.affine
    matrix, shift = region.affine[:, :2], region.affine[:, 2]
    if region.kind != "rotation":
        identity = np.eye(2, 3)
        return identity + progress * (region.affine - identity)
    left, values, right = np.linalg.svd(matrix)
    turn = left @ right  # a rotation, as the determinant is positive
    stretch = right.T @ np.diag(values) @ right
    angle = progress * math.atan2(turn[1, 0], turn[0, 0])
    cos, sin = math.cos(angle), math.sin(angle)
    partial = np.array([[cos, -sin], [sin, cos]]) @ ((1.0 - progress) * np.eye(2) + progress * stretch)
    if region.anchor is not None:
        fixed = np.array(region.anchor)
    else:
        fixed = np.linalg.lstsq(np.eye(2) - matrix, shift, rcond=None)[0]
    # What the map moves its anchor by, if it is not quite fixed, is a translation and goes on straight.
    drift = progress * (matrix @ fixed + shift - fixed)
    return np.column_stack([partial, fixed - partial @ fixed + drift])


def region_weights(regions: Sequence[Region]) -> list[float]:
    """Return the weight of each region, 1 in all: small ones weigh more, as the loss is a mean over the image.

    Source:
        DragFlow: clamp(1 + 0.5 / (share of the image + 0.1), 1, 5), divided by their sum, so that a plain gradient step
        is as long for several regions as it is for one.
    """
    raw = [min(max(1.0 + 0.5 / (float(region.source.mean()) + 0.1), 1.0), 5.0) for region in regions]
    return [value / sum(raw) for value in raw]


# Points ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Points:
    """Pairs of points for a batch, padded to one number P.

    Attributes:
        targets: [B, P, 2] where features are compared.
        sources: [B, P, 2] where the same feature was in the source.
        weights: [B, P], 0 for padding; over the points of an image they are its mean, times its regions' weights.
    """

    targets: Tensor
    sources: Tensor
    weights: Tensor


def working_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return (rows, columns) of the grid whose points are `stride` pixels of an image (height, width) apart."""
    return max(1, size[0] // stride), max(1, size[1] // stride)


def resized(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Return features [B, C, h, w] resized bilinearly to a grid [B, C, *size]."""
    return functional.interpolate(features, size, mode="bilinear", align_corners=False)


def pixel_grid(size: tuple[int, int], stride: int) -> np.ndarray:
    """Return the middles [rows * columns, 2] of the squares of `stride` pixels of an image (height, width)."""
    counts = working_size(size, stride)
    rows, columns = (np.arange(count) * (side / count) for count, side in zip(counts, size, strict=True))
    half = (stride - 1) / 2
    y, x = np.meshgrid(rows + half, columns + half, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def moving_points(drags: Sequence[Sequence[Region]], progress: float, stride: int, device: torch.device) -> Points:
    """Return the points of regions that have gone a part of their way; none for a case without regions.

    Args:
        drags: the regions of each case; all images have one size.
        progress: in [0, 1].
        stride: pixels between neighbouring points.
    """
    cases = []
    for regions in drags:
        parts = []
        for region, weight in zip(regions, region_weights(regions), strict=True):
            target, source, total = _region_points(region, partial_affine(region, progress), stride)
            parts.append((target, source, weight / total))
        cases.append(parts)
    longest = max((sum(len(target) for target, _, _ in parts) for parts in cases), default=0)
    targets, sources = (np.zeros((len(drags), longest, 2), np.float32) for _ in range(2))
    weights = np.zeros((len(drags), longest), np.float32)
    for case, parts in enumerate(cases):
        first = 0
        for target, source, weight in parts:
            last = first + len(target)
            targets[case, first:last], sources[case, first:last], weights[case, first:last] = target, source, weight
            first = last
    return Points(*(torch.from_numpy(array).to(device) for array in (targets, sources, weights)))


def _region_points(region: Region, affine: Matrix, stride: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (targets, sources, number of points of the whole image)."""
    size = (region.source.shape[0], region.source.shape[1])
    targets = pixel_grid(size, stride)
    back = np.linalg.inv(affine[:, :2])
    sources = (targets - affine[:, 2]) @ back.T
    # The region is resized before it is warped, as DragFlow does with it and with the source's features.
    mask = resized(torch.from_numpy(region.source.astype(np.float32))[None, None], working_size(size, stride))
    cover = sample(mask, torch.from_numpy(sources.astype(np.float32))[None], size, outside="zeros")[0, 0].numpy()
    # A region that is thinner than the grid keeps the points that it covers most.
    inside = cover > min(0.5, 0.999 * float(cover.max()))
    if not inside.any():
        middle = apply(affine, np.argwhere(region.source)[:, ::-1].mean(0, keepdims=True))
        inside[((targets - middle) ** 2).sum(1).argmin()] = True
    return targets[inside], sources[inside], len(targets)


def sample(features: Tensor, points: Tensor, size: tuple[int, int], outside: str = "border") -> Tensor:
    """Sample features bilinearly at points of the image that they lie over.

    Args:
        features: [B, C, rows, columns].
        points: [B, P, 2] (x, y) in pixels of the image.
        size: (height, width) of the image.
        outside: "border" (the nearest value, as in resizing) or "zeros".

    Returns:
        [B, C, P].
    """
    extent = torch.tensor([size[1], size[0]], dtype=points.dtype, device=points.device)
    grid = (2.0 * points + 1.0) / extent - 1.0
    return functional.grid_sample(features, grid[:, None], padding_mode=outside, align_corners=False)[:, :, 0]


# Losses ---------------------------------------------------------------------------------------------------------------


def moved_features_loss(
    features: Tensor, source: Tensor, points: Points, size: tuple[int, int], power: int = 1
) -> Tensor:
    """Compare features at the targets with those that the source has where the targets come from.

    Args:
        features: [B, C, rows, columns] of the latents that are optimised.
        source: the same of the source; gradients pass through it if it has any (erratum E13: it should have none).
        size: (height, width) of the image.
        power: 1 (DragFlow) or 2 (the paper) of the absolute difference.

    Returns:
        [B], a mean over the channels and the whole image.
    """
    there, here = sample(features, points.targets, size), sample(source, points.sources, size)
    difference = (there - here).abs() if power == 1 else (there - here) ** 2
    return (difference.mean(1) * points.weights).sum(1)


def held_features_loss(features: Tensor, source: Tensor, background: Tensor) -> Tensor:
    """Return [B], the mean square of what features have changed by in the background [B, 1, rows, columns]."""
    return (((features - source.detach()) ** 2) * background).flatten(1).mean(1)


# Steps ----------------------------------------------------------------------------------------------------------------


class Descent:
    """Gradient steps on the latents of independent cases.

    "plain": -rate * gradient. "normalized": the largest entry of each case's gradient becomes 1 first. "adam": Adam
    (Kingma & Ba, 2015) with its usual constants.
    """

    def __init__(self, update: str, rate: float) -> None:
        if update not in UPDATES:
            raise ValueError(f"unknown update {update!r}")
        self.update, self.rate = update, rate
        self._steps = 0
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0

    def step(self, latents: Tensor, gradient: Tensor, scale: float = 1.0) -> Tensor:
        """Return the latents after one step; `scale` multiplies the rate."""
        rate = self.rate * scale
        if self.update == "plain":
            return latents - rate * gradient
        if self.update == "normalized":
            largest = gradient.flatten(1).abs().amax(1)[:, None, None, None]
            return latents - rate * gradient / largest.clamp(min=1e-12)
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * gradient**2
        spread = (self._second / (1.0 - 0.999**self._steps)).sqrt() + 1e-8
        return latents - rate * (self._first / (1.0 - 0.9**self._steps)) / spread


def editable_pixels(regions: Sequence[Region], background: Tensor) -> Tensor:
    """Return where a case may change, [1, H, W] in {0, 1}.

    That is the rectangle of least area, at any angle, around each region's source and target (DragFlow); without
    regions what is not `background` [1, H, W].
    """
    if not regions:
        return 1.0 - background
    boxes = [rectangle_around([region.source, region.target]) for region in regions]
    return torch.from_numpy(np.logical_or.reduce(boxes)).to(background)[None]
