"""Values with their intervals: the one way in which figures draw them.

Intervals are columns of a table that the study computed; seaborn draws, and estimates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from editfrontier.statistics.estimate import Estimate
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class Point(NamedTuple):
    """A value at a place, and the bounds of its interval (NaN = none)."""

    place: float
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour.

    Attributes:
        points: a point without a finite value is left out.
        style: colour and marker ("" = none); the markers of a control are hollow.
        label: in the legend.
        dashes: of the line through the points (see `theme`), None for no line.
    """

    points: Sequence[Point]
    style: Style
    label: str = ""
    dashes: tuple[float, ...] | None = None


def of_estimate(place: float, estimate: Estimate, scale: float = 1.0) -> Point:
    """Return the point of a number with its interval, for example of a table."""
    return Point(place, estimate.value * scale, estimate.low * scale, estimate.high * scale)


def of_finding(row: Finding, place: float | None = None, scale: float = 1.0) -> Point:
    """Return the point of a finding, at its own place `x` if none is given."""
    return of_estimate(row.x if place is None else place, row, scale)


def line_of(
    rows: Sequence[Finding], colour: str, label: str = "", dashes: tuple[float, ...] = (), marker: str = ""
) -> Series:
    """Return the line through findings at their own places."""
    return Series([of_finding(row) for row in rows], Style(colour, marker, False), label, dashes)


def draw_intervals(
    axes: Axes,
    series: Sequence[Series],
    *,
    horizontal: bool = False,
    band: bool = False,
    width: float = 1.2,
    size: float = 6.5,
) -> None:
    """Draw series of values with intervals: bars or bands, lines through them, markers.

    Args:
        axes: linear or logarithmic; on a logarithmic axis, points that are not positive have no place.
        series: the later over the earlier.
        horizontal: places are on the vertical axis.
        band: intervals are a band around the line, without width where there is none; controls have no band.
        width: of lines.
        size: of markers, in points.
    """
    import seaborn

    frame = _table(axes, series, horizontal)
    labels = axes.get_xlabel(), axes.get_ylabel()
    colours = {str(number): entry.style.colour for number, entry in enumerate(series)}
    for name, part in frame.groupby("series", sort=False):
        _draw_spread(axes, part, series[int(str(name))].style, horizontal, band)
    lines: dict[str, Any] = {
        str(number): entry.dashes or "" for number, entry in enumerate(series) if entry.dashes is not None
    }
    shared: dict[str, Any] = {
        "x": "value" if horizontal else "place",
        "y": "place" if horizontal else "value",
        "hue": "series",
    }
    if not (lined := frame[frame["series"].isin(list(lines))]).empty:
        options: dict[str, Any] = {
            "errorbar": None,
            "estimator": None,
            "sort": False,
            "legend": False,
            "markers": False,
        }
        seaborn.lineplot(lined, **shared, style="series", dashes=lines, palette=colours, lw=width, ax=axes, **options)
    marked = frame[[bool(series[int(name)].style.marker) for name in frame["series"]]]
    if not marked.empty:
        styles = [series[int(name)].style for name in marked["series"]]
        hollow = {str(number): "white" if s.style.control else s.style.colour for number, s in enumerate(series)}
        markers = {str(number): entry.style.marker or "o" for number, entry in enumerate(series)}
        edges = [style.colour if style.control else "white" for style in styles]
        areas = [(1.4 * size if style.marker == "*" else size) ** 2 for style in styles]
        widths = [1.2 if style.control else 0.7 * size / 6.5 for style in styles]
        shared |= {"style": "series", "palette": hollow}
        seaborn.scatterplot(
            marked, **shared, markers=markers, s=areas, edgecolor=edges, lw=widths, zorder=3, legend=False, ax=axes
        )
    axes.set(xlabel=labels[0], ylabel=labels[1])


def draw_bars(axes: Axes, series: Sequence[Series], *, horizontal: bool = False) -> None:
    """Draw the intervals of series alone, as bars."""
    frame = _table(axes, series, horizontal)
    for name, part in frame.groupby("series", sort=False):
        _draw_spread(axes, part, series[int(str(name))].style, horizontal, band=False)


def _table(axes: Axes, series: Sequence[Series], horizontal: bool) -> pd.DataFrame:
    """Return the points as a table: series (its number), place, value, low, high."""
    import pandas as pd

    rows = [(str(number), *point) for number, entry in enumerate(series) for point in entry.points]
    frame = pd.DataFrame(rows, columns=["series", "place", "value", "low", "high"])
    frame = frame.astype(dict.fromkeys(("place", "value", "low", "high"), "float64")).dropna(subset=["value"])
    across, up = ("value", "place") if horizontal else ("place", "value")
    for column, scale in ((across, axes.get_xscale()), (up, axes.get_yscale())):
        if scale == "log":
            frame = frame[frame[column] > 0]
    return frame


def _draw_spread(axes: Axes, part: pd.DataFrame, style: Style, horizontal: bool, band: bool) -> None:
    if band:
        low, high = (part[name].fillna(part["value"]) for name in ("low", "high"))
        alpha = 0.0 if style.control else 0.15
        axes.fill_between(part["place"], low, high, color=style.colour, alpha=alpha, linewidth=0)
        return
    part = part.dropna(subset=["low", "high"])
    draw = axes.hlines if horizontal else axes.vlines
    draw(part["place"], part["low"], part["high"], colors=style.colour, linewidth=1.0, alpha=0.8, zorder=2)


def handles(series: Sequence[Series], size: float = 6.0) -> list[Line2D]:
    """Return the entries of series for a legend."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [],
            [],
            color=entry.style.colour,
            marker=entry.style.marker or "none",
            markersize=size,
            markerfacecolor="white" if entry.style.control else entry.style.colour,
            linestyle="none" if entry.dashes is None else (0, entry.dashes) if entry.dashes else "-",
            label=entry.label,
        )
        for entry in series
    ]
