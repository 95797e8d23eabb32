"""The figure of the trade-off over tasks: one panel a task, every editor with its resamples as an ellipse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.study.designs.planes import planes_of
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles
from editfrontier.study.drawing.panels import legend_below, panels, title
from editfrontier.study.drawing.theme import GREY, INK
from editfrontier.study.results.naming import Style, row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editfrontier.statistics.bootstrap import Array
    from editfrontier.study.designs.planes import TradeoffPlane
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

LEVEL = 0.95


def draw_regimes(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw one panel a task with every editor's resamples as an ellipse, and the share of resamples on the front."""
    planes, _ = planes_of(inputs)
    headings = {table.task: table.title for table in inputs.experiments.values()}
    rows = dict(pair for plane in reversed(planes) for pair in zip(plane.keys, plane.rows, strict=True))
    order = list(dict.fromkeys(key for plane in planes for key in plane.keys))
    styles = row_styles([rows[key] for key in order])
    look = {key: styles[rows[key].variant] for key in order}
    figure, grid = panels(len(planes), (3.5, 3.1), columns=3 if len(planes) == 3 else 2, below=0.5)
    for place, (axes, plane) in enumerate(zip(grid, planes, strict=False)):
        _draw_plane(axes, findings, plane, look)
        title(axes, headings.get(plane.name, plane.name), place)
    legend_below(figure, handles([Series((), replace(look[key], control=False), rows[key].label) for key in order]))
    return figure


def _draw_plane(axes: Axes, findings: Findings, plane: TradeoffPlane, look: dict[str, Style]) -> None:
    styles, points = [look[key] for key in plane.keys], [Point(float(x), float(y)) for x, y in plane.points]
    for place, (row, style) in enumerate(zip(plane.rows, styles, strict=True)):
        outline = ellipse(plane.resampled[:, place])
        axes.fill(*outline.T, facecolor=(style.colour, 0.16), edgecolor=(style.colour, 0.6), linewidth=0.7)
        if (share := findings.one("on_front", variant=row.variant, level=plane.name)) is not None:
            shift: dict[str, Any] = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 6, "color": INK}
            axes.annotate(f"{share.value:.2f}", points[place][:2], **shift)
    draw_intervals(axes, [Series([point], style) for point, style in zip(points, styles, strict=True)])
    axes.set(xlabel="Fidelity ↑", ylabel="Controllability ↑")
    groups = findings.one("regimes", level=plane.name)
    if groups is not None:
        share = findings.one("regimes_share", level=plane.name, x=groups.value)
        part = f" in {share.value:.0%} of resamples" if share else ""
        text = f"groups by the gap statistic: {groups.value:.0f}{part}"
        axes.text(0.02, 0.015, text, transform=axes.transAxes, fontsize=6.3, color=GREY, va="bottom")


def ellipse(resampled: Array, level: float = LEVEL, steps: int = 73) -> Array:
    """Return points [steps, 2] on the ellipse that holds a share of resamples [R, 2], were they normal."""
    from scipy.special import chdtri

    kept = resampled[np.isfinite(resampled).all(axis=1)]
    if len(kept) < 3:
        return np.full((steps, 2), np.nan)
    values, vectors = np.linalg.eigh(np.cov(kept.T))
    turn = np.linspace(0, 2 * np.pi, steps)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    radius = math.sqrt(float(chdtri(2, 1 - level)))
    outline = kept.mean(axis=0)[:, None] + radius * vectors @ (np.sqrt(values.clip(min=0))[:, None] * circle)
    return np.asarray(outline.T)
