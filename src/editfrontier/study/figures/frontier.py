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
from editfrontier.study.drawing.plotting import axis_label, draw_marker, error_bars
from editfrontier.study.drawing.theme import GREY, INK
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.grids import Cell, Line
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

_DASHED = (0, (4, 2))


@dataclass(frozen=True)
class Panel:
    """Points of one plane: a row with its place on both axes; labels and directions of the axes."""

    title: str
    points: tuple[tuple[Row, Cell, Cell], ...]
    labels: tuple[str, str]
    directions: tuple[str, str] = ("higher", "higher")


def draw(inputs: FigureInputs) -> Drawing:
    """Draw panels of this study and one of the paper.

    Panels of this study have both axes turned so that better is up and right: the composite scores and identity
    against success, or two pairs of single metrics where there are no composites. The last one shows where the paper
    puts its methods, which ran on other data with other models.
    """
    import matplotlib.pyplot as plt

    metrics = tuple(dict.fromkeys([*inputs.table.metrics, *itertools.chain(*PLANES)]))
    grid = inputs.grid(metrics)
    lines = [line for line in grid.lines if line.status == "ok" and line.row.editor != "reference"]
    panels = [_metric_panel(lines, metrics, plane) for plane in PLANES]
    if (
        composite := _composite_panel(lines, inputs.root / "statistics" / f"{inputs.table.task}.frontier.parquet")
    ) is not None:
        panels = [composite, panels[0]]
    panels = [panel for panel in panels if panel.points] or panels[:1]
    paper = {
        method: found
        for (method, configuration), found in paper_values(read_reported(inputs.reported), "table1").items()
        if configuration == "default"
    }
    look = styles([*(line.row.editor for line in lines), *paper])
    count = len(panels) + 1
    figure, all_axes = plt.subplots(1, count, figsize=(3.05 * count, 3.1), layout="constrained")
    for axes, panel in zip(all_axes, panels, strict=False):
        _draw_panel(axes, panel, look)
    _draw_paper(all_axes[-1], paper, look)
    names = [*(panel.title for panel in panels), "The paper (other data, other models)"]
    for letter, axes, name in zip("abcdef", all_axes, names, strict=False):
        axes.set_title(f"({letter}) {name}", loc="left")
    _legend(figure, [line.row for line in lines], paper, look)
    return figure


def _metric_panel(lines: Sequence[Line], metrics: Sequence[str], plane: tuple[str, str]) -> Panel:
    columns = [metrics.index(name) for name in plane]
    scales = [100.0 if metric_display(name).percent else 1.0 for name in plane]
    points = []
    for line in lines:
        x, y = (_scaled(line.cells[column], scale) for column, scale in zip(columns, scales, strict=True))
        if math.isfinite(x.value) and math.isfinite(y.value):
            points.append((line.row, x, y))
    kept = tuple(points)
    displays = [metric_display(name) for name in plane]
    return Panel(
        f"{displays[0].label}, {displays[1].label}",
        kept,
        (axis_label(plane[0], True), axis_label(plane[1], False)),
        (displays[0].direction, displays[1].direction),
    )


def _scaled(cell: Cell, scale: float) -> Cell:
    return Cell(cell.value * scale, cell.low * scale, cell.high * scale, cell.paper * scale, cell.rank)


def _composite_panel(lines: Sequence[Line], frontier: Path) -> Panel | None:
    if not frontier.exists():
        return None
    frame, provenance = read_parquet(frontier, "Make it again with `snakemake statistics`.")
    if frame.empty:
        return None
    found: dict[str, Any] = {str(entry["variant"]): entry for entry in frame.to_dict(orient="records")}

    def cell(entry: Mapping[str, Any], axis: str) -> Cell:
        return Cell(number(entry[axis]), number(entry[f"{axis}_low"]), number(entry[f"{axis}_high"]), math.nan, 0)

    points = [
        (line.row, cell(found[line.row.variant], "fidelity"), cell(found[line.row.variant], "controllability"))
        for line in lines
        if line.row.variant in found
    ]
    kept = tuple((row, x, y) for row, x, y in points if math.isfinite(x.value) and math.isfinite(y.value))
    if not kept:
        return None
    settings = provenance.get("settings", {})
    labels = [_composite_label(axis, settings.get(f"{axis}_anchors")) for axis in ("fidelity", "controllability")]
    return Panel("Composite scores", kept, (labels[0], labels[1]))


def _composite_label(axis: str, anchors: Sequence[Any] | None) -> str:
    ends = [str(anchor).replace("_", " ").removesuffix(" image") for anchor in anchors or ()]
    return axis.capitalize() + (f" (0 = {ends[0]}, 1 = {ends[1]}) ↑" if len(ends) == 2 else " ↑")


def _draw_panel(axes: Axes, panel: Panel, look: Mapping[str, Style]) -> None:
    for row, x, y in panel.points:
        style = replace(look[row.editor], control=row.control)
        axes.errorbar(
            x.value,
            y.value,
            xerr=error_bars(x),
            yerr=error_bars(y),
            fmt="none",
            ecolor=style.colour,
            elinewidth=1.0,
            alpha=0.75,
        )
        draw_marker(axes, x.value, y.value, style, zorder=3)
    _leave_out_random(axes, panel)
    editors = [(x.value, y.value) for row, x, y in panel.points if not row.control]
    signs = [1.0 if direction == "higher" else -1.0 for direction in panel.directions]
    held = pareto_front(*(np.reshape(editors, (-1, 2)) * signs).T)
    front = sorted(itertools.compress(editors, held))
    # A staircase: between two points of the front nothing better than the worse of both has been attained.
    stairs = front[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(front):
        stairs += [(x0, y1) if panel.directions[0] == "higher" else (x1, y0), (x1, y1)]
    if len(stairs) > 1:
        axes.plot(*zip(*stairs, strict=True), color=INK, linewidth=0.9, linestyle=_DASHED, zorder=1.5)
    if panel.directions[0] == "lower":
        axes.invert_xaxis()
    if panel.directions[1] == "lower":
        axes.invert_yaxis()
    axes.set_xlabel(panel.labels[0])
    axes.set_ylabel(panel.labels[1])


def _leave_out_random(axes: Axes, panel: Panel) -> None:
    # A random image is so far off that it would squeeze the editors into a corner: the axes leave it out and say so.
    bounds = []
    for axis in (0, 1):
        cells = [(x, y)[axis] for row, x, y in panel.points if row.editor != "random_image"]
        ends = [v for c in cells for v in (c.value, c.low, c.high) if math.isfinite(v)] or [0.0, 1.0]
        pad = 0.08 * (max(ends) - min(ends)) or 0.1
        bounds.append((min(ends) - pad, max(ends) + pad))
    axes.set_xlim(*bounds[0])
    axes.set_ylim(*bounds[1])
    for row, x, y in panel.points:
        inside = all(low <= cell.value <= high for cell, (low, high) in zip((x, y), bounds, strict=True))
        if row.editor == "random_image" and not inside:
            note = f"random other image: outside, at ({x.value:.2g}, {y.value:.2g})"
            axes.text(0.02, 0.015, note, transform=axes.transAxes, fontsize=6.3, color=GREY, va="bottom")


def _draw_paper(axes: Axes, paper: Mapping[str, Mapping[str, float]], look: Mapping[str, Style]) -> None:
    metrics = PLANES[0]
    for method, values in sorted(paper.items()):
        x, y = (values.get(name, math.nan) * (100.0 if metric_display(name).percent else 1.0) for name in metrics)
        if math.isfinite(x) and math.isfinite(y):
            draw_marker(axes, x, y, look[method])
    axes.set_facecolor("#F7F7F5")
    axes.margins(0.12)
    axes.set_xlabel(axis_label(metrics[0], True))
    axes.set_ylabel(axis_label(metrics[1], False))


def _legend(
    figure: Drawing, rows: Sequence[Row], paper: Mapping[str, Mapping[str, float]], look: Mapping[str, Style]
) -> None:
    from matplotlib.lines import Line2D

    entries = {row.editor: _name(row, rows) for row in sorted(rows, key=lambda row: row.control)}
    hollow = {row.editor for row in rows if row.control}
    for method in sorted(paper):
        entries.setdefault(method, f"{editor_label(method)} (paper only)")
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=look[name].marker,
            markersize=6,
            color=look[name].colour,
            markerfacecolor="white" if name in hollow else look[name].colour,
            label=label,
        )
        for name, label in entries.items()
    ]
    handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=_DASHED, label="Pareto front of editors"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(6, len(handles)), columnspacing=1.4, handletextpad=0.5
    )


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Return what a mark is called: the editor, or the row itself where a control is but one use of its editor."""
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
    "beside the values that the paper reports",
    draw=draw,
    needs=("statistics", "frontier"),
)
