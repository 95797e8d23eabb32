"""Figures of sweeps and of compared levels: means with intervals, and what was found about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from editfrontier.study.drawing.plotting import axis_label, save_figure
from editfrontier.study.drawing.theme import GREY, INK, figure_style
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from editfrontier.study.findings import Finding, Findings

COLOUR = "#0072B2"
MARK = "#D55E00"
_COLUMNS = 4


def draw_sweep(
    findings: Findings, stem: Path, symbol: str, threshold: float | None = None, reported: Sequence[float] = ()
) -> None:
    """Draw one panel a metric: its means with intervals, the optimum, a change of slope and the range of the paper.

    Args:
        findings: of the analysis "sweep".
        stem: path without suffix.
        symbol: of the hyperparameter, the horizontal axis.
        threshold: a dotted line.
        reported: ends of the paper's range, shaded.
    """
    metrics = list(dict.fromkeys(row.metric for row in findings.select("mean")))
    with figure_style():
        panels = _panels(len(metrics), 2.35, 2.1)
        for axes, metric in zip(panels, metrics, strict=True):
            means = [row for row in findings.select("mean", metric=metric) if math.isfinite(row.value)]
            if reported:
                axes.axvspan(*reported, color="#F1EBD8", linewidth=0, label="best by the paper")
            if threshold is not None:
                axes.axvline(threshold, color=GREY, linestyle=":", linewidth=0.9, label=f"{symbol} = {threshold:g}")
            _curve(axes, means, metric)
            _optimum(axes, findings, metric)
            _bend(axes, findings, metric)
            axes.set_title(axis_label(metric), loc="left")
            axes.set_xlabel(symbol)
        _legend(panels)
        save_figure(panels[0].figure, stem)  # type: ignore[arg-type]


def _legend(panels: Sequence[Axes]) -> None:
    """Explain below the panels what any of them shows."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        panels[0].figure.legend(found.values(), found, loc="outside lower left", ncols=len(found))


def _panels(count: int, width: float, height: float) -> list[Axes]:
    columns = min(max(count, 1), _COLUMNS)
    rows = -(-max(count, 1) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False)
    for axes in list(grid.flat)[count:]:
        axes.set_axis_off()
    return list(grid.flat)[: max(count, 1)]


def _scale(metric: str) -> float:
    return 100.0 if metric_display(metric).percent else 1.0


def _ends(row: Finding) -> tuple[float, float]:
    """Bounds of an interval, the value itself where there is none."""
    finite = math.isfinite(row.ci_low) and math.isfinite(row.ci_high)
    return (row.ci_low, row.ci_high) if finite else (row.value, row.value)


def _curve(axes: Axes, means: Sequence[Finding], metric: str) -> None:
    if not means:
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color=GREY)
        return
    scale, x = _scale(metric), [row.x for row in means]
    bounds = [_ends(row) for row in means]
    axes.fill_between(
        x,
        [scale * low for low, _ in bounds],
        [scale * high for _, high in bounds],
        color=COLOUR,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(x, [scale * row.value for row in means], color=COLOUR, marker="o", markersize=3.2, linewidth=1.2)


def _optimum(axes: Axes, findings: Findings, metric: str) -> None:
    best = findings.one("optimum", metric=metric)
    if best is None:
        return
    low, high = _ends(best)
    # On the lower edge of the panel, so that it covers no curve.
    where = axes.get_xaxis_transform()
    axes.plot([low, high], [0.03, 0.03], transform=where, color=MARK, linewidth=2.0, solid_capstyle="butt", alpha=0.6)
    axes.plot(best.value, 0.03, transform=where, color=MARK, marker="v", markersize=5, linestyle="none", label="best")


def _bend(axes: Axes, findings: Findings, metric: str) -> None:
    bend, p = (findings.one(name, metric=metric) for name in ("break", "p_break"))
    if bend is not None and p is not None and p.value <= 0.05:
        axes.axvline(bend.value, color=INK, linestyle="--", linewidth=0.8, label="change of slope")
        axes.axvspan(*_ends(bend), color=INK, alpha=0.05, linewidth=0)


def draw_levels(findings: Findings, stem: Path) -> None:
    """Draw one panel a metric: means of the levels above, paired differences below, solid where significant."""
    metrics = list(dict.fromkeys(row.metric for row in findings.select("mean")))
    levels = list(dict.fromkeys(row.level for row in findings.select("mean") if row.level))
    pairs = list(dict.fromkeys(row.level for row in findings.select("difference") if row.level))
    with figure_style():
        import matplotlib.pyplot as plt

        figure, grid = plt.subplots(
            2,
            max(len(metrics), 1),
            figsize=(1.9 * max(len(metrics), 1) + 1.6, 0.24 * (len(levels) + len(pairs)) + 1.5),
            layout="constrained",
            squeeze=False,
            height_ratios=[len(levels) + 1, len(pairs) + 1],
        )
        for column, metric in enumerate(metrics):
            above, below = grid[0][column], grid[1][column]
            _forest(above, levels, findings.select("mean", metric=metric), metric, [True] * len(levels))
            above.set_title(axis_label(metric), loc="left")
            tested = [findings.one("p", metric=metric, level=pair) for pair in pairs]
            solid = [row is not None and row.value <= 0.05 for row in tested]
            _forest(below, pairs, findings.select("difference", metric=metric), metric, solid)
            below.axvline(0.0, color=GREY, linewidth=0.8)
            below.set_xlabel("difference")
            if column:
                above.set_yticklabels([])
                below.set_yticklabels([])
        save_figure(figure, stem)


def _forest(axes: Axes, names: Sequence[str], rows: Sequence[Finding], metric: str, solid: Sequence[bool]) -> None:
    scale = _scale(metric)
    for place, (name, filled) in enumerate(zip(names, solid, strict=True)):
        row = next((row for row in rows if row.level == name and math.isfinite(row.value)), None)
        if row is None:
            continue
        low, high = _ends(row)
        axes.plot([scale * low, scale * high], [place, place], color=COLOUR, linewidth=1.0)
        axes.plot(
            scale * row.value,
            place,
            marker="o",
            markersize=4.5,
            color=COLOUR,
            markerfacecolor=COLOUR if filled else "white",
            linestyle="none",
        )
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels(names)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1)


def draw_strength(findings: Findings, stem: Path, measures: Mapping[str, str]) -> None:
    """Draw the deviation over the noise, all of it and beyond the autoencoder, with line and proportionality.

    Args:
        findings: of the analysis "strength".
        stem: path without suffix.
        measures: "noise" and "excess" -> level of the findings of their laws.
    """
    with figure_style():
        panels = _panels(2, 3.1, 2.6)
        for axes, quantity, key in zip(panels, ("deviation", "excess"), ("noise", "excess"), strict=True):
            rows = [row for row in findings.select(quantity) if math.isfinite(row.value)]
            for row in rows:
                low, high = _ends(row)
                axes.plot([row.x, row.x], [low, high], color=COLOUR, linewidth=1.0)
                axes.plot(row.x, row.value, marker="o", markersize=4, color=COLOUR, linestyle="none")
            level = measures[key]
            intercept, slope, ratio = (findings.one(name, level=level) for name in ("intercept", "slope", "ratio"))
            if rows and intercept is not None and slope is not None and ratio is not None:
                end = max(row.x for row in rows)
                line = [intercept.value, intercept.value + slope.value * end]
                axes.plot([0, end], line, color=INK, linestyle="--", linewidth=0.9, label="line")
                axes.plot([0, end], [0, ratio.value * end], color=MARK, linewidth=0.9, label="proportional")
            axes.set_xlim(left=0)
            axes.set_xlabel(r"noise at the start, $\sqrt{1-\bar\alpha_{T_s}}$", parse_math=True)
        floor = findings.one("floor")
        if floor is not None:
            panels[0].axhline(floor.value, color=GREY, linestyle=":", linewidth=0.9, label="autoencoder alone")
        panels[0].set_title("Deviation from the source (RMS)", loc="left")
        panels[1].set_title("Beyond the autoencoder alone", loc="left")
        panels[0].legend(loc="upper left")
        save_figure(panels[0].figure, stem)  # type: ignore[arg-type]
