"""Accuracy of drags over the size of the motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.statistics.subsets import groups_of
from editfrontier.study.drawing.plotting import axis_label, draw_marker, error_bars
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.gallery import read_task, readable, regions_of
from editfrontier.study.results.grids import Line
from editfrontier.study.results.naming import Row, Style, Table, metric_display, row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D

    from editfrontier.data.regions import Region

ACCURACY = ("iou_target", "centroid_shift")
"""Metrics of the panels, those of them that the table has."""
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
    import matplotlib.pyplot as plt

    spec = inputs.table
    if not spec.by:
        raise UserError(
            f"table '{spec.name}': its cases are not split, expected a table by size. "
            f"Give the experiment `by: [size]` and the figure the table {spec.name}_size."
        )
    accuracy = [name for name in ACCURACY if name in spec.metrics]
    grid = inputs.grid(accuracy)
    shown = [row for row in spec.rows if not row.control or row.editor in _FLOORS]
    names = list(dict.fromkeys(line.subset for line in grid.lines))
    place = dict(zip(names, _places(inputs.root, spec, names), strict=True))
    found = {(line.row.variant, line.subset): line for line in grid.lines if line.status == "ok"}
    look = row_styles(spec.rows)
    count = max(len(accuracy), 1)
    figure, panels = plt.subplots(1, count, figsize=(4.3 * count, 3.3), layout="constrained", squeeze=False)
    span = max(place.values(), default=1.0) - min(place.values(), default=0.0) or 1.0
    handles: dict[str, Line2D] = {}
    for column, name in enumerate(accuracy):
        axes = panels[0][column]
        for rank, row in enumerate(shown):
            # A little apart, so that intervals can be told apart.
            nudge = 0.0 if row.control else 0.012 * span * (rank - (len(shown) - 1) / 2)
            lines = [(place[n] + nudge, found[row.variant, n]) for n in names if (row.variant, n) in found]
            scale = 100.0 if metric_display(name).percent else 1.0
            handles[row.variant] = _draw_editor(axes, lines, column, scale, look[row.variant], row)
        axes.set_xticks([place[n] for n in names])
        axes.set_xticklabels([f"{n}\n{place[n]:.1f} px" for n in names])
        axes.set_xlabel(f"{spec.by} and mean motion of the region's pixels")
        axes.set_ylabel(axis_label(name))
        axes.set_title(f"({'ab'[column]}) {metric_display(name).label}", loc="left")
    # get_legend_handles_labels would leave out what starts with an underscore.
    figure.legend(
        handles=list(handles.values()), loc="outside lower center", ncols=4, columnspacing=1.6, handlelength=2.6
    )
    return figure


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


def _draw_editor(
    axes: Axes, lines: Sequence[tuple[float, Line]], column: int, scale: float, style: Style, row: Row
) -> Line2D:
    points = [(x, line.cells[column]) for x, line in lines if math.isfinite(line.cells[column].value)]
    (drawn,) = axes.plot(
        [x for x, _ in points],
        [cell.value * scale for _, cell in points],
        color=style.colour,
        linewidth=1.2 if not style.control else 0.9,
        linestyle="-" if not style.control else (0, (4, 2)),
        marker=style.marker,
        markersize=5.5,
        markerfacecolor="white" if style.control else style.colour,
        label=row.label,
    )
    for x, cell in points:
        bars = error_bars(cell)
        if bars is not None and not style.control:
            lengths = [[length[0] * scale] for length in bars]
            axes.errorbar(
                x, cell.value * scale, yerr=lengths, fmt="none", ecolor=style.colour, elinewidth=1.0, alpha=0.8
            )
        draw_marker(axes, x, cell.value * scale, style, zorder=3)
    return drawn


FIGURE = Figure(
    name="motion",
    title="Accuracy over the size of the motion",
    caption="Overlap with the target and distance of the centroids for small, medium and large drags, drawn at the "
    "mean motion of the regions' pixels, one line an editor with 95% intervals. Grey and dashed: nothing edited, and "
    "the region's pixels copied.",
    alt="Overlap with the target and distance of the centroids for small, medium and large drags, one line for each "
    "editor; the values are in the table by size",
    draw=draw,
    needs=("statistics", "cases"),
)
