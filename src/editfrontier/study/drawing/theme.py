"""The look of all figures in one place: colours, letters, lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK = "#222222"
GREY = "#8A8A8A"
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

    matplotlib.use("Agg")
    with plt.style.context("default"), matplotlib.rc_context(_SETTINGS):
        yield
        plt.close("all")
