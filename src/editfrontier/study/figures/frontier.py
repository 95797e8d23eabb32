"""The trade-off figure: every editor in the plane of fidelity and controllability, as measured and as reported."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.parquet import read_parquet
from editfrontier.statistics.bootstrap import pareto_front
from editfrontier.study.drawing.intervals import Point, Series, draw_bars, draw_intervals, handles, of_estimate
from editfrontier.study.drawing.panels import axis_label, legend_below, panels, scale_of, title
from editfrontier.study.drawing.theme import DASHED, GREY, INK, PAPER
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.grids import Line
from editfrontier.study.results.naming import (
    Row,
    Style,
    editor_label,
    metric_display,
    number,
    paper_values,
    read_reported,
    styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PLANES = (("id_sim", "success"), ("lpips_bg_spatial", "clip_directional"))
"""(fidelity, controllability) pairs of single metrics; the paper's plane aggregates these kinds of metric."""


@dataclass(frozen=True)
class Panel:
    """One plane.

    Attributes:
        title: of the panel.
        marks: rows with their points: across (its value is the fidelity, its place the controllability) and up (the
            other way round).
        labels, directions: of the axes.
    """

    title: str
    marks: tuple[tuple[Row, Point, Point], ...]
    labels: tuple[str, str]
    directions: tuple[str, str] = ("higher", "higher")


def draw(inputs: FigureInputs) -> Drawing:
    """Draw panels of this study and one of the paper.

    Panels of this study have both axes turned so that better is up and right: the composite scores and identity
    against success, or two pairs of single metrics where there are no composites. The last one shows where the paper
    puts its methods, which ran on other data with other models.
    """
    metrics = tuple(dict.fromkeys([*inputs.table.metrics, *itertools.chain(*PLANES)]))
    rows = [line for line in inputs.grid(metrics).lines if line.status == "ok" and line.row.editor != "reference"]
    planes = [_metric_panel(rows, metrics, plane) for plane in PLANES]
    composite = _composite_panel(rows, inputs.root / "statistics" / f"{inputs.table.task}.frontier.parquet")
    if composite is not None:
        planes = [composite, planes[0]]
    planes = [plane for plane in planes if plane.marks] or planes[:1]
    reported = paper_values(read_reported(inputs.reported), "table1").items()
    paper = {method: values for (method, configuration), values in reported if configuration == "default"}
    look = styles([*(line.row.editor for line in rows), *paper])
    figure, grid = panels(len(planes) + 1, (3.05, 3.1), columns=3)
    for place, (axes, plane) in enumerate(zip(grid, planes, strict=False)):
        _draw_panel(axes, plane, look)
        title(axes, plane.title, place)
    _draw_paper(grid[-1], paper, look)
    title(grid[-1], "The paper (other data, other models)", len(planes))
    legend_below(figure, handles(_entries([line.row for line in rows], paper, look)), columns=6)
    return figure


def _marks(entries: Sequence[tuple[Row, Point, Point]]) -> tuple[tuple[Row, Point, Point], ...]:
    """Return rows with both points, each given at no place, at the value of the other one; those that have both."""
    return tuple(
        (row, x._replace(place=y.value), y._replace(place=x.value))
        for row, x, y in entries
        if math.isfinite(x.value) and math.isfinite(y.value)
    )


def _metric_panel(lines: Sequence[Line], metrics: Sequence[str], plane: tuple[str, str]) -> Panel:
    x, y = (metrics.index(name) for name in plane)
    scales = [scale_of(name) for name in plane]
    displays = [metric_display(name) for name in plane]
    marks = [
        (line.row, of_estimate(0, line.cells[x], scales[0]), of_estimate(0, line.cells[y], scales[1])) for line in lines
    ]
    labels = axis_label(plane[0], True), axis_label(plane[1], False)
    directions = displays[0].direction, displays[1].direction
    return Panel(f"{displays[0].label}, {displays[1].label}", _marks(marks), labels, directions)


def _composite_panel(lines: Sequence[Line], frontier: Path) -> Panel | None:
    if not frontier.exists():
        return None
    frame, provenance = read_parquet(frontier, "Make it again with `snakemake statistics`.")
    entries: dict[str, Any] = {str(entry["variant"]): entry for entry in frame.to_dict(orient="records")}

    def point(variant: str, axis: str) -> Point:
        return Point(0, *(number(entries[variant][f"{axis}{end}"]) for end in ("", "_low", "_high")))

    held = [line.row for line in lines if line.row.variant in entries]
    marks = _marks([(row, point(row.variant, "fidelity"), point(row.variant, "controllability")) for row in held])
    if not marks:
        return None
    settings = provenance.get("settings", {})
    labels = [_composite_label(axis, settings.get(f"{axis}_anchors")) for axis in ("fidelity", "controllability")]
    return Panel("Composite scores", marks, (labels[0], labels[1]))


def _composite_label(axis: str, anchors: Sequence[Any] | None) -> str:
    ends = [str(anchor).replace("_", " ").removesuffix(" image") for anchor in anchors or ()]
    return axis.capitalize() + (f" (0 = {ends[0]}, 1 = {ends[1]}) ↑" if len(ends) == 2 else " ↑")


def _draw_panel(axes: Axes, panel: Panel, look: Mapping[str, Style]) -> None:
    shown = [replace(look[row.editor], control=row.control) for row, _, _ in panel.marks]
    draw_bars(axes, [Series([x], style) for (_, x, _), style in zip(panel.marks, shown, strict=True)], horizontal=True)
    draw_intervals(axes, [Series([y], style) for (_, _, y), style in zip(panel.marks, shown, strict=True)])
    _leave_out_random(axes, panel)
    editors = [(x.value, y.value) for row, x, y in panel.marks if not row.control]
    signs = [1.0 if direction == "higher" else -1.0 for direction in panel.directions]
    held = pareto_front(*(np.reshape(editors, (-1, 2)) * signs).T)
    front = sorted(itertools.compress(editors, held))
    # A staircase: between two points of the front nothing better than the worse of both has been attained.
    stairs = "steps-pre" if panel.directions[0] == "higher" else "steps-post"
    ink: dict[str, Any] = {"color": INK, "linewidth": 0.9, "linestyle": (0, DASHED), "zorder": 1.5}
    axes.plot(*np.reshape(front, (-1, 2)).T, drawstyle=stairs, **ink)
    axes.xaxis.set_inverted(panel.directions[0] == "lower")
    axes.yaxis.set_inverted(panel.directions[1] == "lower")
    axes.set(xlabel=panel.labels[0], ylabel=panel.labels[1])


def _leave_out_random(axes: Axes, panel: Panel) -> None:
    # A random image is so far off that it would squeeze the editors into a corner: the axes leave it out and say so.
    bounds = []
    shown = [(x, y) for row, x, y in panel.marks if row.editor != "random_image"]
    for axis in (0, 1):
        points = [pair[axis] for pair in shown]
        ends = [v for p in points for v in (p.value, p.low, p.high) if math.isfinite(v)] or [0.0, 1.0]
        pad = 0.08 * (max(ends) - min(ends)) or 0.1
        bounds.append((min(ends) - pad, max(ends) + pad))
    axes.set(xlim=bounds[0], ylim=bounds[1])
    for row, x, y in panel.marks:
        inside = all(low <= point.value <= high for point, (low, high) in zip((x, y), bounds, strict=True))
        if row.editor == "random_image" and not inside:
            note = f"random other image: outside, at ({x.value:.2g}, {y.value:.2g})"
            axes.text(0.02, 0.015, note, transform=axes.transAxes, fontsize=6.3, color=GREY, va="bottom")


def _draw_paper(axes: Axes, paper: Mapping[str, Mapping[str, float]], look: Mapping[str, Style]) -> None:
    x, y = PLANES[0]
    points = {
        method: Point(values.get(x, math.nan) * scale_of(x), values.get(y, math.nan) * scale_of(y))
        for method, values in sorted(paper.items())
    }
    draw_intervals(axes, [Series([point], look[method]) for method, point in points.items()])
    axes.set_facecolor(PAPER)
    axes.margins(0.12)
    axes.set(xlabel=axis_label(x, True), ylabel=axis_label(y, False))


def _entries(rows: Sequence[Row], paper: Mapping[str, Any], look: Mapping[str, Style]) -> list[Series]:
    """Return the entries of the legend: editors, then controls, then methods of the paper alone, then the front."""
    names = {row.editor: _name(row, rows) for row in sorted(rows, key=lambda row: row.control)}
    names |= {method: f"{editor_label(method)} (paper only)" for method in sorted(paper) if method not in names}
    hollow = {row.editor for row in rows if row.control}
    entries = [Series((), replace(look[name], control=name in hollow), label) for name, label in names.items()]
    return [*entries, Series((), Style(INK, "", False), "Pareto front of editors", DASHED)]


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of a mark: the editor, or the row itself where a control is the only use of its editor."""
    alone = sum(other.editor == row.editor for other in rows) == 1
    return row.label if row.control and alone else editor_label(row.editor)


FIGURE = Figure(
    name="frontier",
    title="Controllability against fidelity",
    caption="Every editor with its 95% intervals on both axes, both turned so that better is up and to the right. "
    "The dashed stairs are the Pareto front of the editors; hollow markers are controls and are no part of it. "
    "The last panel shows where the paper puts its methods, which ran on other data with other models: compare order, "
    "not values.",
    alt="Scatter plot of fidelity against controllability for every editor, with intervals and the Pareto front, "
    "and the values that the paper reports",
    draw=draw,
    section="tradeoff",
    needs=("statistics", "frontier"),
)
