"""Compositions of edits as bars: shares retained and washed out, and effects of the order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editfrontier.study.drawing.intervals import Point, Series, draw_bars
from editfrontier.study.drawing.panels import name_rows, title
from editfrontier.study.drawing.theme import GREY, INK
from editfrontier.study.results.naming import Style, row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

PANELS = (
    ("Retained", (("both_retained", "two attributes"), ("all_retained", "three attributes"))),
    ("Lost", (("washed_out", "first edit washed out"), ("second_failed", "second edit fails"))),
    ("Order", (("order_differs", "outcome depends on the order"), ("last_minus_first", "kept better when last"))),
)
ALL = "All editors"
SHADES = (1.0, 0.45)
"""Opacity of the two bars of a panel."""
_SIZE = 0.34
"""Height of a bar with its gap; rows are 1 apart."""


def draw_composition(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw a panel of horizontal bars with intervals for each question, a group of bars for each variant.

    `params.paper` is the rate of two attributes that are both retained in the paper, None for no line.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    rows = sorted({row.variant: row for row in inputs.rows}.values(), key=lambda row: row.control)
    looks = {"": Style("#777777", "", False), **row_styles(rows)}
    names = {"": ALL} | {row.variant: row.label for row in rows}
    height = 0.36 * len(names) + 1.25
    figure, grid = plt.subplots(1, len(PANELS), figsize=(9.4, height), layout="constrained", sharey=True)
    for place, (axes, (heading, quantities)) in enumerate(zip(grid, PANELS, strict=True)):
        _draw_panel(axes, findings, {variant: looks[variant] for variant in names}, [name for name, _ in quantities])
        title(axes, heading, place)
        words = zip(SHADES, quantities, strict=True)
        shades = [Patch(facecolor=INK, alpha=shade, label=text) for shade, (_, text) in words]
        below = (0.5, -0.3 / (height - 1.25))  # a third of an inch under the axes
        axes.legend(handles=shades, loc="upper center", bbox_to_anchor=below, handlelength=1.2)
    name_rows(grid[0], list(names.values()))
    grid[0].set_ylim(len(names) - 0.4, -0.75)
    if params.paper is not None:
        grid[0].axvline(params.paper, color=GREY, linewidth=0.9, linestyle=":", zorder=1)
        grid[0].text(params.paper, -0.75, "the paper, two", ha="center", va="bottom", fontsize=6.5, color="#666666")
    return figure


def _draw_panel(axes: Axes, findings: Findings, looks: dict[str, Style], quantities: Sequence[str]) -> None:
    series, ends = [], [0.1]
    for place, (variant, look) in enumerate(looks.items()):
        for number, quantity in enumerate(quantities):
            y = place + (number - 0.5) * _SIZE
            row = next(iter(findings.select(quantity, variant=variant, level="")), None)
            if row is None or not math.isfinite(row.value):
                if variant and not look.control:
                    axes.text(0.01, y, "–", va="center", fontsize=7, color="#888888")
                continue
            face = "white" if look.control else look.colour
            frame: dict[str, Any] = {"edgecolor": look.colour, "linewidth": 0.8, "alpha": SHADES[number], "zorder": 2}
            axes.barh(y, row.value, height=_SIZE * 0.9, color=face, **frame)
            series.append(Series([Point(y, row.value, row.low, row.high)], Style(INK, "", False)))
            ends += [value for value in (row.value, row.low, row.high) if math.isfinite(value)]
    draw_bars(axes, series, horizontal=True)
    axes.axhline(0.5, color="#BBBBBB", linewidth=0.7)
    axes.axvline(0, color="#9A9A9A", linewidth=0.7, zorder=1)
    low = min(0.0, *ends)
    axes.set_xlim(low - 0.02 if low < 0 else 0, max(ends) + 0.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}".replace("-", "−"))
    axes.grid(axis="y", visible=False)
