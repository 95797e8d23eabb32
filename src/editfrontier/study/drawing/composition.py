"""Compositions of edits as bars: what is retained, what is washed out, and what the order does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.study.drawing.plotting import save_figure
from editfrontier.study.drawing.theme import INK, figure_style
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Row, row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

PANELS = (
    ("Retained", (("both_retained", "two attributes"), ("all_retained", "three attributes"))),
    ("Lost", (("washed_out", "first edit washed out"), ("second_failed", "second edit fails"))),
    (
        "Order",
        (("order_differs", "outcome depends on the order"), ("last_minus_first", "kept better when last")),
    ),
)
ALL = "All editors"
SHADES = (1.0, 0.45)
"""Opacity of the two bars of a panel."""


def draw_composition(findings: Findings, inputs: Inputs, paper: float | None, stem: Path) -> None:
    """Draw a panel of horizontal bars with intervals for each question, a group of bars for each variant.

    Args:
        findings: of the analysis `composition`.
        inputs: its inputs.
        paper: rate of two attributes that are both retained in the paper, None for no line.
        stem: path without suffix; .pdf, .svg and .png are written.
    """
    rows = list({row.variant: row for row in inputs.rows}.values())
    look = row_styles(rows)
    entries: list[tuple[str, str, str, bool]] = [("", ALL, "#777777", False)]
    entries += [(row.variant, row.label, look[row.variant].colour, row.control) for row in _ordered(rows)]
    with figure_style():
        import matplotlib.pyplot as plt
        from matplotlib.patches import Patch

        height = 0.36 * len(entries) + 1.25
        figure, panels = plt.subplots(1, len(PANELS), figsize=(9.4, height), layout="constrained", sharey=True)
        for letter, axes, (title, quantities) in zip("abc", panels, PANELS, strict=True):
            _draw_panel(axes, findings, entries, [name for name, _ in quantities])
            axes.set_title(f"({letter}) {title}", loc="left")
            labels = zip(SHADES, quantities, strict=True)
            shades = [Patch(facecolor=INK, alpha=shade, label=text) for shade, (_, text) in labels]
            below = (0.5, -0.3 / (height - 1.25))  # a third of an inch under the axes
            axes.legend(handles=shades, loc="upper center", bbox_to_anchor=below, handlelength=1.2)
        if paper is not None:
            panels[0].axvline(paper, color="#8A8A8A", linewidth=0.9, linestyle=":", zorder=1)
            panels[0].text(paper, -0.75, "the paper, two", ha="center", va="bottom", fontsize=6.5, color="#666666")
        panels[0].set_yticks(range(len(entries)), [label for _, label, _, _ in entries])
        panels[0].set_ylim(len(entries) - 0.4, -0.75)
        save_figure(figure, stem)


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Editors first, controls behind them."""
    return sorted(rows, key=lambda row: row.control)


def _draw_panel(
    axes: Axes,
    findings: Findings,
    entries: Sequence[tuple[str, str, str, bool]],
    quantities: Sequence[str],
) -> None:
    size = 0.34
    low, high = 0.0, 0.1
    for place, (variant, _, colour, control) in enumerate(entries):
        for number, quantity in enumerate(quantities):
            found = findings.select(quantity, variant=variant, level="")
            row: Finding | None = found[0] if found and math.isfinite(found[0].value) else None
            y = place + (number - 0.5) * size
            if row is None:
                if variant == "" or control:
                    continue
                axes.text(0.01, y, "–", va="center", fontsize=7, color="#888888")
                continue
            axes.barh(
                y,
                row.value,
                height=size * 0.9,
                color="white" if control else colour,
                edgecolor=colour,
                linewidth=0.8,
                alpha=SHADES[number],
                zorder=2,
            )
            if math.isfinite(row.ci_low) and math.isfinite(row.ci_high):
                axes.plot([row.ci_low, row.ci_high], [y, y], color=INK, linewidth=0.9, zorder=3)
                low, high = min(low, row.ci_low), max(high, row.ci_high)
            low, high = min(low, row.value), max(high, row.value)
    axes.axhline(0.5, color="#BBBBBB", linewidth=0.7)
    axes.axvline(0, color="#9A9A9A", linewidth=0.7, zorder=1)
    axes.set_xlim(low - 0.02 if low < 0 else 0, high + 0.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}".replace("-", "−"))
    axes.grid(axis="y", visible=False)
