"""The figure of the metric validation: each metric against the truth that only a renderer knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.study.drawing.theme import GREY, INK
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_COLOURS = ("#0072B2", "#D98200", "#009E73", "#C2528B", "#56B4E9", "#8C6D31", "#D55E00", "#7F5FB5")
_COLUMNS = ("check", "metric", "group", "x", "y")


def draw(inputs: FigureInputs) -> Drawing:
    """Draw one panel for each check and metric of the points.

    Raises:
        UserError: the file of the points is missing, unreadable or lacks a column.
    """
    import matplotlib.pyplot as plt

    points = inputs.root / "validation.points.parquet"
    frame, _ = read_parquet(points, "Make it again with `snakemake statistics`.")
    for column in _COLUMNS:
        if column not in frame.columns:
            raise UserError(
                f"{points}: the column '{column}' is missing, expected {', '.join(_COLUMNS)}. Make it again."
            )
    panels = list(frame.dropna(subset=["x", "y"]).groupby(["check", "metric"], sort=False))
    columns = min(4, max(len(panels), 1))
    rows = -(-max(len(panels), 1) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.55 * columns, 2.5 * rows), layout="constrained", squeeze=False
    )
    for position, ((check, metric), part) in enumerate(panels):
        panel = axes.flat[position]
        _PANELS.get(str(check), _scatter)(panel, part)
        letter = chr(ord("a") + position)
        panel.set_title(f"({letter}) {metric_display(str(metric)).label}", loc="left")
    for spare in list(axes.flat)[len(panels) :]:
        spare.set_axis_off()
    if not panels:
        axes.flat[0].text(0.5, 0.5, "no checks were run", ha="center", va="center", color=GREY)
    return figure


def _groups(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), group) for name, group in part.groupby("group", sort=False)]


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(fontsize=6.3, handlelength=1.2, borderaxespad=0.2, labelspacing=0.25)


def _scatter(axes: Axes, part: pd.DataFrame) -> None:
    for (name, group), colour in zip(_groups(part), _COLOURS * 4, strict=False):
        axes.plot(
            group["x"], group["y"], linestyle="none", marker="o", markersize=2, alpha=0.4, color=colour, label=name
        )
    axes.set_xlabel("truth")
    _legend(axes, part["group"].nunique())


def _identity(axes: Axes, part: pd.DataFrame) -> None:
    edges = np.quantile(part["x"], np.linspace(0, 1, 11))
    for (name, group), colour in zip(_groups(part), _COLOURS, strict=False):
        axes.plot(
            group["x"],
            group["y"],
            linestyle="none",
            marker="o",
            markersize=1.8,
            alpha=0.16,
            color=colour,
            markeredgewidth=0,
        )
        bins = np.clip(np.searchsorted(edges, group["x"], side="right"), 1, 10)
        means = group.groupby(bins)[["x", "y"]].mean()
        axes.plot(means["x"], means["y"], color=colour, linewidth=1.5, label=name)
    axes.set_xlabel("true identity distance")
    axes.set_ylabel("identity cosine")
    _legend(axes, part["group"].nunique())


def _success(axes: Axes, part: pd.DataFrame) -> None:
    means = part.groupby("group")["y"].mean().sort_values()
    positions = range(len(means))
    axes.hlines(positions, means.clip(upper=0.5).min(), means, color="#D8D8D8", linewidth=1)
    axes.plot(means, positions, linestyle="none", marker="o", markersize=3, color=_COLOURS[0])
    axes.axvline(0.9, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set_yticks(positions)
    axes.set_yticklabels([str(name).replace("_", " ") for name in means.index], fontsize=4.8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("balanced accuracy")


def _two_sides(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    names = part["group"].str.replace(", ", ",\n")
    seaborn.boxplot(
        x=names,
        y=part["y"],
        hue=names,
        palette=_COLOURS[: names.nunique()],
        legend=False,
        width=0.5,
        linewidth=0.7,
        fliersize=1.5,
        boxprops={"alpha": 0.45},
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")


def _questions(axes: Axes, part: pd.DataFrame) -> None:
    _two_sides(axes, part)
    axes.set_xlabel("caption that is asked for, kind of image")
    axes.set_ylabel("probability of yes")


def _corruption(axes: Axes, part: pd.DataFrame) -> None:
    groups = _groups(part)
    looks = [(line, colour) for line in ("o-", "o--", "o:") for colour in _COLOURS]
    for (name, group), (line, colour) in zip(groups, looks, strict=False):
        means = group.groupby("x")["y"].mean()
        axes.plot(means.index, means, line, color=colour, markersize=2.5, linewidth=1.1, label=name.replace("_", " "))
    axes.set_xlabel("severity of corruption")
    _legend(axes, len(groups))


def _margins(axes: Axes, part: pd.DataFrame) -> None:
    axes.hist(part["y"], bins=30, color=_COLOURS[0], alpha=0.6)
    axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set_xlabel("true caption minus flipped caption")
    axes.set_ylabel("portraits")


_PANELS: Mapping[str, Callable[[Axes, pd.DataFrame], None]] = {
    "identity": _identity,
    "success": _success,
    "background": _two_sides,
    "direction": _two_sides,
    "corruption": _corruption,
    "captions": _margins,
    "questions": _questions,
}


FIGURE = Figure(
    name="validation",
    title="Validation of the metrics",
    caption="Each metric against the truth that only a rendered world knows: identity parameters, attributes, the true "
    "edit, and the severity of known corruptions.",
    alt="Panels that compare each metric with the renderer’s truth",
    draw=draw,
    needs=("validation",),
)
