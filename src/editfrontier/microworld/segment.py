"""Edit masks: exact ones from the difference of two renders, and automatic ones of lower quality (stand for SAM).

Masks are bool [H, W], True = editable.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from editfrontier.data.masks import iou

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

ITERATIONS = 3  # of GrabCut; more change little at this size
MINIMUM_SHARE = 0.25  # of a box; a smaller segment counts as a failure of the segmenter
MINIMUM_SIDE = 5  # pixels of a box


@dataclass(frozen=True)
class AutomaticMask:
    """A mask from the segmenter, its intersection over union with the exact mask, and whether a whole box is in it."""

    mask: Mask
    iou: float
    fallback: bool


def exact_mask(before: Image, after: Image) -> Mask:
    """The pixels in which two images [H, W, 3] differ at all, closed with a 3x3 square.

    The background, which is the complement, is identical in both images by construction.
    """
    changed = (before != after).any(axis=2)
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return changed | (closed > 0)


def jittered_box(mask: Mask, rng: random.Random) -> tuple[int, int, int, int]:
    """The bounding box (x, y, width, height) of a mask, each side moved by up to 15% of the extent."""
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    sides = []
    for low, high, limit in ((xs.min(), xs.max(), width), (ys.min(), ys.max(), height)):
        extent = int(high - low + 1)
        first = round(int(low) + rng.uniform(-0.15, 0.1) * extent)
        last = round(int(high) + rng.uniform(-0.1, 0.15) * extent)
        while last - first + 1 < MINIMUM_SIDE:
            first, last = first - 1, last + 1
        # GrabCut learns the background from what is outside of the box, so a border must stay.
        sides.append((max(first, 2), min(last, limit - 3)))
    (left, right), (top, bottom) = sides
    left, top = min(left, width - 2 - MINIMUM_SIDE), min(top, height - 2 - MINIMUM_SIDE)
    return left, top, max(right - left + 1, MINIMUM_SIDE), max(bottom - top + 1, MINIMUM_SIDE)


def automatic_mask(image: Image, exact: Mask, seed: int) -> AutomaticMask:
    """Segments what a person who drew a rough box around each part of the edit would get.

    Args:
        image: the source image, uint8 [H, W, 3].
        exact: the exact mask, not empty.
        seed: of the box and of the segmenter.

    Returns:
        never an empty mask: where GrabCut finds (almost) nothing in a box, the whole box.

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
    """The parts of a mask that lie more than six pixels apart, as one would draw one box around each."""
    count, labels = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)))
    return [(labels == number) & mask for number in range(1, count)]
