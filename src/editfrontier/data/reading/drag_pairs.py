"""Regions from pairs of points, one for each pixel of a target: the form of DragBench-DR and DragBench-SR."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.data.framing import Mask, apply
from editfrontier.data.reading.published_drags import translation
from editfrontier.data.regions import Matrix, Point, Region

Points = npt.NDArray[np.int64]

TOLERANCE = 1.0
"""Largest root mean squared error of a simpler map, in steps of the grid; rounding sources to whole steps makes 0.4."""


def regions_of(sources: Points, targets: Points, picture: tuple[int, int], where: str) -> list[Region]:
    """Return the regions that dense pairs stand for.

    Args:
        sources: [N, 2] (x, y) in pixels, the origin of each pixel.
        targets: [N, 2], one for each pixel of the targets: region after region, each row by row. On a grid with steps
            of several pixels each point stands for a square.
        picture: (height, width).
        where: start of messages.

    Returns:
        One region for each connected part of a target; its map is the simplest of translation, rotation and affine map
        that explains the pairs within the rounding of their coordinates.

    Raises:
        UserError: points outside the picture, or too few points for a region.

    Source:
        RegionDrag makes such pairs from a source and a target that are drawn as masks or polygons; a target is written
        in the order of its rows, so that a step backwards starts another one.
    """
    for name, points in (("source", sources), ("target", targets)):
        outside = ((points < 0) | (points >= np.array(picture[::-1]))).any(1)
        if outside.any():
            x, y = points[outside][0]
            raise UserError(
                f"{where}: the {name} point ({x}, {y}) lies outside the picture of {picture[1]}x{picture[0]} pixels "
                f"(and {outside.sum() - 1} others). Unpack the data set again."
            )
    step = int(np.gcd.reduce(np.concatenate([targets[:, 0], targets[:, 1]]))) or 1
    if step > 1 and len(targets) < 4:
        step = 1  # a few points have a common divisor by chance
    regions = [
        _region(sources[rows][part], targets[rows][part], picture, step)
        for rows in _targets(targets)
        for part in _connected(targets[rows], step)
    ]
    if len(targets) < 3 * len(regions):
        raise UserError(
            f"{where}: {len(targets)} points make {len(regions)} regions, expected a point for each pixel of a region. "
            "The file holds no regions, expected meta_data_region.pkl. Unpack the data set again."
        )
    return regions


def _targets(targets: Points) -> list[slice]:
    """The parts of the list that are in the order of rows."""
    keys = targets[:, 1] * (targets[:, 0].max() + 1) + targets[:, 0]
    starts = [0, *(np.flatnonzero(np.diff(keys) <= 0) + 1).tolist(), len(targets)]
    return [slice(start, end) for start, end in itertools.pairwise(starts)]


def _connected(targets: Points, step: int) -> list[npt.NDArray[np.bool_]]:
    """Which points belong to each connected part."""
    cells = targets // step
    canvas = np.zeros(cells.max(0)[::-1] + 1, np.uint8)
    canvas[cells[:, 1], cells[:, 0]] = 1
    count, labels = cv2.connectedComponents(canvas, connectivity=8)
    parts = labels[cells[:, 1], cells[:, 0]]
    return [parts == label for label in range(1, count)]


def _region(sources: Points, targets: Points, picture: tuple[int, int], step: int) -> Region:
    source, target = (_painted(points, picture, step) for points in (sources, targets))
    fit = fitted(sources.astype(np.float64), targets.astype(np.float64), TOLERANCE * step)
    # A target smaller than its source leaves gaps between the pixels that it takes.
    reach = math.ceil(1 / max(math.sqrt(abs(np.linalg.det(fit.affine[:, :2]))), 0.05))
    if reach > 1:
        square = np.ones((2 * reach - 1, 2 * reach - 1), np.uint8)
        source = cv2.morphologyEx(source.astype(np.uint8), cv2.MORPH_CLOSE, square).astype(bool)
    return Region(fit.kind, source, fit.affine, target, (), fit.anchor)


def _painted(points: Points, picture: tuple[int, int], step: int) -> Mask:
    mask = np.zeros(picture, dtype=np.bool_)
    for dy in range(step):
        for dx in range(step):
            x, y = points[:, 0] + dx, points[:, 1] + dy
            inside = (x < picture[1]) & (y < picture[0])
            mask[y[inside], x[inside]] = True
    return mask


@dataclass(frozen=True)
class Fit:
    """A map that explains pairs of points.

    Attributes:
        kind: one of `regions.KINDS`.
        affine: float64 [2, 3].
        anchor: the fixed point of a rotation, else None.
    """

    kind: str
    affine: Matrix
    anchor: Point | None


def fitted(sources: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], tolerance: float) -> Fit:
    """Return the simplest map of sources [N, 2] to targets [N, 2] whose error is at most `tolerance` pixels (rms).

    In this order: a translation, a rotation by at least 5 degrees, an affine map that neither mirrors nor collapses;
    the translation if there is none.
    """
    moved = translation(*(targets.mean(0) - sources.mean(0)))
    if _missed(moved, sources, targets) <= tolerance:
        return Fit("relocation", moved, None)
    turned = _rotation(sources, targets)
    if turned is not None and _missed(turned.affine, sources, targets) <= tolerance:
        return turned
    columns = np.column_stack([sources, np.ones(len(sources))])
    solved, _, rank, _ = np.linalg.lstsq(columns, targets, rcond=None)
    affine = np.asarray(solved.T, dtype=np.float64)
    if rank < 3 or np.linalg.det(affine[:, :2]) <= 0.01:
        return Fit("relocation", moved, None)
    return Fit("deformation", affine, None)


def _rotation(sources: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> Fit | None:
    """Return the rotation of least squares (Kabsch) with its fixed point, None for less than 5 degrees."""
    before, after = sources.mean(0), targets.mean(0)
    left, _, right = np.linalg.svd((targets - after).T @ (sources - before))
    matrix = left @ np.diag([1.0, np.linalg.det(left @ right)]) @ right
    if abs(math.atan2(matrix[1, 0], matrix[0, 0])) < math.radians(5):
        return None  # its fixed point would be far away and anywhere
    affine = np.column_stack([matrix, after - matrix @ before])
    fixed = np.linalg.solve(np.eye(2) - matrix, affine[:, 2])
    return Fit("rotation", affine, (float(fixed[0]), float(fixed[1])))


def _missed(affine: Matrix, sources: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(((apply(affine, sources) - targets) ** 2).sum(1).mean()))


def split_pairs(points: Any, where: str) -> tuple[Points, Points]:
    """Split a list of points, alternately a handle and its target, into both [N, 2] as whole numbers.

    Raises:
        UserError: the list is empty or odd, or an entry is no point (x, y).
    """
    try:
        array = np.array([[float(x), float(y)] for x, y in points])
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or not len(array) or len(array) % 2 or not np.isfinite(array).all():
        raise UserError(
            f"{where}: 'points' is no list of points (x, y), expected alternately a handle and its target. Unpack the "
            "data set again."
        )
    whole = np.floor(array).astype(np.int64)
    return whole[0::2], whole[1::2]
