"""Figures as the page holds them: the picture itself, and what readers are told about it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editfrontier.study.drawing.lettering import note_of
from editfrontier.study.figure import FIGURES, SECTIONS, Figure


@dataclass(frozen=True)
class Plot:
    """A figure of the page.

    source: data address, "" = not made yet. width: in CSS pixels, 0 = as wide as the page. note: what stands below it.
    """

    source: str = ""
    width: int = 0
    note: str = ""


NO_PLOT = Plot()


def plot_of(path: Path, width: int = 0) -> Plot:
    """Return a figure's SVG or PNG for the page, with the note that its PNG carries."""
    if not path.is_file():
        return NO_PLOT
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    address = f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()
    return Plot(address, width, note_of(path.with_suffix(".png")))


@dataclass(frozen=True)
class ShownFigure:
    """A figure of the study as the page shows it: what it says of itself, and the picture."""

    about: Figure
    plot: Plot


def shown_figures(root: Path, config: Mapping[str, Any]) -> dict[str, list[ShownFigure]]:
    """Return the figures of each section of the page, and under "" the others that the config names.

    A figure that cannot be loaded is left out. The SVG of images holds every pixel as an image and their PNG is a tenth
    of it, so that the page takes the PNG.
    """
    shown: dict[str, list[ShownFigure]] = {section: [] for section in ("", *SECTIONS)}
    for name, about in FIGURES.load_all().items():
        if about.section or name in (config.get("figures") or {}):
            path = root / "figures" / f"{name}.{'png' if about.pixels else 'svg'}"
            shown[about.section].append(ShownFigure(about, plot_of(path)))
    return shown
