"""The background of a case, which must not change: one rule for editors, metrics and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from editfrontier.data.cases import Case, read_mask

WORSE = ("automatic", "degraded")
"""Origins of masks that are worse than the exact or drawn mask, which metrics use."""


def background_of(
    case: Case, folder: Path, size: tuple[int, int], *, for_editor: bool = False
) -> npt.NDArray[np.bool_] | None:
    """Read the background of a case, from the first of these that the case has.

    1. Its background mask (`background_mask`), which may be empty: an edit of the style may change the whole picture.
    2. The complement of its mask.
    3. The complement of the rectangles around its drags, each around a region and its target (DragFlow's editable
       area).
    4. None: the place of the edit is unknown. Metrics of the background then have no value, and metrics of the regions
       of a face judge the whole region.

    Args:
        case: the case.
        folder: the folder that its paths are relative to.
        size: (height, width) of its image.
        for_editor: whether an editor uses it. If the mask of the case is worse than the best known one (`mask_origin`:
            automatic, degraded), metrics compare by the background mask, and the editor gets the complement of the
            worse mask.

    Returns:
        bool [H, W], True = must not change, or None.

    Raises:
        UserError: a mask or a drag that the rule selects cannot be read; a fall-back would silently change the
            measurement.
    """
    if case.background_mask and not (for_editor and case.mask and case.mask_origin in WORSE):
        return read_mask(folder / case.background_mask, size, allow_empty=True)
    if case.mask:
        return ~read_mask(folder / case.mask, size)
    if not case.drags.strip():
        return None
    from editfrontier.data.regions import parse_drags, rectangle_around  # with OpenCV, which few cases need

    regions = parse_drags(case.drags, folder, size, case.case_id)
    return ~np.logical_or.reduce([rectangle_around([region.source, region.target]) for region in regions])
