"""Edit masks: exact ones from the difference of two renders, and automatic ones of lower quality (in SAM's role).

Masks are bool [H, W], True = editable.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import cv2
import numpy as np

from editfrontier.data.masks import iou
from editfrontier.data.pictures import Mask, Pixels

ITERATIONS = 3  # of GrabCut; more change little at this size
MINIMUM_SHARE = 0.25  # share of a box; a smaller segment counts as a failure of the segmenter
MINIMUM_SIDE = 5  # side of a box, pixels


@dataclass(frozen=True)
class AutomaticMask:
    """A mask from the segmenter, its intersection over union with the exact mask, and whether it holds a whole box."""

    mask: Mask
    iou: float
    fallback: bool


def exact_mask(before: Pixels, after: Pixels) -> Mask:
    """Return the pixels in which two images [H, W, 3] differ, closed with a 3x3 square; the background is identical."""
    changed = (before != after).any(axis=2)
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return changed | (closed > 0)


def jittered_box(mask: Mask, rng: random.Random) -> tuple[int, int, int, int]:
    """Return the bounding box (x, y, width, height) of a mask, each side moved by up to 15% of the extent."""
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    sides = []
    for low, high, limit in ((xs.min(), xs.max(), width), (ys.min(), ys.max(), height)):
        extent = int(high - low + 1)
        first = round(int(low) + rng.uniform(-0.15, 0.1) * extent)
        last = round(int(high) + rng.uniform(-0.1, 0.15) * extent)
        while last - first + 1 < MINIMUM_SIDE:
            first, last = first - 1, last + 1
        # GrabCut learns the background from the pixels outside the box, so a border must stay.
        sides.append((max(first, 2), min(last, limit - 3)))
    (left, right), (top, bottom) = sides
    left, top = min(left, width - 2 - MINIMUM_SIDE), min(top, height - 2 - MINIMUM_SIDE)
    return left, top, max(right - left + 1, MINIMUM_SIDE), max(bottom - top + 1, MINIMUM_SIDE)


def automatic_mask(image: Pixels, exact: Mask, seed: int) -> AutomaticMask:
    """Segment the image as if a person had drawn a rough box around each part of the edit.

    Args:
        image: the source image, uint8 [H, W, 3].
        exact: the exact mask, not empty.
        seed: seed of the boxes and of the segmenter.

    Returns:
        A mask that is not empty: the whole box where GrabCut finds (almost) nothing in it.

    Source:
        Rother et al., GrabCut, 2004, as in OpenCV.
    """
    rng = random.Random(seed)
    boxes = []
    for part in _parts(exact):
        left, top, width, height = jittered_box(part, rng)
        boxes.append((slice(top, top + height), slice(left, left + width)))
    labels = np.full(exact.shape, cv2.GC_BGD, np.uint8)
    for box in boxes:
        labels[box] = cv2.GC_PR_FGD
    cv2.setRNGSeed(seed % (2**31 - 1))
    try:
        models = np.zeros((1, 65)), np.zeros((1, 65))
        whole = (0, 0, exact.shape[1], exact.shape[0])
        pixels = np.ascontiguousarray(image[:, :, ::-1])
        cv2.grabCut(pixels, labels, whole, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
        mask: Mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    except cv2.error:  # degenerate colours: one flat area
        mask = np.zeros(exact.shape, dtype=bool)
    fallback = False
    for box in boxes:
        if mask[box].mean() < MINIMUM_SHARE:
            mask[box] = True
            fallback = True
    return AutomaticMask(mask, iou(mask, exact), fallback)


def _parts(mask: Mask) -> list[Mask]:
    """Return the parts of a mask that lie more than six pixels apart, each of which gets a box."""
    count, labels = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)))
    return [(labels == number) & mask for number in range(1, count)]
