"""The ablation of mask-guided editing: metrics over the guidance scale, as measured and as reported; other rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, of_estimate
from editfrontier.study.drawing.panels import axis_label, name_rows, plain_ticks, scale_of, title
from editfrontier.study.drawing.theme import GREY, PAPER, SOLID
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.naming import Style, guidance_of, paper_values, read_reported, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

METRICS = ("fid", "id_sim", "clip_score", "lpips_bg_spatial")
"""Columns of panels, as far as the table has them."""
DEFAULT_GUIDANCE = 7.5
"""Guidance scale of a variant that does not override it."""


def draw(inputs: FigureInputs) -> Drawing:
    """Draw a column of panels for each metric: over the guidance scale, the same in the paper, further rows."""
    import matplotlib.pyplot as plt

    listed = inputs.table.metrics
    metrics = tuple(name for name in METRICS if name in listed) or listed[:4]
    lines = [line for line in inputs.grid(metrics).lines if line.status == "ok" and not line.row.control]
    scales = [(guidance_of(line.row.variant, DEFAULT_GUIDANCE), line) for line in lines]
    sweep = sorted(((w, line) for w, line in scales if w is not None), key=lambda entry: entry[0])
    others = [line for w, line in scales if w in (None, DEFAULT_GUIDANCE)]
    paper = sorted(
        (w, values)
        for (_, configuration), values in paper_values(read_reported(inputs.reported), inputs.table.name).items()
        if (w := guidance_of(configuration)) is not None
    )
    look = styles([line.row.editor for line in lines])
    count, height = len(metrics), 0.9 + 0.19 * len(others)
    size, heights = (2.35 * count, 3.3 + height), [1.7, 1.1, height]
    figure, grid = plt.subplots(3, count, figsize=size, layout="constrained", squeeze=False, height_ratios=heights)
    for column, name in enumerate(metrics):
        above, middle, below = grid[:, column]
        scale = scale_of(name)
        title(above, axis_label(name))
        _draw_sweep(above, [(w, of_estimate(w, line.cells[column], scale), look[line.row.editor]) for w, line in sweep])
        reported = [Point(w, values[name] * scale) for w, values in paper if math.isfinite(values.get(name, math.nan))]
        middle.set_facecolor(PAPER)
        draw_intervals(middle, [Series(reported, Style(GREY, "o", control=True), dashes=SOLID)], width=1.0, size=4)
        plain_ticks(middle, "x", [point.place for point in reported])
        middle.margins(y=0.2)
        middle.set_xlabel("guidance scale w")
        shown = [
            Series([of_estimate(place, line.cells[column], scale)], look[line.row.editor])
            for place, line in enumerate(others)
        ]
        draw_intervals(below, shown, horizontal=True)
        name_rows(below, [line.row.label if column == 0 else "" for line in others])
        below.margins(x=0.12)
    grid[0][0].set_ylabel("this study")
    grid[1][0].set_ylabel("paper", color=GREY)
    return figure


def _draw_sweep(axes: Axes, points: Sequence[tuple[float, Point, Style]]) -> None:
    held = [(w, point, style) for w, point, style in points if math.isfinite(point.value)]
    if held:
        line = Series([point for _, point, _ in held], replace(held[-1][2], marker=""), dashes=SOLID)
        marks = [Series([Point(w, point.value)], style) for w, point, style in held]
        draw_intervals(axes, [line, *marks], band=True)
        plain_ticks(axes, "x", [w for w, _, _ in held])


FIGURE = Figure(
    name="ablation",
    title="Ablation of mask-guided editing",
    caption="Above: each metric over the guidance scale, with 95% intervals. Middle, in grey: the values of the paper. "
    "Below: blending schedules and the readings of the paper's errata, each changed alone from the default.",
    alt="Metrics of mask-guided editing over the guidance scale, as measured and as the paper reports, and for each "
    "blending schedule and reading of the errata",
    draw=draw,
    section="ablation",
)
