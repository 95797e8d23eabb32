"""Regions to drag: the checked content of a case's column `drags`, with the masks that it names."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.data.cases import read_mask
from editfrontier.data.framing import apply
from editfrontier.data.pictures import Mask

KINDS = ("relocation", "rotation", "deformation")
_KEYS = ("kind", "source_mask", "affine", "target_mask", "anchor", "points", "grade", "magnitude")
_EDGE = 0.5  # pixels that a moved pixel's centre may lie beyond the outermost pixel centres: it still touches the image

Matrix = npt.NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """One region of an image and where it goes.

    Attributes:
        kind: one of `KINDS`.
        source: bool [H, W], place of the region.
        affine: float64 [2, 3], the map of pixel coordinates (x, y) from the source to the target.
        target: bool [H, W], where the region goes.
        points: pairs of a point (x, y) of the source and the point that it goes to; may be empty.
        anchor: the fixed point (x, y) of a rotation or deformation, None if it has none.
    """

    kind: str
    source: Mask
    affine: Matrix
    target: Mask
    points: tuple[tuple[Point, Point], ...] = ()
    anchor: Point | None = None


def parse_drags(text: str, folder: Path, size: tuple[int, int], case_id: str) -> list[Region]:
    """Read the regions of a case.

    Args:
        text: JSON list with an object {kind, source_mask, affine} for each region, where `affine` is a 2x3 matrix; it
            may also have target_mask (else the source mask is warped), points and anchor.
        folder: the folder that the paths of the masks are relative to.
        size: (height, width) of the image.
        case_id: id that messages name.

    Returns:
        At least one region.

    Raises:
        UserError: the text is malformed, or a region cannot be dragged: its area is zero, its affine map mirrors or
            collapses it, it leaves the image, or a point starts outside it. The message names case and region.
    """
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"case {case_id}, drags: not readable as JSON ({error}), expected a list of regions. Correct this column."
        ) from None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"case {case_id}, drags: is {_shown(entries)}, expected a list of at least one region. Correct this column."
        )

    def read(name: str, where: str) -> Mask:
        try:
            return read_mask(folder / name, size, allow_empty=True)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    return [_region(entry, f"case {case_id}, region {number}", read) for number, entry in enumerate(entries, start=1)]


def _region(entry: Any, where: str, read: Callable[[str, str], Mask]) -> Region:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: is {_shown(entry)}, expected an object with kind, source_mask, affine. Correct it.")
    for key in entry:
        if key not in _KEYS:
            raise UserError(f"{where}: there is no key '{key}'.{did_you_mean(key, _KEYS)} Correct the name.")
    for key in ("kind", "source_mask", "affine"):
        if key not in entry:
            raise UserError(f"{where}: has no '{key}', expected kind, source_mask and affine. Add it.")
    for key in ("source_mask", "target_mask"):
        if key in entry and not isinstance(entry[key], str):
            raise UserError(f"{where}, {key}: is {_shown(entry[key])}, expected the path of a mask. Correct it.")
    kind = entry["kind"]
    if kind not in KINDS:
        near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        raise UserError(f"{where}, kind: is {_shown(kind)}, expected one of {', '.join(KINDS)}.{near} Correct it.")
    affine = _matrix(entry["affine"], where)
    source = read(entry["source_mask"], where)
    target = read(entry["target_mask"], where) if entry.get("target_mask") else warp_mask(source, affine)
    anchor = None if entry.get("anchor") is None else _point(entry["anchor"], f"{where}, anchor")
    region = Region(kind, source, affine, target, _pairs(entry.get("points") or [], where), anchor)
    check_region(region, where)
    return region


def check_region(region: Region, where: str) -> None:
    """Raise `UserError`, starting with `where`, if a region cannot be dragged within its image."""
    _check_area(region.source, "source", where)
    determinant = float(np.linalg.det(region.affine[:, :2]))
    if determinant <= 1e-6:
        raise UserError(
            f"{where}, affine: its determinant is {determinant:.4g}, so it mirrors or collapses the region; expected a "
            "positive one. Correct the matrix."
        )
    height, width = region.source.shape
    moved = apply(region.affine, coordinates(region.source))
    outside = ~in_image(moved, region.source.shape)
    if outside.any():
        raise UserError(
            f"{where}: {outside.mean():.0%} of the target leave the image of {width}x{height} pixels (it reaches "
            f"from {_pixel(moved.min(0))} to {_pixel(moved.max(0))}), expected none. "
            "Shorten the motion, or shrink the region."
        )
    _check_area(region.target, "target", where)
    for start, end in region.points:
        if not holds(region.source, start):
            raise UserError(
                f"{where}, points: the handle {_pixel(start)} lies outside the source mask, expected a point of the "
                "region. Move the handle, or redraw the mask."
            )
        if not (0 <= round(end[1]) < height and 0 <= round(end[0]) < width):
            raise UserError(
                f"{where}, points: the target {_pixel(end)} of the handle {_pixel(start)} leaves the image of "
                f"{width}x{height} pixels. Shorten the motion."
            )


def _check_area(mask: Mask, name: str, where: str) -> None:
    if not mask.any():
        raise UserError(
            f"{where}: the {name} region has zero area, expected at least one white pixel in its mask. Redraw the "
            "mask, or remove the region."
        )


def coordinates(mask: Mask) -> npt.NDArray[np.float64]:
    """Return the coordinates (x, y) of the N pixels of a mask [H, W], float64 [N, 2]."""
    return np.argwhere(mask)[:, ::-1].astype(np.float64)


def holds(mask: Mask, point: Point) -> bool:
    """Return whether the pixel nearest to a point (x, y) lies in the image and in a mask [H, W]."""
    column, row = round(point[0]), round(point[1])
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column])


def in_image(points: npt.NDArray[np.float64], size: tuple[int, ...]) -> Mask:
    """Return which points [..., 2] (x, y) lie in an image of (height, width), up to the outer edges of its pixels."""
    limit = np.array([size[1] - 1, size[0] - 1])
    return np.asarray(((points >= -_EDGE) & (points <= limit + _EDGE)).all(-1))


def warp_mask(mask: Mask, affine: Matrix) -> Mask:
    """Return a mask [H, W] under an affine map, bilinear and cut at one half; at least the pixels nearest to it."""
    height, width = mask.shape
    warped: Mask = cv2.warpAffine(mask.astype(np.uint8) * 255, affine, (width, height)) > 127
    if not warped.any():  # squeezed to less than a pixel
        moved = np.round(apply(affine, coordinates(mask))).astype(int)
        moved = moved[((moved >= 0) & (moved < (width, height))).all(1)]
        warped[moved[:, 1], moved[:, 0]] = True
    return warped


def rectangle_around(masks: list[Mask]) -> Mask:
    """Return the filled rectangle of least area, at any angle, around the pixels of masks [H, W], within the image.

    Source:
        DragFlow's editable region, around a source and its target.
    """
    union = np.logical_or.reduce(masks)
    # Around the corners of the pixels, so that a region one pixel wide has an area.
    corners = np.concatenate([coordinates(union) + np.array([dx, dy]) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)])
    centre, extent, angle = cv2.minAreaRect(corners.astype(np.float32))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows, columns = np.indices(union.shape)
    x, y = columns - centre[0], rows - centre[1]
    along, across = np.abs(cos * x + sin * y), np.abs(cos * y - sin * x)
    inside: Mask = (along <= extent[0] / 2) & (across <= extent[1] / 2)
    return inside | union


def _matrix(value: Any, where: str) -> Matrix:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise UserError(f"{where}, affine: is {_shown(value)}, expected two rows of three finite numbers. Correct it.")
    return matrix


def _point(value: Any, where: str) -> Point:
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))):
        raise UserError(f"{where}: is {_shown(value)}, expected a pair of finite numbers [x, y]. Correct it.")
    return float(value[0]), float(value[1])


def _pairs(value: Any, where: str) -> tuple[tuple[Point, Point], ...]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise UserError(f"{where}, points: is {_shown(value)}, expected a list of pairs of points. Correct it.")
    return tuple((_point(start, f"{where}, points"), _point(end, f"{where}, points")) for start, end in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    text = json.dumps(value) if value is not None else "null"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _pixel(point: Any) -> str:
    return f"({point[0]:g}, {point[1]:g})"
