"""Drift under repeated edits as small multiples: one panel a metric, one line an editor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from editfrontier.study.designs.chains import DEVIATIONS
from editfrontier.study.drawing.plotting import axis_label, save_figure
from editfrontier.study.drawing.theme import figure_style
from editfrontier.study.results.naming import Row, Style, metric_display, row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs


def draw_drift(findings: Findings, inputs: Inputs, metrics: Sequence[str], epsilon: str, stem: Path) -> None:
    """Draw a panel for each metric: a line an editor with its interval, and for deviations the line k epsilon.

    Args:
        findings: of the analysis `drift`.
        inputs: its inputs.
        metrics: of the panels; those without findings are left out.
        epsilon: level of the line k epsilon.
        stem: path without suffix; .pdf, .svg and .png are written.
    """
    rows = list({row.variant: row for row in inputs.rows}.values())
    look = row_styles(rows)
    panels = [name for name in metrics if any(math.isfinite(f.value) for f in findings.select("mean", metric=name))]
    with figure_style():
        import matplotlib.pyplot as plt
        from matplotlib.lines import Line2D

        columns = min(3, max(len(panels), 1))
        lines = -(-max(len(panels), 1) // columns)
        size = (3.15 * columns, 2.55 * lines + 0.5)
        figure, grid = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
        flat = list(grid.flat)
        for axes in flat[len(panels) :]:
            axes.set_axis_off()
        for number, (axes, metric) in enumerate(zip(flat, panels, strict=False)):
            for row in rows:
                _draw_curve(axes, findings, row, metric, look[row.variant], epsilon)
            _label_panel(axes, metric, "abcdefgh"[number], findings)
        handles = [
            Line2D(
                [],
                [],
                color=look[row.variant].colour,
                marker=look[row.variant].marker,
                markersize=4.5,
                linewidth=1.3,
                linestyle="--" if row.control else "-",
                label=row.label,
            )
            for row in rows
        ]
        words = {"mean first edit": "k times the mean first edit", "largest edit": "k times the largest edit"}
        label = words.get(epsilon, "k times the largest first edit")
        handles.append(Line2D([], [], color="#555555", linewidth=0.9, linestyle=":", label=f"{label} (own colour)"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.4, handlelength=2.4)
        save_figure(figure, stem)


def _draw_curve(axes: Axes, findings: Findings, row: Row, metric: str, style: Style, epsilon: str) -> None:
    points = [f for f in findings.select("mean", variant=row.variant, metric=metric) if math.isfinite(f.value)]
    if not points:
        return
    colour = style.colour
    x, y = [f.x for f in points], [f.value for f in points]
    shape: dict[str, Any] = {
        "marker": style.marker,
        "markersize": 3.6,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }
    axes.plot(x, y, color=colour, linewidth=1.3, linestyle="--" if row.control else "-", zorder=3, **shape)
    if metric in DEVIATIONS and not row.control:  # the original itself
        axes.plot([0, x[0]], [_unedited(metric), y[0]], color=colour, linewidth=1.0, alpha=0.5, zorder=2.5)
    banded = [f for f in points if math.isfinite(f.ci_low) and math.isfinite(f.ci_high)]
    axes.fill_between(
        [f.x for f in banded],
        [f.ci_low for f in banded],
        [f.ci_high for f in banded],
        color=colour,
        alpha=0.0 if row.control else 0.13,
        linewidth=0,
    )
    if metric not in DEVIATIONS or row.control:
        return
    levels = (epsilon, "largest first edit")
    found = [f for level in levels if (f := findings.one("epsilon", variant=row.variant, metric=metric, level=level))]
    if found:
        line = [k * found[0].value for k in (0.0, *x)]
        values = [1 - value for value in line] if metric == "id_sim" else line
        axes.plot([0.0, *x], values, color=colour, linewidth=0.8, linestyle=":", zorder=2)


def _unedited(metric: str) -> float:
    return 1.0 if metric == "id_sim" else 0.0


def _label_panel(axes: Axes, metric: str, letter: str, findings: Findings) -> None:
    held = [f for f in findings.select("mean", metric=metric) if math.isfinite(f.value)]
    ends = [value for f in held for value in (f.value, f.ci_low, f.ci_high) if math.isfinite(value)]
    if metric in DEVIATIONS:
        ends.append(_unedited(metric))
    margin = 0.06 * (max(ends) - min(ends) or 1.0)
    # The lines k epsilon may leave the panel; the measured curves decide what is seen.
    axes.set_ylim(min(ends) - margin, max(ends) + margin)
    axes.set_xlim(0 if metric in DEVIATIONS else 0.7, max(f.x for f in held) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("edits k")
    axes.set_ylabel(axis_label(metric))
    axes.set_title(f"({letter}) {metric_display(metric).label}", loc="left")
