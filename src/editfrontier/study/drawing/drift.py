"""Drift under repeated edits as small multiples: one panel a metric, one line an editor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from editfrontier.study.designs.chains import DEVIATIONS
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles, of_finding
from editfrontier.study.drawing.panels import axis_label, legend_below, panels, title
from editfrontier.study.drawing.theme import DASHED, DOTTED, SOFT_INK, SOLID
from editfrontier.study.results.naming import Style, metric_display, row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

_FIRST = "largest first edit"
_WORDS = {"mean first edit": "k times the mean first edit", "largest edit": "k times the largest edit"}


def draw_drift(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw a panel for each metric of `params.panels` that has findings: a line an editor with its interval.

    For deviations, a dotted line in the editor's colour is k times the deviation of one edit, at `params.epsilon`.
    """
    rows = list({row.variant: row for row in inputs.rows}.values())
    look = row_styles(rows)
    metrics = [
        name for name in params.panels if any(math.isfinite(f.value) for f in findings.select("mean", metric=name))
    ]
    figure, grid = panels(len(metrics), (3.15, 2.55), columns=3, below=0.5)
    for place, (axes, metric) in enumerate(zip(grid, metrics, strict=False)):
        _draw_panel(axes, findings, metric, look, params.epsilon)
        _frame(axes, findings, metric)
        title(axes, metric_display(metric).label, place)
    entries = [
        Series((), replace(look[row.variant], control=False), row.label, DASHED if row.control else SOLID)
        for row in rows
    ]
    words = _WORDS.get(params.epsilon, "k times the largest first edit")
    entries.append(Series((), Style(SOFT_INK, "", False), f"{words} (own colour)", DOTTED))
    legend_below(figure, handles(entries, 4.5))
    return figure


def _draw_panel(axes: Axes, findings: Findings, metric: str, look: Mapping[str, Style], epsilon: str) -> None:
    curves, marks, starts, bounds = [], [], [], []
    for variant, style in look.items():
        means = findings.select("mean", variant=variant, metric=metric)
        points = [of_finding(mean) for mean in means if math.isfinite(mean.value)]
        if not points:
            continue
        bare = replace(style, marker="")
        curves.append(Series(points, bare, dashes=DASHED if style.control else SOLID))
        marks.append(Series([Point(*point[:2]) for point in points], replace(style, control=False)))
        if metric not in DEVIATIONS or style.control:
            continue
        first, unedited = Point(*points[0][:2]), _unedited(metric)
        starts.append(Series([Point(0, unedited), first], bare, dashes=SOLID))
        levels = [findings.one("epsilon", variant=variant, metric=metric, level=level) for level in (epsilon, _FIRST)]
        if known := [finding.value for finding in levels if finding]:
            sign = -1.0 if metric == "id_sim" else 1.0
            line = [Point(k, unedited + sign * k * known[0]) for k in (0.0, *(point.place for point in points))]
            bounds.append(Series(line, bare, dashes=DOTTED))
    draw_intervals(axes, bounds, width=0.8)
    draw_intervals(axes, starts, width=0.6)
    draw_intervals(axes, [*curves, *marks], band=True, width=1.3, size=3.6)


def _unedited(metric: str) -> float:
    return 1.0 if metric == "id_sim" else 0.0


def _frame(axes: Axes, findings: Findings, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    held = [f for f in findings.select("mean", metric=metric) if math.isfinite(f.value)]
    ends = [value for f in held for value in (f.value, f.low, f.high) if math.isfinite(value)]
    ends += [_unedited(metric)] if metric in DEVIATIONS else []
    margin = 0.06 * (max(ends) - min(ends) or 1.0)
    # The lines k epsilon may leave the panel; the measured curves decide what is seen.
    axes.set_ylim(min(ends) - margin, max(ends) + margin)
    axes.set_xlim(0 if metric in DEVIATIONS else 0.7, max(f.x for f in held) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="edits k", ylabel=axis_label(metric))
