"""Accuracy of drags over the size of the motion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.statistics.subsets import groups_of
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles, of_estimate
from editfrontier.study.drawing.panels import axis_label, legend_below, panels, plain_ticks, scale_of, title
from editfrontier.study.drawing.theme import DASHED, SOLID
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.gallery import read_task, readable, regions_of
from editfrontier.study.results.grids import Line
from editfrontier.study.results.naming import Table, metric_display, row_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from editfrontier.data.regions import Region

ACCURACY = ("iou_target", "centroid_shift")
"""Metrics of the panels, as far as the table has them."""
_FLOORS = ("source", "copy_paste")


def motion_of(regions: Sequence[Region]) -> float:
    """Return the mean shift of the regions' pixels in pixels, NaN without regions."""
    from editfrontier.data.regions import apply  # loads OpenCV, which a check of the config need not

    pixels = [np.argwhere(region.source)[:, ::-1].astype(np.float64) for region in regions]
    shifts = [
        np.linalg.norm(apply(region.affine, place) - place, axis=1)
        for region, place in zip(regions, pixels, strict=True)
    ]
    return float(np.concatenate(shifts).mean()) if shifts else math.nan


def draw(inputs: FigureInputs) -> Drawing:
    """Draw accuracy over the size of the motion, one line an editor with intervals; controls in grey.

    Raises:
        UserError: the table is not split.
    """
    table = inputs.table
    if not table.by:
        raise UserError(
            f"table '{table.name}': its cases are not split, expected a table by size. "
            f"Give the experiment `by: [size]` and the figure the table {table.name}_size."
        )
    accuracy = [name for name in ACCURACY if name in table.metrics]
    lines = inputs.grid(accuracy).lines
    names = list(dict.fromkeys(line.subset for line in lines))
    place = dict(zip(names, _places(inputs.root, table, names), strict=True))
    measured = {(line.row.variant, line.subset): line for line in lines if line.status == "ok"}
    figure, grid = panels(len(accuracy), (4.3, 3.3))
    for column, (axes, name) in enumerate(zip(grid, accuracy, strict=False)):
        draw_intervals(axes, _series(table, measured, place, column, scale_of(name)))
        plain_ticks(axes, "x", list(place.values()), [f"{name}\n{x:.1f} px" for name, x in place.items()])
        axes.set(xlabel=f"{table.by} and mean motion of the region's pixels", ylabel=axis_label(name))
        title(axes, metric_display(name).label, column)
    legend_below(figure, handles(_series(table, {}, place, 0, 1.0), 5.5))
    return figure


def _series(
    table: Table, measured: Mapping[tuple[str, str], Line], place: Mapping[str, float], column: int, scale: float
) -> list[Series]:
    """Return a line for each editor, a little apart, so that intervals can be told apart; controls have none."""
    shown = [row for row in table.rows if not row.control or row.editor in _FLOORS]
    span = max(place.values(), default=1.0) - min(place.values(), default=0.0) or 1.0
    look, series = row_styles(table.rows), []
    for rank, row in enumerate(shown):
        nudge = 0.0 if row.control else 0.012 * span * (rank - (len(shown) - 1) / 2)
        points = [
            of_estimate(x + nudge, line.cells[column], scale)
            for name, x in place.items()
            if (line := measured.get((row.variant, name)))
        ]
        if row.control:
            points = [Point(point.place, point.value) for point in points]
        series.append(Series(points, look[row.variant], row.label, DASHED if row.control else SOLID))
    return series


def _places(root: Path, spec: Table, names: Sequence[str]) -> list[float]:
    results = read_task(root, spec.task, [])
    groups = groups_of(results.cases, spec.by)
    places = []
    for position, name in enumerate(names):
        cases = [results.by_id[case_id] for case_id in groups.get(name, [])]
        motions = [motion_of(regions_of(results, case)) for case in cases if readable(results, case)]
        known = [motion for motion in motions if math.isfinite(motion)]
        places.append(sum(known) / len(known) if known else float(position))
    return places


FIGURE = Figure(
    name="motion",
    title="Accuracy over the size of the motion",
    caption="Overlap with the target and distance of the centroids for small, medium and large drags, drawn at the "
    "mean motion of the regions' pixels, one line an editor with 95% intervals. Grey and dashed: nothing edited, and "
    "the region's pixels copied.",
    alt="Overlap with the target and distance of the centroids for small, medium and large drags, one line for each "
    "editor; the values are in the table by size",
    draw=draw,
    section="drag_sizes",
    needs=("statistics", "cases"),
)
