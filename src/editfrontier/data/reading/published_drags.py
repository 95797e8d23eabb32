"""From drags as data sets publish them, on pictures of any size, to cases, whose drags `regions.parse_drags` reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, compact_json, write_case, write_images
from editfrontier.data.framing import Frame, Mask, Pixels, apply, frame_of
from editfrontier.data.regions import (
    Matrix,
    Point,
    Region,
    check_region,
    coordinates,
    holds,
    in_image,
    rectangle_around,
)

if TYPE_CHECKING:
    from editfrontier.data.dataset import Request

GRADES = ((10 / 64, "small"), (18.5 / 64, "medium"), (math.inf, "large"))
"""(upper bound of the mean motion of a region's pixels over the side of the image, grade), in order. Data sets grade no
drags; these bounds separate the relocations of the micro world (`microworld.drags.DISTANCE`)."""


@dataclass(frozen=True)
class DragSample:
    """A picture with regions to drag.

    Attributes:
        name: part of the case id.
        image: uint8 [H, W, 3].
        regions: at least one, in pixels of the picture; points need not lie in the region.
        mask: bool [H, W], where the picture may change; None = the smallest rectangles around a source and its target.
        source_caption, target_caption, instruction: texts, "" = none.
        where: the folder or file that messages name.
        left_out: number of handles of the data set that lie in no region.
    """

    name: str
    image: Pixels
    regions: tuple[Region, ...]
    mask: Mask | None
    source_caption: str
    target_caption: str
    instruction: str
    licence: str
    where: str
    left_out: int = 0


def drag_case(sample: DragSample, request: Request) -> Case:
    """Write the images of a sample and return its case.

    A region keeps the pixels whose target lies in the image, and the handles in these pixels. The design of the case
    says how many handles and what share of the regions were left out, if any. The options of the request say how the
    picture becomes a square (`fit`) and its size (`size`).

    Raises:
        UserError: nothing of a region can be dragged, or a crop does not hold all of it; the message names the sample.
    """
    folder, options = request.folder, request.options
    picture = sample.image.shape[:2]
    involved = np.logical_or.reduce([mask for region in sample.regions for mask in (region.source, region.target)])
    frame = frame_of((picture[0], picture[1]), options.size, options.fit, involved)
    _check_crop(frame, involved, sample)
    case_id = f"{request.task}-{sample.name}"
    request.note_source(case_id, sample.image)
    handles, lost = sample.left_out, 0.0
    regions = []
    for number, native in enumerate(sample.regions, start=1):
        where = f"{sample.where}, region {number}"
        whole = framed(native, frame)
        region = movable(whole)
        check_region(region, where)
        handles += len(whole.points) - len(region.points)
        lost = max(lost, 1 - region.source.sum() / whole.source.sum())
        regions.append(region)
    mask = frame.mask(sample.mask if sample.mask is not None else _rectangles(sample.regions))
    if sample.mask is None:
        mask = np.logical_or.reduce([mask, *(part for region in regions for part in (region.source, region.target))])
    left_out = {"handles_left_out": handles, "region_left_out": round(float(lost), 4)}
    notes = {name: value for name, value in left_out.items() if value}
    return write_case(
        folder,
        case_id,
        {"image": frame.image(sample.image), "mask": mask, "background_mask": ~mask},
        task=request.task,
        source_caption=sample.source_caption,
        target_caption=sample.target_caption,
        instruction=sample.instruction,
        instruction_origin="free_form",
        edit_type=_edit_type(regions),
        mask_origin="human",
        drags=_write_regions(regions, case_id, folder),
        cluster=case_id,
        design=compact_json(notes) if notes else "",
        frame=frame.text(),
        licence=sample.licence,
    )


def framed(region: Region, frame: Frame) -> Region:
    """Return a region of a picture as one of its frame."""
    points = frame.points(np.array([point for pair in region.points for point in pair])).reshape(-1, 2, 2)
    return Region(
        region.kind,
        frame.mask(region.source),
        frame.affine(region.affine),
        frame.mask(region.target),
        tuple((_point(start), _point(end)) for start, end in points),
        None if region.anchor is None else _point(frame.points(np.array([region.anchor]))[0]),
    )


def movable(region: Region) -> Region:
    """Return the part of a region that can be dragged: pixels with a target in the image, and their handles."""
    pixels = coordinates(region.source)
    columns, rows = pixels[in_image(apply(region.affine, pixels), region.source.shape)].astype(int).T
    source, whole = np.zeros_like(region.source), np.ones_like(region.source)
    source[rows, columns] = True
    points = tuple((start, end) for start, end in region.points if holds(source, start) and holds(whole, end))
    return replace(region, source=source, points=points)


def with_handles(regions: Sequence[Region], pairs: Iterable[tuple[Point, Point]]) -> tuple[tuple[Region, ...], int]:
    """Give each pair of a handle and its target to the first region that holds the handle.

    Returns:
        The regions with their pairs, and the number of pairs whose handle lies in none.
    """
    points: list[list[tuple[Point, Point]]] = [[] for _ in range(len(regions) + 1)]
    for pair in pairs:
        inside = (number for number, region in enumerate(regions) if holds(region.source, pair[0]))
        points[next(inside, -1)].append(pair)
    outside = points.pop()
    return tuple(replace(region, points=tuple(p)) for region, p in zip(regions, points, strict=True)), len(outside)


def translation(dx: float, dy: float) -> Matrix:
    """Return the map [2, 3] that moves everything by (dx, dy) pixels."""
    return np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])


def rotation(anchor: Point, turn: float) -> Matrix:
    """Return the map [2, 3] that turns by `turn` radians about a fixed point; positive turns x towards y."""
    cos, sin = np.cos(turn), np.sin(turn)
    matrix, centre = np.array([[cos, -sin], [sin, cos]]), np.array(anchor)
    return np.column_stack([matrix, centre - matrix @ centre])


def _check_crop(frame: Frame, involved: Mask, sample: DragSample) -> None:
    kept = involved[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    if kept.sum() < involved.sum():
        raise UserError(
            f"{sample.where}: {1 - kept.sum() / involved.sum():.0%} of the regions lie outside the largest square "
            "of the picture. Set the option `fit: stretch`, which keeps the whole picture."
        )


def _rectangles(regions: Sequence[Region]) -> Mask:
    joined: Mask = np.logical_or.reduce([rectangle_around([region.source, region.target]) for region in regions])
    return joined


def _edit_type(regions: Sequence[Region]) -> str:
    kinds = {region.kind for region in regions}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _write_regions(regions: Sequence[Region], case_id: str, folder: Path) -> str:
    entries = []
    for number, region in enumerate(regions, start=1):
        name = case_id if len(regions) == 1 else f"{case_id}.{number}"
        paths = write_images(folder, name, {"source_mask": region.source, "target_mask": region.target})
        pixels = coordinates(region.source)
        shift = np.linalg.norm(apply(region.affine, pixels) - pixels, axis=1).mean()
        entries.append(
            {
                "kind": region.kind,
                **paths,
                "affine": np.round(region.affine, 9).tolist(),
                "anchor": region.anchor,
                "points": region.points,
                "grade": next(name for bound, name in GRADES if shift / max(region.source.shape) < bound),
                "magnitude": round(float(shift), 4),
            }
        )
    return compact_json(entries)


def _point(point: Any) -> Point:
    return round(float(point[0]), 6), round(float(point[1]), 6)
