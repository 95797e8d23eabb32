"""Cases of data sets whose masks are drawn by people, with automatic masks beside or in place of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from editfrontier.base.csv_files import rows_as_csv
from editfrontier.base.files import write_bytes
from editfrontier.data.cases import Case, read_image, read_mask, write_images
from editfrontier.data.dataset import MaskOptions
from editfrontier.data.framing import Mask, Pixels
from editfrontier.data.mask_quality import MASK_KINDS, masked_cases
from editfrontier.data.masks import iou

log = logging.getLogger(__name__)

TABLE = "automatic_masks.csv"
"""File beside the case table: the intersection over union of each automatic mask with the one drawn by people."""

Box = tuple[float, float, float, float]
Segmenter = Callable[[Pixels, Sequence[Box]], list[Mask]]
"""(image uint8 [H, W, 3], boxes (left, top, right, bottom) in its pixels) -> a mask bool [H, W] for each box"""


def edits_behind(cases: int, options: MaskOptions) -> int:
    """Return the number of edits that a number of cases is made of."""
    return -(-cases // len(MASK_KINDS)) if options.masks == "all" else cases


def with_masks(cases: Sequence[Case], folder: Path, options: MaskOptions, segment: Segmenter) -> list[Case]:
    """Return cases with automatic masks, and write those.

    Args:
        cases: cases with a mask each, drawn by people.
        folder: the folder that their paths are relative to.
        options: options that name the masks of the edits.
        segment: the segmenter.

    Returns:
        As many cases, or with masks = "all" one for each kind of mask. The background stays the complement of the mask
        drawn by people, so that its metrics compare masks on the same pixels. If the segmenter finds nothing in a box,
        the mask is the box: an editor needs a mask, and the table of masks shows how bad it is.
    """
    with_automatic, rows = [], []
    for number, case in enumerate(cases, start=1):
        image = read_image(folder / case.image)
        human = read_mask(folder / case.mask, (image.shape[0], image.shape[1]))
        box = bounding_box(human)
        (mask,) = segment(image, [box])
        empty = not mask.any()
        mask = box_mask(box, human.shape) if empty else mask
        path = write_images(folder, case.case_id, {"automatic_mask": mask})["automatic_mask"]
        with_automatic.append(replace(case, automatic_mask=path))
        rows.append([case.case_id, f"{iou(mask, human):.4f}", "yes" if empty else "no"])
        if number % 100 == 0:
            log.info("automatic masks: %d of %d", number, len(cases))
    columns = ("case_id", "iou", "box_only")
    write_bytes(folder / TABLE, rows_as_csv(columns, [dict(zip(columns, row, strict=True)) for row in rows]))
    if options.masks == "human":
        return with_automatic
    if options.masks == "automatic":
        return [_automatic(case, folder) for case in with_automatic]
    return [
        replace(masked, mask_origin="human") if masked.mask_origin == "exact" else masked
        for case in with_automatic
        for masked in masked_cases(case, folder)
    ]


def bounding_box(mask: Mask) -> Box:
    """Return the box (left, top, right, bottom) around a mask that is not empty, outer edges of its pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def box_mask(box: Box, shape: tuple[int, ...]) -> Mask:
    """Return the mask of a box."""
    left, top, right, bottom = (round(side) for side in box)
    mask = np.zeros(shape, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def _automatic(case: Case, folder: Path) -> Case:
    human = np.asarray(read_mask(folder / case.mask, read_image(folder / case.image).shape[:2]))
    background = write_images(folder, case.case_id, {"background_mask": ~human})["background_mask"]
    return replace(case, mask=case.automatic_mask, mask_origin="automatic", background_mask=background)
