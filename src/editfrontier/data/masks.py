"""Edit masks made worse on purpose: eroded, dilated, shifted, with holes. Masks are bool [H, W], True = editable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import distance_transform_edt

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.data.pictures import Mask

EROSION_AT_256 = 4.0
DILATION_AT_256 = 8.0
SHIFT_AT_256 = 12.0
HOLE_RADIUS_AT_256 = 8.0
"""Pixels at an image height of 256, the paper's size; `pixels` scales them. Masks of the micro world then come about as
far from the exact one as the automatic ones are (IoU 0.4 to 0.6 on average)."""

HOLE_SHARE = 0.35
"""Share of the mask's pixels that holes take away."""

LEAST_SHARE = 0.25
"""Least share of a mask that erosion leaves: thin parts would vanish."""


def pixels(at_256: float, height: int) -> float:
    """Return a length in pixels of an image of this height, given the length in an image of 256 pixels."""
    return at_256 * height / 256


def eroded(mask: Mask, seed: int = 0, at_256: float = EROSION_AT_256) -> Mask:
    """Return the mask without a rim of a given width; the border of the image is no rim.

    Args:
        mask: bool [H, W], not empty.
        seed: not used; degradations share their arguments.
        at_256: width of the rim, pixels at a height of 256; less where fewer than `LEAST_SHARE` of the pixels would
            remain.
    """
    depth = distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, np.inf)
    radius = pixels(at_256, len(mask))
    # Depths above this one belong to less than the share that must remain.
    deepest = np.sort(depth[mask])[::-1][math.ceil(LEAST_SHARE * mask.sum()) - 1]
    kept: Mask = depth > radius if deepest > radius else depth >= deepest
    return kept & mask


def dilated(mask: Mask, seed: int = 0, at_256: float = DILATION_AT_256) -> Mask:
    """Return the mask with a rim of a given width, pixels at a height of 256; other arguments as of `eroded`."""
    grown: Mask = distance_transform_edt(~mask) <= pixels(at_256, len(mask))
    return grown


def shifted(mask: Mask, seed: int = 0, at_256: float = SHIFT_AT_256) -> Mask:
    """Return the mask moved in a random direction; what leaves the image is lost.

    Args:
        mask: bool [H, W], not empty.
        seed: seed of the direction.
        at_256: length of the shift, pixels at a height of 256.

    Returns:
        A mask that is not empty: directions are tried until part of it stays in the image.
    """
    rng, length = np.random.default_rng(seed), pixels(at_256, len(mask))
    ys, xs = np.nonzero(mask)
    while True:
        turn = rng.uniform(0, 2 * math.pi)
        rows, columns = ys + round(length * math.sin(turn)), xs + round(length * math.cos(turn))
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        if inside.any():
            moved = np.zeros_like(mask)
            moved[rows[inside], columns[inside]] = True
            return moved


def with_holes(mask: Mask, seed: int = 0, at_256: float = HOLE_RADIUS_AT_256) -> Mask:
    """Return the mask without discs around random pixels, which hold `HOLE_SHARE` of it or a little more.

    Args:
        mask: bool [H, W], not empty.
        seed: seed of the places.
        at_256: radius of a disc, pixels at a height of 256.

    Returns:
        At least one pixel of the mask.
    """
    rng, radius = np.random.default_rng(seed), pixels(at_256, len(mask))
    kept = mask.copy()
    y, x = np.indices(mask.shape)
    for row, column in rng.permutation(np.argwhere(mask)):
        if kept.sum() <= (1 - HOLE_SHARE) * mask.sum():
            break
        rest = kept & ((y - row) ** 2 + (x - column) ** 2 > radius**2)
        if rest.any():
            kept = rest
    return kept


DEGRADATIONS: Mapping[str, Callable[[Mask, int], Mask]] = {
    "eroded": eroded,
    "dilated": dilated,
    "shifted": shifted,
    "holes": with_holes,
}
"""Name -> (mask, seed) -> the mask made worse."""


def degrade(mask: Mask, kind: str, seed: int) -> Mask:
    """Return a mask [H, W] made worse by a kind of `DEGRADATIONS`; raise `UserError` if it is unknown or empty."""
    if kind not in DEGRADATIONS:
        raise UserError(f"mask '{kind}': there is no such degradation.{did_you_mean(kind, DEGRADATIONS)}")
    if not mask.any():
        raise UserError(f"mask '{kind}': the mask is empty, expected at least one editable pixel. Redraw the mask.")
    return DEGRADATIONS[kind](mask, seed)


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two masks, in [0, 1]; two empty masks give 1."""
    union = int((first | second).sum())
    return float((first & second).sum()) / union if union else 1.0
