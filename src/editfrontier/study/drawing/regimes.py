"""The figure of the trade-off over tasks: one panel a task, every editor with its resamples as an ellipse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtri

from editfrontier.study.drawing.plotting import draw_marker, save_figure
from editfrontier.study.drawing.theme import GREY, INK, figure_style
from editfrontier.study.findings import Findings
from editfrontier.study.results.naming import row_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from editfrontier.statistics.bootstrap import Array
    from editfrontier.study.designs.planes import TradeoffPlane

LEVEL = 0.95


def draw_planes(findings: Findings, planes: Sequence[TradeoffPlane], titles: Mapping[str, str], stem: Path) -> None:
    """Draw the figure.

    Args:
        findings: "on_front" and "regimes" by task.
        planes: of the tasks.
        titles: task -> heading of its panel.
        stem: path without suffix.
    """
    named = [(key, row) for plane in planes for key, row in zip(plane.keys, plane.rows, strict=True)]
    first = dict(reversed(named))
    order = list(dict.fromkeys(key for key, _ in named))
    rows = [first[key] for key in order]
    styles = row_styles(rows)
    look = {key: styles[first[key].variant] for key in order}
    with figure_style():
        import matplotlib.pyplot as plt

        count = max(len(planes), 1)
        columns = min(count, 2) if count != 3 else 3
        lines = math.ceil(count / columns)
        figure, panels = plt.subplots(
            lines, columns, figsize=(3.5 * columns, 3.1 * lines + 0.5), layout="constrained", squeeze=False
        )
        for axes in panels.flat[len(planes) :]:
            axes.axis("off")
        for letter, axes, plane in zip("abcdefgh", panels.flat, planes, strict=False):
            for place, row in enumerate(plane.rows):
                style, point = look[plane.keys[place]], plane.points[place]
                outline = ellipse(plane.resampled[:, place])
                axes.fill(*outline.T, color=style.colour, alpha=0.16, linewidth=0)
                axes.plot(*outline.T, color=style.colour, alpha=0.6, linewidth=0.7)
                draw_marker(axes, float(point[0]), float(point[1]), style, zorder=3)
                if (share := findings.one("on_front", variant=row.variant, level=plane.name)) is not None:
                    axes.annotate(
                        f"{share.value:.2f}", point, xytext=(5, 4), textcoords="offset points", fontsize=6, color=INK
                    )
            axes.set_title(f"({letter}) {titles.get(plane.name, plane.name)}", loc="left")
            axes.set_xlabel("Fidelity ↑")
            axes.set_ylabel("Controllability ↑")
            _note_groups(axes, findings, plane)
        if rows:
            handles = [
                plt.Line2D(
                    [], [], linestyle="none", marker=look[key].marker, color=look[key].colour, label=first[key].label
                )
                for key in order
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
        save_figure(figure, stem)


def ellipse(resampled: Array, level: float = LEVEL, steps: int = 73) -> Array:
    """Return points [steps, 2] on the ellipse that holds a share of resamples [R, 2], were they normal."""
    kept = resampled[np.isfinite(resampled).all(axis=1)]
    if len(kept) < 3:
        return np.full((steps, 2), np.nan)
    values, vectors = np.linalg.eigh(np.cov(kept.T))
    turn = np.linspace(0, 2 * np.pi, steps)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    radius = math.sqrt(float(chdtri(2, 1 - level)))
    outline = kept.mean(axis=0)[:, None] + radius * vectors @ (np.sqrt(values.clip(min=0))[:, None] * circle)
    return np.asarray(outline.T)


def _note_groups(axes: Axes, findings: Findings, plane: TradeoffPlane) -> None:
    found = findings.one("regimes", level=plane.name)
    if found is None:
        return
    share = findings.one("regimes_share", level=plane.name, x=found.value)
    part = f" in {share.value:.0%} of resamples" if share else ""
    text = f"groups by the gap statistic: {found.value:.0f}{part}"
    axes.text(0.02, 0.015, text, transform=axes.transAxes, fontsize=6.3, color=GREY, va="bottom")
