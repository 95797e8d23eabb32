"""Images in figures: grids of them, their outlines, and texts that have to fit next to them."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from editfrontier.study.drawing.theme import FONT, INK

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font


def image_grid(
    rows: int, columns: int, cell: float, *, left: float = 0.0, above: float = 0.1, below: float = 0.0, **size: float
) -> tuple[Figure, Any]:
    """Return a figure and its cells [rows, columns] for images, at least one row.

    Args:
        rows, columns: of images.
        cell: side of an image in inches, as all that follow.
        left: room for texts left of each row.
        above: room for heads above the first row.
        below: room for a note below each image.
        size: `foot`, room below the last row.
    """
    import matplotlib.pyplot as plt

    rows, foot = max(rows, 1), size.get("foot", 0.04)
    width, height = left + cell * columns, (cell + below) * rows + above + foot
    places = {"left": left / width, "right": 0.998, "top": 1 - above / height, "bottom": foot / height}
    places |= {"wspace": 0.05, "hspace": below / cell + 0.05}
    figure, grid = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, gridspec_kw=places)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def draw_image(axes: Axes, image: npt.NDArray[np.uint8] | None, absent: str = "failed") -> None:
    """Draw an image [H, W, 3] without axes, or a grey field with a word where there is none."""
    if image is not None:
        axes.set_axis_off()
        axes.imshow(image, interpolation="nearest")
        return
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[], facecolor="#EFEFEF")
    axes.spines[:].set_visible(False)
    axes.text(0.5, 0.5, absent, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="#777777")
    axes.set_aspect("equal", adjustable="box")


def outline(axes: Axes, mask: npt.NDArray[np.bool_] | None, colour: str, dashes: str = "solid") -> None:
    """Draw the outline of a mask [H, W] over an image, nothing for one that is empty or full."""
    if mask is not None and mask.any() and not mask.all():
        for ink, width, style in (("white", 1.9, "solid"), (colour, 1.0, dashes)):
            axes.contour(mask, levels=[0.5], colors=[ink], linewidths=width, linestyles=[style])


def head(axes: Axes, text: str, inches: float, lines: int = 2, size: float = 7.5, **options: Any) -> None:
    """Write a text above an image, broken into lines that are no wider than `inches`."""
    axes.set_title(fitted(text, inches, size, lines), fontsize=size, **options)


def label_left(axes: Axes, text: str, inches: float, lines: int = 4, colour: str = INK) -> None:
    """Write a text left of an image, broken into lines that are no wider than `inches`."""
    text = fitted(text, inches, 7, lines)
    axes.text(-0.08, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=7, color=colour)


def fitted(text: str, inches: float, size: float, lines: int) -> str:
    """Return a text broken into at most `lines` lines that are no wider than `inches`, cut with "…" if it is longer.

    Args:
        text: breaks of lines in it stay.
        size: of the letters, in points.
    """
    done: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if _width(joined, size) <= inches:
                line = joined
                continue
            done += [line] if line else []
            line = word
            while _width(line, size) > inches and len(line) > 1:  # a word that is wider than a line is broken
                end = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or _width(line[:n], size) <= inches)
                done.append(line[:end])
                line = line[end:]
        done.append(line)
    if len(done) <= lines:
        return "\n".join(done)
    last = done[lines - 1]
    while last and _width(f"{last}…", size) > inches:
        last = last[:-1]
    return "\n".join([*done[: lines - 1], f"{last.rstrip()}…"])


def _width(text: str, size: float) -> float:
    """Return the width of a text in inches."""
    return sum(_advance(letter) for letter in text) * size / 72


@cache
def _advance(letter: str) -> float:
    """Return the width of a letter of the figures' font, as a part of the size; roughly, where it lacks the letter."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return float(_font().load_char(ord(letter)).linearHoriAdvance) / 65536 / 100


@cache
def _font() -> FT2Font:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(font_manager.fontManager.findfont(FONT)))
    font.set_size(100, 72)
    return font
