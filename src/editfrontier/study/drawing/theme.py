"""The look of all figures in one place: colours, letters, lines.

Loads matplotlib and seaborn when something is drawn, so that modules which a config load imports may import this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, SOFT_INK, GREY = "#222222", "#555555", "#8A8A8A"
# Okabe and Ito's colours, which readers with colour-vision deficiencies can tell apart, then three further ones.
BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D98200", "#009E73", "#C2528B", "#56B4E9"
BROWN, VERMILION, VIOLET = "#8C6D31", "#D55E00", "#7F5FB5"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, BROWN, VERMILION, VIOLET)
MASK, PAPER = "#D5006D", "#F7F7F5"  # outlines in images; the ground of panels that show the paper's values
SOLID, DASHED, DOTTED = (), (4.0, 2.0), (1.0, 1.6)
"""Dashes of a line as lengths of strokes and gaps, in widths of the line."""
FONT = "DejaVu Sans"
_SETTINGS: dict[Any, Any] = {
    "font.family": FONT,
    # Labels and captions are of configs and data sets: a text is a formula only where `parse_math=True` says so.
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.edgecolor": "#9A9A9A",
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#EAEAEA",
    "grid.linewidth": 0.6,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "svg.hashsalt": "editfrontier",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Set the one style of all figures within the block, on a backend that needs no display."""
    import matplotlib
    import matplotlib.pyplot as plt
    import seaborn

    matplotlib.use("Agg")
    base = seaborn.axes_style("ticks") | seaborn.plotting_context("paper")
    with plt.style.context("default"), matplotlib.rc_context(base | _SETTINGS):
        yield
        plt.close("all")


def shades(count: int) -> list[str]:
    """Return colours from dark to light for the steps of a scale."""
    import matplotlib
    from matplotlib.colors import to_hex

    return [to_hex(matplotlib.colormaps["viridis"](0.85 * place / max(count - 1, 1))) for place in range(count)]
