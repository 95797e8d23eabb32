"""The cost of inversion: how well each method gives a source back, over the network evaluations that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from editfrontier.study.drawing.plotting import axis_label, draw_marker, error_bars
from editfrontier.study.drawing.theme import GREY, INK
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.grids import Line
from editfrontier.study.results.naming import (
    Style,
    group_styles,
    metric_display,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Drawing

ACCURACY = ("psnr_source", "lpips_source", "latent_error")
"""Metrics of the panels, those of them that the table has."""
COST = "forwards"
_LOGARITHMIC = ("lpips_source", "latent_error")
_FLOOR_DASHES = ((0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


def draw(inputs: FigureInputs) -> Drawing:
    """Draw a line for each group of the table's rows (its method), a floor for each control that evaluates nothing.

    The paper's points are hollow and stand at the evaluations of the row beside which they are reported.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    accuracy = [name for name in ACCURACY if name in inputs.table.metrics]
    grid = inputs.grid((*accuracy, COST))
    lines = [line for line in grid.lines if line.status == "ok"]
    methods = lines_of_methods(lines)
    look = {name: group_styles(inputs.table.rows)[found[0].row.variant] for name, found in methods.items()}
    floors = [line for line in lines if line.row.control and not line.cells[-1].value > 0]
    count = max(len(accuracy), 1)
    figure, panels = plt.subplots(1, count, figsize=(3.3 * count, 3.3), layout="constrained", squeeze=False)
    for column, name in enumerate(accuracy):
        axes = panels[0][column]
        if name in _LOGARITHMIC:
            axes.set_yscale("log")
        for place, floor in enumerate(floors):
            value = floor.cells[column].value
            if math.isfinite(value) and (value > 0 or name not in _LOGARITHMIC):
                axes.axhline(value, color=INK, linewidth=0.9, linestyle=_FLOOR_DASHES[place % 3], zorder=1.2)
        for method, found in methods.items():
            _draw_method(axes, found, column, look[method])
        _label(axes, name, [line.cells[-1].value for found in methods.values() for line in found])
        if name in _LOGARITHMIC:
            cells = [line.cells[column] for line in lines]
            _plain_ticks(axes.yaxis, [value for cell in cells for value in (cell.value, cell.paper)])
        axes.set_title(f"({'abcdef'[column]}) {metric_display(name).label}", loc="left")
    handles = [
        Line2D([], [], color=s.colour, marker=s.marker, markersize=5.5, linewidth=1.2, label=name)
        for name, s in look.items()
    ]
    for place, floor in enumerate(floors):
        dashes = _FLOOR_DASHES[place % 3]
        handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=dashes, label=floor.row.label))
    if any(math.isfinite(cell.paper) for line in lines for cell in line.cells[:-1]):
        label = "The paper (other data, other model)"
        handles.append(
            Line2D(
                [],
                [],
                color=GREY,
                linestyle=":",
                linewidth=0.9,
                marker="o",
                markersize=5.5,
                markerfacecolor="white",
                label=label,
            )
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.6, handlelength=2.6)
    return figure


def lines_of_methods(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return the rows of each method that are no controls, from few evaluations to many."""
    methods: dict[str, list[Line]] = {}
    for line in lines:
        if not line.row.control and math.isfinite(line.cells[-1].value):
            methods.setdefault(line.row.group or line.row.label, []).append(line)
    return {name: sorted(found, key=lambda line: line.cells[-1].value) for name, found in methods.items()}


def _draw_method(axes: Axes, lines: Sequence[Line], column: int, style: Style) -> None:
    points = [(line.cells[-1].value, line.cells[column]) for line in lines]
    measured = [(x, cell) for x, cell in points if math.isfinite(cell.value)]
    axes.plot([x for x, _ in measured], [cell.value for _, cell in measured], color=style.colour, linewidth=1.2)
    for x, cell in measured:
        axes.errorbar(x, cell.value, yerr=error_bars(cell), fmt="none", ecolor=style.colour, elinewidth=1.0, alpha=0.8)
        draw_marker(axes, x, cell.value, style, zorder=3)
    paper = [(x, cell.paper) for x, cell in points if math.isfinite(cell.paper)]
    axes.plot(
        [x for x, _ in paper],
        [value for _, value in paper],
        color=style.colour,
        linewidth=0.9,
        linestyle=":",
        marker=style.marker,
        markersize=5.5,
        markerfacecolor="white",
        markeredgecolor=style.colour,
        zorder=2.5,
    )


def _label(axes: Axes, name: str, evaluations: Sequence[float]) -> None:
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis, evaluations)
    axes.set_xlabel("network evaluations, both directions")
    axes.set_ylabel(axis_label(name))
    axes.margins(x=0.08)


def _plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(ticks_between(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


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
    "what the paper reports, at the cost of the row that it stands beside; it ran another model on other images.",
    alt="Accuracy of reconstruction over network evaluations, one line for each method, with the autoencoders alone as "
    "horizontal lines and the paper’s values as hollow marks; the values are in the table above",
    draw=draw,
)
