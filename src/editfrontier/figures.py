"""Figures of results: trade-off, ablation and metric validation (the grid of images is in `qualitative`).

Every function writes <stem>.pdf, <stem>.svg and <stem>.png, the same bytes for the same input.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.cases import write_bytes
from editfrontier.results import (
    LABELS,
    Row,
    Style,
    Table,
    editor_label,
    metric_display,
    paper_values,
    parse_table,
    read_reported,
    read_statistics,
    styles,
)
from editfrontier.tables import Cell, Line, build_grid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONTIER_AXES = (("id_sim", "success"), ("lpips_bg_spatial", "clip_directional"))
"""(fidelity, controllability) of each panel; the paper's plane aggregates just these kinds of metric."""

ABLATION_METRICS = ("fid", "id_sim", "clip_score", "lpips_bg_spatial")
_INK = "#222222"
_GREY = "#8A8A8A"
_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.edgecolor": "#9A9A9A",
    "axes.linewidth": 0.7,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#EAEAEA",
    "grid.linewidth": 0.6,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "svg.hashsalt": "editfrontier",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Set the one style of all figures within the block, on a backend that needs no display."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.style.context("default"), matplotlib.rc_context(_SETTINGS):
        yield
        plt.close("all")


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as .pdf, .svg and .png beside each other, without dates or versions in the files."""
    import io

    without = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    for kind, metadata in without.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.04)
        write_bytes(stem.with_name(f"{stem.name}.{kind}"), buffer.getvalue())


def pareto_front(points: Sequence[tuple[float, float]], directions: tuple[str, str]) -> list[int]:
    """Return the indices of the points that no other point dominates, from low to high in the first coordinate.

    Args:
        points: (x, y); a point with a NaN is never on the front.
        directions: "higher" or "lower" is better, for x and for y.
    """
    signs = [1.0 if direction == "higher" else -1.0 for direction in directions]
    signed = [(x * signs[0], y * signs[1]) for x, y in points]
    finite = [i for i, point in enumerate(signed) if all(map(math.isfinite, point))]
    front = [
        i for i in finite
        if not any(
            signed[j][0] >= signed[i][0] and signed[j][1] >= signed[i][1] and signed[j] != signed[i] for j in finite
        )
    ]
    return sorted(front, key=lambda i: points[i])


def _marker(axes: Axes, x: float, y: float, style: Style, **options: Any) -> None:
    axes.plot(
        x, y, linestyle="none", marker=style.marker, markersize=9 if style.marker == "*" else 6.5, color=style.colour,
        markerfacecolor="white" if style.control else style.colour, markeredgecolor=style.colour if style.control
        else "white", markeredgewidth=1.2 if style.control else 0.7, **options,
    )


def _errors(cell: Cell) -> list[list[float]] | None:
    if not all(map(math.isfinite, (cell.value, cell.low, cell.high))):
        return None
    # A bootstrap interval need not contain the estimate of a biased statistic (FID); bars never turn negative.
    return [[max(cell.value - cell.low, 0.0)], [max(cell.high - cell.value, 0.0)]]


def _axis_label(metric: str, fidelity: bool | None = None) -> str:
    display = metric_display(metric)
    unit = "%" if display.percent else display.unit
    name = f"{display.label}{f' [{unit}]' if unit else ''} {display.arrow}".strip()
    return name if fidelity is None else f"{'Fidelity' if fidelity else 'Controllability'}: {name}"


def figure_frontier(
    table: Mapping[str, Any] | Table, statistics: Path, reported: Path, out_stem: Path, frontier: Path | None = None
) -> None:
    """Trade-off figure of one table's rows: fidelity against controllability, intervals on both axes, Pareto front.

    The first panels show this study, each with one fidelity and one controllability metric and both axes turned so
    that better is up and right; the last one shows where the paper puts its methods (other data, other models).

    Args:
        table: the table's entry of the config, as for `tables.write_table`.
        statistics: parquet of summaries (task, variant, metric, value, ci_low, ci_high, n, failed).
        reported: CSV of the values that the paper reports.
        out_stem: path without suffix; .pdf, .svg and .png are written.
        frontier: accepted for the sake of the workflow's dependencies; the front drawn is that of the estimates.
    """
    del frontier
    spec = parse_table(table)
    values = read_reported(reported)
    pairs = [pair for pair in FRONTIER_AXES if set(pair) <= set(spec.metrics)] or [FRONTIER_AXES[0]]
    metrics = tuple(dict.fromkeys([*spec.metrics, *(name for pair in pairs for name in pair)]))
    grid = build_grid(Table(spec.name, spec.title, spec.caption, spec.task, metrics, spec.rows),
                      read_statistics(statistics), values)
    lines = [line for line in grid.lines if line.status == "ok"]
    paper = {method: found for (method, configuration), found in paper_values(values, "table1").items()
             if configuration == "default"}
    look = styles([*(line.row.editor for line in lines), *paper])
    with figure_style():
        import matplotlib.pyplot as plt

        figure, panels = plt.subplots(1, len(pairs) + 1, figsize=(3.15 * (len(pairs) + 1), 3.1), layout="constrained")
        for axes, pair in zip(panels, pairs, strict=False):
            _frontier_panel(axes, lines, metrics, pair, look)
        _paper_panel(panels[-1], paper, look)
        names = ["this study"] * len(pairs) + ["as the paper reports (other data and models)"]
        for letter, axes, name in zip("abcdef", panels, names, strict=False):
            axes.set_title(f"({letter}) {name}", loc="left")
        _legend(figure, [line.row for line in lines], paper, look)
        save_figure(figure, out_stem)


def _frontier_panel(
    axes: Axes, lines: Sequence[Line], metrics: Sequence[str], pair: tuple[str, str], look: Mapping[str, Style]
) -> None:
    columns = [metrics.index(name) for name in pair]
    displays = [metric_display(name) for name in pair]
    scales = [100.0 if display.percent else 1.0 for display in displays]
    points = []
    for line in lines:
        x, y = (line.cells[column] for column in columns)
        style = look[line.row.editor]
        point = (x.value * scales[0], y.value * scales[1])
        points.append(point if not line.row.control else (math.nan, math.nan))
        if not all(map(math.isfinite, point)):
            continue
        bars = [None if (e := _errors(cell)) is None else [[v[0] * scale] for v in e]
                for cell, scale in zip((x, y), scales, strict=True)]
        axes.errorbar(*point, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=style.colour, elinewidth=1.0, alpha=0.75,
                      capsize=0)
        _marker(axes, *point, style, zorder=3)
    _leave_out_random(axes, lines, columns, scales)
    front = [points[i] for i in pareto_front(points, (displays[0].direction, displays[1].direction))]
    if len(front) > 1:
        # A staircase: between two points of the front nothing better than the worse of both is attained.
        stairs_x = [front[0][0]]
        stairs_y = [front[0][1]]
        for (x0, y0), (x1, y1) in itertools.pairwise(front):
            corner = (x0, y1) if displays[0].direction == "higher" else (x1, y0)
            stairs_x += [corner[0], x1]
            stairs_y += [corner[1], y1]
        axes.plot(stairs_x, stairs_y, color=_INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.5)
    if displays[0].direction == "lower":
        axes.invert_xaxis()
    axes.set_xlabel(_axis_label(pair[0], True))
    axes.set_ylabel(_axis_label(pair[1], False))


def _leave_out_random(axes: Axes, lines: Sequence[Line], columns: Sequence[int], scales: Sequence[float]) -> None:
    # A random image is so far off that it would squeeze the editors into a corner: the axes leave it out and say so.
    bounds: list[tuple[float, float]] = []
    outside = False
    for axis, (column, scale) in enumerate(zip(columns, scales, strict=True)):
        ends = {line.row.editor: [v * scale for v in (line.cells[column].value, line.cells[column].low,
                                                      line.cells[column].high) if math.isfinite(v)] for line in lines}
        kept = [v for editor, found in ends.items() if editor != "random_image" for v in found] or [0.0, 1.0]
        pad = 0.08 * (max(kept) - min(kept)) or 0.1
        bounds.append((min(kept) - pad, max(kept) + pad))
        if any(not bounds[axis][0] <= v <= bounds[axis][1] for v in ends.get("random_image", [])[:1]):
            outside = True
    axes.set_xlim(*bounds[0])
    axes.set_ylim(*bounds[1])
    if outside:
        point = next(line for line in lines if line.row.editor == "random_image")
        x, y = (point.cells[column].value * scale for column, scale in zip(columns, scales, strict=True))
        note = f"random image lies outside, at ({x:.2g}, {y:.2g})"
        axes.text(0.02, 0.02, note, transform=axes.transAxes, fontsize=6.5, color=_GREY, va="bottom")


def _paper_panel(axes: Axes, paper: Mapping[str, Mapping[str, float]], look: Mapping[str, Style]) -> None:
    metrics = FRONTIER_AXES[0]
    for method, values in sorted(paper.items()):
        x, y = (values.get(name, math.nan) * (100.0 if metric_display(name).percent else 1.0) for name in metrics)
        if math.isfinite(x) and math.isfinite(y):
            _marker(axes, x, y, look[method])
    axes.set_facecolor("#F7F7F5")
    axes.margins(0.12)
    axes.set_xlabel(_axis_label(metrics[0], True))
    axes.set_ylabel(_axis_label(metrics[1], False))


def _legend(
    figure: Figure, rows: Sequence[Row], paper: Mapping[str, Mapping[str, float]], look: Mapping[str, Style]
) -> None:
    from matplotlib.lines import Line2D

    entries = {row.editor: editor_label(row.editor) for row in sorted(rows, key=lambda row: row.control)}
    for method in sorted(paper):
        entries.setdefault(method, f"{LABELS.get(method, method)} (paper only)")
    handles = [
        Line2D([], [], linestyle="none", marker=look[name].marker, markersize=6, color=look[name].colour,
               markerfacecolor="white" if look[name].control else look[name].colour, label=label)
        for name, label in entries.items()
    ]
    handles.append(Line2D([], [], color=_INK, linewidth=0.9, linestyle=(0, (4, 2)), label="Pareto front of editors"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), columnspacing=1.4,
                  handletextpad=0.5)


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
    grid = build_grid(Table(spec.name, spec.title, spec.caption, spec.task, metrics, spec.rows),
                      read_statistics(statistics), values)
    lines = [line for line in grid.lines if line.status == "ok" and not line.row.control]
    sweep = sorted(((w, line) for line in lines if (w := guidance_of(line.row.variant, default_guidance)) is not None),
                   key=lambda entry: entry[0])
    others = [line for line in lines if guidance_of(line.row.variant, default_guidance) in (None, default_guidance)]
    paper = sorted((w, found) for (_, configuration), found in paper_values(values, spec.name).items()
                   if (w := guidance_of(configuration)) is not None)
    look = styles([line.row.editor for line in lines])
    with figure_style():
        import matplotlib.pyplot as plt

        height = 0.9 + 0.19 * len(others)
        figure, panels = plt.subplots(
            3, len(metrics), figsize=(2.35 * len(metrics), 3.3 + height), layout="constrained", squeeze=False,
            height_ratios=[1.7, 1.1, height],
        )
        for column, name in enumerate(metrics):
            scale = 100.0 if metric_display(name).percent else 1.0
            cells = [(w, line.cells[column], look[line.row.editor]) for w, line in sweep]
            _sweep_panel(panels[0][column], cells, scale)
            panels[0][column].set_title(_axis_label(name), loc="left")
            reports = [(w, found[name] * scale) for w, found in paper if math.isfinite(found.get(name, math.nan))]
            _paper_sweep_panel(panels[1][column], reports)
            panels[1][column].set_xlabel("guidance scale w")
            _forest_panel(panels[2][column], others, column, scale, look, labels=column == 0)
        panels[0][0].set_ylabel("this study")
        panels[1][0].set_ylabel("paper", color=_GREY)
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
            _marker(axes, w, cell.value * scale, style)
        axes.set_xticks(xs)
        axes.set_xticklabels([f"{w:g}" for w in xs])


def _paper_sweep_panel(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    axes.set_facecolor("#F7F7F5")
    axes.plot([w for w, _ in points], [value for _, value in points], color=_GREY, linewidth=1.0, marker="o",
              markersize=4, markerfacecolor="white")
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
        bars = _errors(cell)
        axes.errorbar(cell.value * scale, position, xerr=None if bars is None else [[v[0] * scale] for v in bars],
                      fmt="none", ecolor=style.colour, elinewidth=1.0)
        _marker(axes, cell.value * scale, position, style)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(range(len(lines)))
    axes.set_yticklabels([line.row.label for line in lines] if labels else [])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)


def figure_validation(validation: Path, out_stem: Path, curves: Path | None = None) -> None:
    """Metric validation against the renderer's truth.

    Args:
        validation: CSV (check, metric, statistic, value, ci_low, ci_high, n, expectation, holds).
        out_stem: path without suffix; .pdf, .svg and .png are written.
        curves: parquet of the points behind the panels, optional.
    """
    raise NotImplementedError


def figure_qualitative(
    table: Mapping[str, Any] | Table, root: Path, out_stem: Path, cases: int = 6, worst: int = 2, seed: int = 0
) -> None:
    """Grid of cases chosen by rule, and the worst cases of each editor: see `qualitative.draw_grid`."""
    from editfrontier.qualitative import draw_grid

    draw_grid(parse_table(table), root, out_stem, cases, worst, seed)


def _frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)
