"""The figure of the user study: whom people prefer, and how metrics compare with people."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from editfrontier.study.drawing.plotting import save_figure
from editfrontier.study.drawing.theme import GREY, INK, figure_style
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.results.naming import Style, metric_display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLAIN = Style("#0072B2", "o", False)


@dataclass(frozen=True)
class _Panel:
    """One panel: rows with names and styles, its words, and the value that says nothing."""

    title: str
    across: str
    rows: Sequence[Finding]
    names: Sequence[str]
    styles: Sequence[Style]
    neutral: float


def draw_responses(
    findings: Findings, people: Finding | None, labels: Mapping[str, str], styles: Mapping[str, Style], stem: Path
) -> None:
    """Draw three panels of dots with intervals.

    Args:
        findings: of the analysis `user_study`, with responses.
        people: how often people agree with the majority of the others, drawn across the metrics' panel.
        labels, styles: of editors, by variant.
        stem: of the files.
    """
    preferred, accuracy, spearman = (
        sorted((row for row in findings.select(quantity) if math.isfinite(row.value)), key=lambda row: row.value)
        for quantity in ("preferred", "accuracy", "spearman")
    )
    accuracy = [row for row in accuracy if row.metric]
    looks = [styles.get(row.variant, _PLAIN) for row in preferred]
    panels = (
        _Panel(
            "What people prefer",
            "Preferred to another editor",
            preferred,
            [labels.get(row.variant, row.variant) for row in preferred],
            looks,
            0.5,
        ),
        _Panel(
            "Metrics against the majority",
            "Comparisons judged as the majority does",
            accuracy,
            [metric_display(row.metric).label for row in accuracy],
            [_PLAIN] * len(accuracy),
            0.5,
        ),
        _Panel(
            "Metrics' order of the editors",
            "Rank correlation with people (Spearman)",
            spearman,
            [metric_display(row.metric).label for row in spearman],
            [_PLAIN] * len(spearman),
            0.0,
        ),
    )
    shown = [panel for panel in panels if panel.rows]
    with figure_style():
        height = 0.9 + 0.19 * max((len(panel.rows) for panel in shown), default=1)
        figure, places = plt.subplots(
            1, max(len(shown), 1), figsize=(3.5 * max(len(shown), 1), height), layout="constrained", squeeze=False
        )
        for axes, panel in zip(places[0], shown, strict=False):
            _draw_panel(axes, panel)
            if people is not None and panel.rows is accuracy:
                axes.axvline(people.value, color=INK, linewidth=1.0, linestyle="--")
                across = axes.get_xaxis_transform()
                axes.text(people.value, 0.01, " people", transform=across, va="bottom", fontsize=7, color=INK)
        save_figure(figure, stem)


def _draw_panel(axes: Axes, panel: _Panel) -> None:
    axes.axvline(panel.neutral, color=GREY, linewidth=0.8, linestyle=":")
    for y, (row, style) in enumerate(zip(panel.rows, panel.styles, strict=True)):
        if math.isfinite(row.ci_low):
            axes.plot([row.ci_low, row.ci_high], [y, y], color=style.colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(row.value, y, marker=style.marker, color=style.colour, markersize=5.5, linestyle="none")
    axes.set_yticks(range(len(panel.rows)), panel.names)
    axes.set_ylim(-0.7, len(panel.rows) - 0.3)
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel(panel.across)
    axes.grid(axis="y", visible=False)


def draw_waiting(note: str, stem: Path) -> None:
    """Draw that nobody has answered yet, and what to do; `note` is "what: how to mend it"."""
    head, _, how = note.partition(": ")
    with figure_style():
        figure = plt.figure(figsize=(7.2, 1.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.72, head[0].upper() + head[1:], ha="center", va="center", fontsize=13, color=INK)
        lines = textwrap.fill(how, 96)
        axes.text(0.5, 0.28, lines, ha="center", va="center", fontsize=8.5, color="#555555", linespacing=1.5)
        save_figure(figure, stem)
