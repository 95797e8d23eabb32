"""Figures of sweeps and of compared levels: means with intervals, and what was found about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editfrontier.study.drawing.intervals import Series, draw_intervals, of_finding
from editfrontier.study.drawing.panels import axis_label, drawn, legend_below, name_rows, panels, scale_of, title
from editfrontier.study.drawing.theme import BLUE, GREY, INK, SOLID, VERMILION
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editfrontier.study.findings import Finding, Findings
    from editfrontier.study.inputs import Inputs

STRENGTHS = {
    "noise": "against sqrt(1 - alpha_bar)",
    "excess": "beyond the autoencoder",
    "strength": "against the strength",
}
"""Axis of a law of the deviation -> level of its findings, in the analysis "strength"."""
_MARKED, _HOLLOW = Style(BLUE, "o", False), Style(BLUE, "o", True)


def draw_sweep(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw one panel a metric: its means with intervals, the optimum, a change of slope and the range of the paper."""
    metrics = list(dict.fromkeys(row.metric for row in findings.select("mean")))
    symbol, threshold = params.symbol or params.param, params.threshold
    figure, grid = panels(len(metrics), (2.35, 2.1))
    for axes, metric in zip(grid, metrics, strict=False):
        means = [of_finding(row, scale=scale_of(metric)) for row in findings.select("mean", metric=metric)]
        if params.reported:
            axes.axvspan(*params.reported, color="#F1EBD8", linewidth=0, label="best by the paper")
        if threshold is not None:
            axes.axvline(threshold, color=GREY, linestyle=":", linewidth=0.9, label=f"{symbol} = {threshold:g}")
        if not any(math.isfinite(point.value) for point in means):
            axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color=GREY)
        draw_intervals(axes, [Series(means, _MARKED, dashes=SOLID)], band=True, size=3.6)
        _optimum(axes, findings, metric)
        _bend(axes, findings, metric)
        title(axes, axis_label(metric))
        axes.set_xlabel(symbol)
    legend_below(figure, drawn(grid))
    return figure


def _ends(row: Finding) -> tuple[float, float]:
    """Bounds of an interval, the value itself where there is none."""
    finite = math.isfinite(row.low) and math.isfinite(row.high)
    return (row.low, row.high) if finite else (row.value, row.value)


def _optimum(axes: Axes, findings: Findings, metric: str) -> None:
    best = findings.one("optimum", metric=metric)
    if best is None:
        return
    # On the lower edge of the panel, so that it covers no curve.
    where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": VERMILION}
    axes.plot(_ends(best), [0.03, 0.03], linewidth=2.0, solid_capstyle="butt", alpha=0.6, **where)
    axes.plot(best.value, 0.03, marker="v", markersize=5, linestyle="none", label="best", **where)


def _bend(axes: Axes, findings: Findings, metric: str) -> None:
    bend, p = (findings.one(name, metric=metric) for name in ("break", "p_break"))
    if bend is not None and p is not None and p.value <= 0.05:
        axes.axvline(bend.value, color=INK, linestyle="--", linewidth=0.8, label="change of slope")
        axes.axvspan(*_ends(bend), color=INK, alpha=0.05, linewidth=0)


def draw_levels(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw one panel a metric: means of the levels above, paired differences below, solid where significant."""
    import matplotlib.pyplot as plt

    metrics = list(dict.fromkeys(row.metric for row in findings.select("mean")))
    levels = list(dict.fromkeys(row.level for row in findings.select("mean") if row.level))
    pairs = list(dict.fromkeys(row.level for row in findings.select("difference") if row.level))
    count = max(len(metrics), 1)
    size = 1.9 * count + 1.6, 0.24 * (len(levels) + len(pairs)) + 1.5
    heights = [len(levels) + 1, len(pairs) + 1]
    figure, grid = plt.subplots(2, count, figsize=size, layout="constrained", squeeze=False, height_ratios=heights)
    for column, metric in enumerate(metrics):
        above, below = grid[:, column]
        _forest(above, levels, findings.select("mean", metric=metric), column == 0)
        title(above, axis_label(metric))
        tested = [findings.one("p", metric=metric, level=pair) for pair in pairs]
        clear = {pair for pair, p in zip(pairs, tested, strict=True) if p is not None and p.value <= 0.05}
        _forest(below, pairs, findings.select("difference", metric=metric), column == 0, clear)
        below.axvline(0.0, color=GREY, linewidth=0.8)
        below.set_xlabel("difference")
    return figure


def _forest(
    axes: Axes, names: Sequence[str], rows: Sequence[Finding], named: bool, clear: set[str] | None = None
) -> None:
    """Draw a row for each name; `clear` are those that are solid, None = all."""
    series = [
        Series(
            [of_finding(row, names.index(row.level), scale_of(row.metric))],
            _MARKED if clear is None or row.level in clear else _HOLLOW,
        )
        for row in rows
        if row.level in names
    ]
    draw_intervals(axes, series, horizontal=True, size=5)
    name_rows(axes, names if named else [""] * len(names))
    axes.margins(x=0.1)


def draw_strength(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw the deviation over the noise, all of it and beyond the autoencoder, with line and proportionality."""
    figure, grid = panels(2, (3.1, 2.6))
    for axes, quantity, key in zip(grid, ("deviation", "excess"), ("noise", "excess"), strict=True):
        points = [of_finding(row) for row in findings.select(quantity) if math.isfinite(row.value)]
        draw_intervals(axes, [Series(points, _MARKED)], size=4.5)
        laws = [findings.one(name, level=STRENGTHS[key]) for name in ("intercept", "slope", "ratio")]
        if points and all(laws):
            intercept, slope, ratio = (law.value for law in laws if law)
            end = max(point.place for point in points)
            axes.plot([0, end], [intercept, intercept + slope * end], color=INK, ls="--", lw=0.9, label="line")
            axes.plot([0, end], [0, ratio * end], color=VERMILION, lw=0.9, label="proportional")
        axes.set_xlim(left=0)
        axes.set_xlabel(r"noise at the start, $\sqrt{1-\bar\alpha_{T_s}}$", parse_math=True)
    floor = findings.one("floor")
    if floor is not None:
        grid[0].axhline(floor.value, color=GREY, linestyle=":", linewidth=0.9, label="autoencoder alone")
    title(grid[0], "Deviation from the source (RMS)")
    title(grid[1], "Beyond the autoencoder alone")
    grid[0].legend(loc="upper left")
    return figure
