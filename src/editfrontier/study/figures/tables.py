"""Figures of results, one function each; the larger ones are drawn by modules of their own.

Every function writes <stem>.pdf, <stem>.svg and <stem>.png, the same bytes for the same input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.study.drawing.plotting import GREY, axis_label, draw_marker, error_bars, figure_style, save_figure
from editfrontier.study.figures.drags import draw_motion, draw_panel
from editfrontier.study.figures.frontier import draw_frontier
from editfrontier.study.figures.inversion import draw_inversion
from editfrontier.study.figures.qualitative import draw_grid
from editfrontier.study.figures.validation import draw_validation
from editfrontier.study.results.grids import Cell, Line, build_grid
from editfrontier.study.results.naming import (
    Style,
    Table,
    metric_display,
    paper_values,
    parse_table,
    read_reported,
    read_statistics,
    styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABLATION_METRICS = ("fid", "id_sim", "clip_score", "lpips_bg_spatial")


def figure_frontier(
    table: Mapping[str, Any] | Table, statistics: Path, reported: Path, out_stem: Path, frontier: Path | None = None
) -> None:
    """Trade-off figure of one table's rows: fidelity against controllability, intervals on both axes, Pareto front.

    Args:
        table: the table's entry of the config, as for `tables.write_table`.
        statistics: parquet of summaries (task, variant, metric, value, ci_low, ci_high, n, failed).
        reported: CSV of the values that the paper reports.
        out_stem: path without suffix; .pdf, .svg and .png are written.
        frontier: parquet of the composite scores; if it is there and not empty, the first panel shows them.
    """
    draw_frontier(parse_table(table), statistics, reported, out_stem, frontier)


def guidance_of(text: str, default: float | None = None) -> float | None:
    """Return the guidance scale that a variant name or a configuration of the paper states, else the default.

    Returns None for a variant that differs in anything but guidance: it is no point of the guidance sweep.
    """
    overrides = text.partition("+")[2] if "+" in text else text
    if match := re.fullmatch(r"(?:guidance_scale=|w=)([0-9.]+)(?: cosine)?", overrides):
        return float(match.group(1))
    return default if "+" not in text and "=" not in text else None


def figure_ablation(
    table: Mapping[str, Any] | Table, statistics: Path, reported: Path, out_stem: Path, default_guidance: float = 7.5
) -> None:
    """Ablation figure of Table 3: metrics over the guidance scale, as measured and as reported; other rows.

    Args:
        table, statistics, reported, out_stem: as for `figure_frontier`.
        default_guidance: guidance scale of a variant that does not override it.
    """
    spec = parse_table(table)
    values = read_reported(reported)
    metrics = tuple(name for name in ABLATION_METRICS if name in spec.metrics) or spec.metrics[:4]
    grid = build_grid(
        Table(spec.name, spec.title, spec.caption, spec.task, metrics, spec.rows), read_statistics(statistics), values
    )
    lines = [line for line in grid.lines if line.status == "ok" and not line.row.control]
    sweep = sorted(
        ((w, line) for line in lines if (w := guidance_of(line.row.variant, default_guidance)) is not None),
        key=lambda entry: entry[0],
    )
    others = [line for line in lines if guidance_of(line.row.variant, default_guidance) in (None, default_guidance)]
    paper = sorted(
        (w, found)
        for (_, configuration), found in paper_values(values, spec.name).items()
        if (w := guidance_of(configuration)) is not None
    )
    look = styles([line.row.editor for line in lines])
    with figure_style():
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
        save_figure(figure, out_stem)


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


def figure_validation(validation: Path, out_stem: Path, points: Path | None = None) -> None:
    """Metric validation against the renderer's truth.

    Args:
        validation: the table of checks; the points lie beside it as validation.points.parquet.
        out_stem: path without suffix; .pdf, .svg and .png are written.
        points: the points, if they lie elsewhere.
    """
    draw_validation(points or validation.with_suffix(".points.parquet"), out_stem)


def figure_qualitative(
    table: Mapping[str, Any] | Table, root: Path, out_stem: Path, cases: int = 6, worst: int = 2, seed: int = 0
) -> None:
    """Grid of cases chosen by rule, and the worst cases of each editor: see `qualitative.draw_grid`."""
    draw_grid(parse_table(table), root, out_stem, cases, worst, seed)


def figure_inversion(table: Mapping[str, Any] | Table, root: Path, reported: Path, out_stem: Path) -> None:
    """Accuracy of inversion over network evaluations: see `inversion_figure.draw_inversion`."""
    draw_inversion(parse_table(table), root, reported, out_stem)


def figure_drag_panel(table: Mapping[str, Any] | Table, root: Path, out_stem: Path, seed: int = 0) -> None:
    """One case of each kind of drag by every editor: see `drag_figures.draw_panel`."""
    draw_panel(parse_table(table), root, out_stem, seed)


def figure_motion(table: Mapping[str, Any] | Table, root: Path, reported: Path, out_stem: Path) -> None:
    """Accuracy of drags over the size of the motion: see `drag_figures.draw_motion`."""
    draw_motion(parse_table(table), root, reported, out_stem)
