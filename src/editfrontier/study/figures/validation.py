"""The figure of the metric validation: each metric against the truth that only a renderer knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.study.drawing.panels import panels, title
from editfrontier.study.drawing.theme import BLUE, DASHED, DOTTED, GREY, INK, PALETTE
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_COLUMNS = ("check", "metric", "group", "x", "y")


def draw(inputs: FigureInputs) -> Drawing:
    """Draw one panel for each check and metric of the points.

    Raises:
        UserError: the file of the points is missing, unreadable or lacks a column.
    """
    points = inputs.root / "validation.points.parquet"
    frame, _ = read_parquet(points, "Make it again with `snakemake statistics`.")
    for column in _COLUMNS:
        if column not in frame.columns:
            raise UserError(
                f"{points}: the column '{column}' is missing, expected {', '.join(_COLUMNS)}. Make it again."
            )
    checks = list(frame.dropna(subset=["x", "y"]).groupby(["check", "metric"], sort=False))
    figure, grid = panels(len(checks), (2.55, 2.5))
    for place, (axes, ((check, metric), part)) in enumerate(zip(grid, checks, strict=False)):
        _PANELS.get(str(check), _scatter)(axes, part.reset_index(drop=True))
        title(axes, metric_display(str(metric)).label, place)
    if not checks:
        grid[0].text(0.5, 0.5, "no checks were run", ha="center", va="center", color=GREY)
    return figure


def _colours(part: pd.DataFrame) -> dict[str, Any]:
    """Return colours of the groups by name, as seaborn takes them."""
    names = list(part["group"].unique())
    return {"hue": "group", "palette": {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}}


def _legend(axes: Axes, part: pd.DataFrame) -> None:
    """Explain the groups if there are several."""
    import seaborn

    if part["group"].nunique() > 1:
        small: dict[str, Any] = {"fontsize": 6.3, "handlelength": 1.2, "borderaxespad": 0.2, "labelspacing": 0.25}
        seaborn.move_legend(axes, "best", title=None, **small)
    elif (legend := axes.get_legend()) is not None:
        legend.remove()


def _scatter(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    seaborn.scatterplot(part, x="x", y="y", **_colours(part), s=5, alpha=0.4, ax=axes)
    axes.set(xlabel="truth", ylabel="")
    _legend(axes, part)


def _identity(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    edges = np.quantile(part["x"], np.linspace(0, 1, 11))
    bins = np.clip(np.searchsorted(edges, part["x"], side="right"), 1, 10)
    means = part.groupby([part["group"], bins], sort=False)[["x", "y"]].mean().sort_index(level=1).reset_index("group")
    seaborn.scatterplot(part, x="x", y="y", **_colours(part), s=4, alpha=0.16, linewidth=0, legend=False, ax=axes)
    seaborn.lineplot(means, x="x", y="y", **_colours(part), errorbar=None, linewidth=1.5, ax=axes)
    axes.set(xlabel="true identity distance", ylabel="identity cosine")
    _legend(axes, part)


def _success(axes: Axes, part: pd.DataFrame) -> None:
    means = part.groupby("group")["y"].mean().sort_values()
    axes.hlines(range(len(means)), means.clip(upper=0.5).min(), means, color="#D8D8D8", linewidth=1)
    axes.plot(means, range(len(means)), linestyle="none", marker="o", markersize=3, color=BLUE)
    axes.axvline(0.9, color=INK, linewidth=0.8, linestyle=(0, DASHED))
    axes.set_yticks(range(len(means)), [str(name).replace("_", " ") for name in means.index], fontsize=4.8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("balanced accuracy")


def _two_sides(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    part = part.assign(group=part["group"].str.replace(", ", ",\n"))
    look: dict[str, Any] = {"width": 0.5, "linewidth": 0.7, "fliersize": 1.5, "boxprops": {"alpha": 0.45}}
    seaborn.boxplot(part, x="group", y="y", **_colours(part), legend=False, ax=axes, **look)
    axes.set(xlabel="", ylabel="")


def _questions(axes: Axes, part: pd.DataFrame) -> None:
    _two_sides(axes, part)
    axes.set(xlabel="caption that is asked for, kind of image", ylabel="probability of yes")


def _corruption(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    part = part.assign(group=part["group"].str.replace("_", " "))
    names = list(part["group"].unique())
    dashes = {name: ("", DASHED, DOTTED)[i // len(PALETTE) % 3] for i, name in enumerate(names)}
    means = part.groupby(["group", "x"], sort=False)["y"].mean().reset_index()
    look: dict[str, Any] = {"dashes": dashes, "markers": dict.fromkeys(names, "o"), "markersize": 2.5, "linewidth": 1.1}
    seaborn.lineplot(means, x="x", y="y", **_colours(part), style="group", errorbar=None, ax=axes, **look)
    axes.set(xlabel="severity of corruption", ylabel="")
    _legend(axes, part)


def _margins(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    seaborn.histplot(part, x="y", bins=30, color=BLUE, alpha=0.6, linewidth=0, ax=axes)
    axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, DASHED))
    axes.set(xlabel="true caption minus flipped caption", ylabel="portraits")


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
    section="metrics",
    needs=("validation",),
)
