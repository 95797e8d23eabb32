"""Copy and paste, a control for drags: the region is cut out, its place filled in, and pasted at its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.editing.editor import EditBatch, Editor, check_range

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from editfrontier.data.pictures import Pixels
    from editfrontier.data.regions import Region


@dataclass(frozen=True)
class CopyPasteParams:
    """Hyperparameters of copy and paste; no model takes part.

    Attributes:
        radius: pixels around a hole that Telea's filling looks at, at least 1; 3 (OpenCV's example).
        margin: pixels by which a region is grown before its place is filled, so that no rim of it is left; 2.
    """

    radius: int = 3
    margin: int = 2

    def __post_init__(self) -> None:
        check_range(self, "radius", 1)
        check_range(self, "margin", 0)


def edit(model: Any, batch: EditBatch, params: CopyPasteParams) -> Float[Tensor, "batch 3 height width"]:
    """Edit a batch."""
    from editfrontier.data.pixels import to_arrays, to_images

    assert batch.drags is not None
    images = to_arrays(batch.images)
    moved = [_move(image, regions, params) for image, regions in zip(images, batch.drags, strict=True)]
    return to_images(moved).to(batch.images.device)


def _move(image: Pixels, regions: list[Region], params: CopyPasteParams) -> Pixels:
    import cv2

    height, width = image.shape[:2]
    holes = np.logical_or.reduce([region.source for region in regions]).astype(np.uint8)
    square = np.ones((2 * params.margin + 1, 2 * params.margin + 1), np.uint8)
    canvas = cv2.inpaint(image, cv2.dilate(holes, square), params.radius, cv2.INPAINT_TELEA).astype(np.float32)
    for region in regions:
        moved = cv2.warpAffine(
            image.astype(np.float32), region.affine, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        cover = cv2.warpAffine(region.source.astype(np.float32), region.affine, (width, height))[..., None]
        canvas = cover * moved + (1.0 - cover) * canvas
    filled: Pixels = np.round(canvas).astype(np.uint8)
    return filled


EDITOR = Editor(
    name="copy_paste",
    label="Copy and paste",
    colour="#6B6B6B",
    marker="D",
    control=True,
    params=CopyPasteParams,
    edit=edit,
    needs=frozenset({"drags"}),
)
