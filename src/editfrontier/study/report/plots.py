"""Figures as the page holds them: the picture itself, and what readers are told about it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from editfrontier.study.drawing.lettering import note_of


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
