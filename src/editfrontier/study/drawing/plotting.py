"""How figures are drawn and written: markers, error bars, files without dates, and the Pareto front.

Loads matplotlib when something is drawn, so that modules which a config load imports may import this one.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.base.files import write_bytes
from editfrontier.study.drawing.theme import figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A drawing holds every text in a comment too. XML has none of these characters, not even there; a blank in their place
# keeps two dashes apart, which would end the comment.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_figure(draw: Callable[[], Figure], stem: Path) -> None:
    """Draw a figure in the style of all figures, and write it as .pdf, .svg and .png; see `save_figure`."""
    with figure_style():
        save_figure(draw(), stem)


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as .pdf, .svg and .png, without dates or versions in the files.

    Letters that the figures' font lacks are taken from other installed fonts; where none has them, the PNG carries a
    note (`lettering.note_of`).
    """
    from editfrontier.study.drawing.lettering import NOTE, choose_fonts, glyph_warnings_off, note_about, write_powers

    write_powers(figure)
    with glyph_warnings_off():
        # One layout for all three; it is the costly part of drawing.
        figure.draw_without_rendering()
        note = note_about(choose_fonts(figure))
        figure.set_layout_engine("none")
        if note:
            logging.getLogger(__name__).warning("%s: %s", stem.name, note)
        metadata: dict[str, dict[str, str | None]] = {
            "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
            "svg": {"Date": None, "Creator": None},
            "png": {"Software": None, **({NOTE: note} if note else {})},
        }
        for kind, entries in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=entries, bbox_inches="tight", pad_inches=0.04)
            content = buffer.getvalue()
            if kind == "svg":
                content = _NOT_IN_XML.sub(" ", content.decode()).encode()
            write_bytes(stem.with_name(f"{stem.name}.{kind}"), content)
