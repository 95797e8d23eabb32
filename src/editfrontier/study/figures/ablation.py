"""The ablation of mask-guided editing: metrics over the guidance scale, as measured and as reported; other rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from editfrontier.study.drawing.plotting import axis_label, draw_marker, error_bars
from editfrontier.study.drawing.theme import GREY
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.grids import Cell, Line
from editfrontier.study.results.naming import (
    Style,
    guidance_of,
    metric_display,
    paper_values,
    read_reported,
    styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

METRICS = ("fid", "id_sim", "clip_score", "lpips_bg_spatial")
"""Columns of panels, those of them that the table has."""
DEFAULT_GUIDANCE = 7.5
"""Guidance scale of a variant that does not override it."""


def draw(inputs: FigureInputs) -> Drawing:
    """Draw a column of panels for each metric: over the guidance scale, the same in the paper, further rows."""
    listed = inputs.table.metrics
    metrics = tuple(name for name in METRICS if name in listed) or listed[:4]
    grid = inputs.grid(metrics)
    lines = [line for line in grid.lines if line.status == "ok" and not line.row.control]
    sweep = sorted(
        ((w, line) for line in lines if (w := guidance_of(line.row.variant, DEFAULT_GUIDANCE)) is not None),
        key=lambda entry: entry[0],
    )
    others = [line for line in lines if guidance_of(line.row.variant, DEFAULT_GUIDANCE) in (None, DEFAULT_GUIDANCE)]
    paper = sorted(
        (w, found)
        for (_, configuration), found in paper_values(read_reported(inputs.reported), inputs.table.name).items()
        if (w := guidance_of(configuration)) is not None
    )
    look = styles([line.row.editor for line in lines])
    import matplotlib.pyplot as plt

    height = 0.9 + 0.19 * len(others)
    figure, panels = plt.subplots(
        3,
        len(metrics),
        figsize=(2.35 * len(metrics), 3.3 + height),
        layout="constrained",
        squeeze=False,
        height_ratios=[1.7, 1.1, height],
    )
    for column, name in enumerate(metrics):
        scale = 100.0 if metric_display(name).percent else 1.0
        cells = [(w, line.cells[column], look[line.row.editor]) for w, line in sweep]
        _sweep_panel(panels[0][column], cells, scale)
        panels[0][column].set_title(axis_label(name), loc="left")
        reports = [(w, found[name] * scale) for w, found in paper if math.isfinite(found.get(name, math.nan))]
        _paper_sweep_panel(panels[1][column], reports)
        panels[1][column].set_xlabel("guidance scale w")
        _forest_panel(panels[2][column], others, column, scale, look, labels=column == 0)
    panels[0][0].set_ylabel("this study")
    panels[1][0].set_ylabel("paper", color=GREY)
    return figure


def _sweep_panel(axes: Axes, cells: Sequence[tuple[float, Cell, Style]], scale: float) -> None:
    finite = [(w, cell, style) for w, cell, style in cells if math.isfinite(cell.value)]
    if finite:
        colour = finite[-1][2].colour
        xs = [w for w, _, _ in finite]
        axes.plot(xs, [cell.value * scale for _, cell, _ in finite], color=colour, linewidth=1.2)
        low = [cell.low * scale if math.isfinite(cell.low) else cell.value * scale for _, cell, _ in finite]
        high = [cell.high * scale if math.isfinite(cell.high) else cell.value * scale for _, cell, _ in finite]
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
        for w, cell, style in finite:
            draw_marker(axes, w, cell.value * scale, style)
        axes.set_xticks(xs)
        axes.set_xticklabels([f"{w:g}" for w in xs])


def _paper_sweep_panel(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    axes.set_facecolor("#F7F7F5")
    axes.plot(
        [w for w, _ in points],
        [value for _, value in points],
        color=GREY,
        linewidth=1.0,
        marker="o",
        markersize=4,
        markerfacecolor="white",
    )
    axes.set_xticks([w for w, _ in points])
    axes.set_xticklabels([f"{w:g}" for w, _ in points])
    axes.margins(y=0.2)


def _forest_panel(
    axes: Axes, lines: Sequence[Line], column: int, scale: float, look: Mapping[str, Style], *, labels: bool
) -> None:
    for position, line in enumerate(lines):
        cell, style = line.cells[column], look[line.row.editor]
        if not math.isfinite(cell.value):
            continue
        bars = error_bars(cell)
        axes.errorbar(
            cell.value * scale,
            position,
            xerr=None if bars is None else [[v[0] * scale] for v in bars],
            fmt="none",
            ecolor=style.colour,
            elinewidth=1.0,
        )
        draw_marker(axes, cell.value * scale, position, style)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(range(len(lines)))
    axes.set_yticklabels([line.row.label for line in lines] if labels else [])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)


FIGURE = Figure(
    name="ablation",
    title="Ablation of mask-guided editing",
    caption="Above: each metric over the guidance scale, with 95% intervals. Middle, in grey: what the paper reports. "
    "Below: blending schedules and the readings of the paper's errata, each changed alone from the default.",
    alt="Metrics of mask-guided editing over the guidance scale, as measured and as the paper reports, and for each "
    "blending schedule and reading of the errata",
    draw=draw,
)
