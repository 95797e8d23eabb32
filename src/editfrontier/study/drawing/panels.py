"""Figures of several panels: the grid, letters and labels, the legend below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(
    count: int, size: tuple[float, float], columns: int = 4, below: float = 0.0, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, at least one, row by row; places without a panel stay blank.

    Args:
        count: panels.
        size: width and height of a panel in inches.
        columns: most panels in a row.
        below: height in inches of what stands below the panels.
        options: of `plt.subplots`.
    """
    import matplotlib.pyplot as plt

    columns = min(max(count, 1), columns)
    rows = -(-max(count, 1) // columns)
    figsize = (size[0] * columns, size[1] * rows + below)
    figure, grid = plt.subplots(rows, columns, figsize=figsize, layout="constrained", squeeze=False, **options)
    for axes in list(grid.flat)[count:]:
        axes.set_axis_off()
    return figure, list(grid.flat)[: max(count, 1)]


def title(axes: Axes, text: str, place: int | None = None, **options: Any) -> None:
    """Write the title of a panel, with the letter of its place among the panels."""
    axes.set_title(text if place is None else f"({chr(ord('a') + place)}) {text}", loc="left", **options)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int = 4) -> None:
    """Write a legend below the panels; entries of one label are one."""
    # Given as handles: matplotlib would leave out labels that start with an underscore.
    entries: dict[str, Artist] = {}
    for handle in handles:
        entries.setdefault(str(handle.get_label()), handle)
    if entries:
        look = {"ncols": min(columns, len(entries)), "columnspacing": 1.5, "handlelength": 2.4}
        figure.legend(handles=list(entries.values()), loc="outside lower center", **look)


def drawn(axes: Sequence[Axes]) -> list[Artist]:
    """Return what is drawn with a label in panels."""
    return [handle for panel in axes for handle in panel.get_legend_handles_labels()[0]]


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a panel 0, 1, ... from top to bottom."""
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)


def plain_ticks(axes: Axes, axis: str, ticks: Sequence[float], labels: Sequence[str] = ()) -> None:
    """Set the ticks of an axis ("x" or "y"), with plain numbers unless there are labels, and none between them."""
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_ticks(ticks, labels or [f"{tick:g}" for tick in ticks])
    chosen.set_ticks([], minor=True)


def scale_of(metric: str) -> float:
    """Return what values of a metric are multiplied with where readers see them."""
    return 100.0 if metric_display(metric).percent else 1.0


def axis_label(metric: str, fidelity: bool | None = None) -> str:
    """Return the label of an axis: metric, unit, direction; with the axis of the plane before it, if given."""
    display = metric_display(metric)
    unit = "%" if display.percent else display.unit
    name = f"{display.label}{f' [{unit}]' if unit else ''} {display.arrow}".strip()
    return name if fidelity is None else f"{'Fidelity' if fidelity else 'Controllability'}: {name}"
