"""The cost of inversion: how well each method gives a source back, over the network evaluations that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles, of_estimate
from editfrontier.study.drawing.panels import axis_label, legend_below, panels, plain_ticks, title
from editfrontier.study.drawing.theme import DOTTED, GREY, INK, SOLID
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.grids import Line
from editfrontier.study.results.naming import Style, group_styles, metric_display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

ACCURACY = ("psnr_source", "lpips_source", "latent_error")
"""Metrics of the panels, as far as the table has them."""
COST = "forwards"
_LOGARITHMIC = ("lpips_source", "latent_error")
_FLOOR_DASHES = ((5.0, 2.0), (1.5, 1.5), (6.0, 2.0, 1.5, 2.0))


def draw(inputs: FigureInputs) -> Drawing:
    """Draw a line for each group of the table's rows (its method), a floor for each control that evaluates nothing.

    The paper's points are hollow and stand at the evaluations of the row that reports them.
    """
    accuracy = [name for name in ACCURACY if name in inputs.table.metrics]
    lines = [line for line in inputs.grid((*accuracy, COST)).lines if line.status == "ok"]
    methods = lines_of_methods(lines)
    look = {name: group_styles(inputs.table.rows)[rows[0].row.variant] for name, rows in methods.items()}
    floors = {
        line.row.label: (line, _FLOOR_DASHES[place % 3])
        for place, line in enumerate(line for line in lines if line.row.control and not line.cells[-1].value > 0)
    }
    costs = [line.cells[-1].value for rows in methods.values() for line in rows]
    figure, grid = panels(len(accuracy), (3.3, 3.3))
    for column, (axes, name) in enumerate(zip(grid, accuracy, strict=False)):
        axes.set_xscale("log")
        axes.set_yscale("log" if name in _LOGARITHMIC else "linear")
        for floor, dashes in floors.values():
            value = floor.cells[column].value
            if math.isfinite(value) and (value > 0 or name not in _LOGARITHMIC):
                axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, dashes), zorder=1.2)
        for method, rows in methods.items():
            _draw_method(axes, rows, column, look[method])
        plain_ticks(axes, "x", ticks_between(costs))
        if name in _LOGARITHMIC:
            cells = [line.cells[column] for line in lines]
            plain_ticks(axes, "y", ticks_between([value for cell in cells for value in (cell.value, cell.paper)]))
        axes.set(xlabel="network evaluations, both directions", ylabel=axis_label(name))
        axes.margins(x=0.08)
        title(axes, metric_display(name).label, column)
    entries = [Series((), style, name, SOLID) for name, style in look.items()]
    entries += [Series((), Style(INK, "", False), label, dashes) for label, (_, dashes) in floors.items()]
    if any(math.isfinite(cell.paper) for line in lines for cell in line.cells[:-1]):
        entries.append(Series((), Style(GREY, "o", True), "The paper (other data, other model)", DOTTED))
    legend_below(figure, handles(entries, 5.5))
    return figure


def lines_of_methods(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return the rows of each method that are no controls, from few evaluations to many."""
    methods: dict[str, list[Line]] = {}
    for line in lines:
        if not line.row.control and math.isfinite(line.cells[-1].value):
            methods.setdefault(line.row.group or line.row.label, []).append(line)
    return {name: sorted(rows, key=lambda line: line.cells[-1].value) for name, rows in methods.items()}


def _draw_method(axes: Axes, lines: Sequence[Line], column: int, style: Style) -> None:
    """Draw the line of a method, and the paper's values dotted and hollow."""
    points = [(line.cells[-1].value, line.cells[column]) for line in lines]
    paper = Series([Point(x, cell.paper) for x, cell in points], replace(style, control=True), dashes=DOTTED)
    draw_intervals(axes, [paper], width=0.9, size=5.5)
    draw_intervals(axes, [Series([of_estimate(x, cell) for x, cell in points], style, dashes=SOLID)])


def ticks_between(values: Sequence[float]) -> list[float]:
    """Return 1, 2 and 5 times powers of ten that span the positive values, at least two of them."""
    positive = [value for value in values if value > 0] or [1.0, 10.0]  # NaN is not above 0
    ladder = [float(f"{factor}e{power}") for power in range(-9, 9) for factor in (1, 2, 5)]
    low = max((step for step in ladder if step <= min(positive)), default=ladder[0])
    high = min((step for step in ladder if step >= max(positive) and step > low), default=ladder[-1])
    return [step for step in ladder if low <= step <= high]


FIGURE = Figure(
    name="inversion",
    title="Cost of inversion",
    caption="How well each method gives a source back over the network evaluations that it takes there and back, one "
    "line a method with 95% intervals. Horizontal lines: the autoencoders alone, without any inversion. Hollow marks: "
    "the values of the paper, at the cost of the row that lists them; it ran another model on other images.",
    alt="Accuracy of reconstruction over network evaluations, one line for each method, with the autoencoders alone as "
    "horizontal lines and the paper’s values as hollow marks; the values are in the table above",
    draw=draw,
    section="inversion",
)
