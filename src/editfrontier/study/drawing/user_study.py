"""The figure of the user study: whom people prefer, and how metrics compare with people."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from editfrontier.study.drawing.intervals import Series, draw_intervals, of_finding
from editfrontier.study.drawing.panels import name_rows, panels, title
from editfrontier.study.drawing.theme import BLUE, GREY, INK, SOFT_INK
from editfrontier.study.results.naming import Style, metric_display, row_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

PEOPLE = "people"
"""Level of the findings of people, among the findings of metrics."""

_PANELS = (
    ("preferred", "What people prefer", "Preferred to another editor", 0.5),
    ("accuracy", "Metrics against the majority", "Comparisons judged as the majority does", 0.5),
    ("spearman", "Metrics' order of the editors", "Rank correlation with people (Spearman)", 0.0),
)
"""Quantity, title, horizontal axis, and the value that says nothing."""


def draw_user_study(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw how often each editor is preferred, each metric's accuracy next to people's, and its rank correlation."""
    responses = findings.select("responses")[0]
    if not responses.value:
        return _draw_waiting(responses.note)
    looks = row_styles([row for name in inputs.experiments for row in inputs.editors(name)])
    plain, shown = Style(BLUE, "o", False), {}
    for quantity, *_ in _PANELS:
        rows = [row for row in findings.select(quantity) if math.isfinite(row.value) and (row.variant or row.metric)]
        if rows:
            shown[quantity] = sorted(rows, key=lambda row: -row.value)
    height = 0.9 + 0.19 * max(map(len, shown.values()), default=1)
    figure, grid = panels(len(shown), (3.5, height))
    known = [panel for panel in _PANELS if panel[0] in shown]
    for axes, (quantity, heading, across, neutral) in zip(grid, known, strict=False):
        rows = shown[quantity]
        axes.axvline(neutral, color=GREY, linewidth=0.8, linestyle=":")
        series = [Series([of_finding(row, y)], looks.get(row.variant, plain)) for y, row in enumerate(rows)]
        draw_intervals(axes, series, horizontal=True, size=5.5)
        names = [
            metric_display(row.metric).label if row.metric else inputs.labels.get(row.variant, row.variant)
            for row in rows
        ]
        name_rows(axes, names)
        axes.set_xlabel(across)
        axes.grid(axis="y", visible=False)
        title(axes, heading)
        people = findings.one("accuracy", level=PEOPLE)
        if people is not None and quantity == "accuracy":
            axes.axvline(people.value, color=INK, linewidth=1.0, linestyle="--")
            place = axes.get_xaxis_transform()
            axes.text(people.value, 0.01, " people", transform=place, va="bottom", fontsize=7, color=INK)
    return figure


def _draw_waiting(note: str) -> Figure:
    """Write that there are no answers yet, and what to do; `note` is "problem: fix"."""
    words, _, how = note.partition(": ")
    figure, (axes,) = panels(1, (7.2, 1.5))
    axes.set_axis_off()
    axes.text(0.5, 0.72, words[0].upper() + words[1:], ha="center", va="center", fontsize=13, color=INK)
    lines = textwrap.fill(how, 96)
    axes.text(0.5, 0.28, lines, ha="center", va="center", fontsize=8.5, color=SOFT_INK, linespacing=1.5)
    return figure
