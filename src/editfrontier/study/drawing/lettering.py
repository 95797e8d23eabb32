"""Letters of a figure's texts: other fonts for what the figures' own font lacks, and powers of ten without formulas.

Labels, captions and prompts come from configs and data sets and may be of any script. Nothing is transliterated:
letters that no installed font has are drawn as boxes, and the note about it travels in the figure's PNG to the page.
"""

from __future__ import annotations

import logging
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterMathtext, LogFormatterSciNotation
from PIL import Image

from editfrontier.study.drawing.theme import FONT

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry

NOTE = "Comment"  # keyword of the PNG's text chunk, one of those that the PNG specification registers
_NAMED = 5  # texts that a note names
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NO_LETTERS = {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}  # control and format characters, surrogates, separators
_NO_HELP = re.compile(r"last ?resort|blank|unifont|emoji", re.IGNORECASE)  # boxes and bitmaps, or pictures of letters


def power_of_ten(formula: str) -> str:
    r"""Return a tick label of a logarithmic axis as plain text: "2×10⁻⁴" for ``$\mathdefault{2\times10^{-4}}$``."""
    if not (match := re.fullmatch(r"\$\\mathdefault\{(-?)(?:([\d.]+)\\times\s*)?10\^\{(-?\d+)\}\}\$", formula)):
        return formula.strip("$")
    sign, factor, power = match.groups()
    return f"{'−' if sign else ''}{f'{factor}×' if factor else ''}10{power.translate(_SUPERSCRIPTS)}"


def write_powers(figure: Figure) -> None:
    """Have logarithmic axes write powers of ten as plain text, as nothing would parse matplotlib's formulas."""

    class Powers(LogFormatterSciNotation):
        def __call__(self, x: float, pos: Any = None) -> str:
            return power_of_ten(super().__call__(x, pos))

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                axis.set_major_formatter(Powers())
            if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
                axis.set_minor_formatter(Powers())


@contextmanager
def glyph_warnings_off() -> Iterator[None]:
    """Keep matplotlib silent about letters that a font lacks, of which `choose_fonts` speaks once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def choose_fonts(figure: Figure) -> list[str]:
    """Give fallback fonts to the texts that `FONT` cannot write; return the texts that still lack letters.

    The figure must have been drawn once, so that its tick labels are there; it is laid out anew where fonts change.
    """
    available = letters_of(_path_of(FONT))
    texts: list[Text] = [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and not text.get_parse_math() and text.get_text()
    ]
    needed = {text: _needed(text.get_text()) - available for text in texts}
    lacking = frozenset().union(*needed.values())
    if not lacking:
        return []
    fonts, lacking = fallback_fonts(lacking)
    for text, letters in needed.items():
        if letters and fonts:
            text.set_fontfamily([FONT, *fonts])
    if fonts:
        figure.draw_without_rendering()
    return list(dict.fromkeys(" ".join(text.get_text().split()) for text in texts if needed[text] & lacking))


def fallback_fonts(letters: Iterable[int]) -> tuple[list[str], frozenset[int]]:
    """Return installed fonts that have the letters between them, as few as a greedy choice takes, and what none has.

    Args:
        letters: code points.
    """
    left, chosen = frozenset(letters), []
    fonts = {entry.name: letters_of((entry.fname, entry.index)) for entry in reversed(_installed())}
    while left and fonts:
        # Of equal ones the first by name, with Noto's, which are drawn to go together, before all others.
        best = min(fonts, key=lambda name: (-len(fonts[name] & left), not name.startswith("Noto Sans"), name))
        if not fonts[best] & left:
            break
        left -= fonts.pop(best)
        chosen.append(best)
    return chosen, left


def _installed() -> list[FontEntry]:
    """Return the upright fonts of this machine, normal weights first."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(font_manager.findSystemFonts()):
        if path not in known:  # installed after matplotlib last looked
            try:
                manager.addfont(path)
            except (OSError, RuntimeError, ValueError) as error:
                logging.getLogger(__name__).debug("%s: not a readable font (%s)", path, error)
    upright = [
        entry
        for entry in manager.ttflist
        if entry.style == entry.variant == entry.stretch == "normal" and not _NO_HELP.search(entry.name)
    ]
    return sorted(upright, key=lambda entry: (abs(int(entry.weight) - 400), entry.name, entry.fname))


def _path_of(family: str) -> tuple[str, int]:
    path = font_manager.fontManager.findfont(family)
    return str(path), int(getattr(path, "face_index", 0))


@cache
def letters_of(font: tuple[str, int]) -> frozenset[int]:
    """Return the code points that a font (path, face) has glyphs for; none for a file that is no readable font."""
    try:
        return frozenset(FT2Font(font[0], face_index=font[1]).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _needed(text: str) -> frozenset[int]:
    return frozenset(ord(letter) for letter in text if unicodedata.category(letter) not in _NO_LETTERS)


def note_about(texts: Sequence[str]) -> str:
    """Return what readers are told about texts that no installed font can write, "" without any."""
    if not texts:
        return ""
    names = ", ".join(f"“{text[:60]}{'…' if len(text) > 60 else ''}”" for text in texts[:_NAMED])
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return (
        f"Boxes stand for letters of {names}{more}: no font that was installed where the figure was drawn has them. "
        "The tables show these texts in full. Install a font of that script, such as Noto Sans, and draw the figures "
        "again with `snakemake figures analyses --forcerun figure analyse`."
    )


def note_of(png: Path) -> str:
    """Return the note that a figure's PNG carries, "" if there is none or no such picture."""
    try:
        with Image.open(png, formats=("PNG",)) as image:
            return str(image.info.get(NOTE, ""))
    except (OSError, SyntaxError, ValueError):  # Pillow's for files that are no PNG or broken ones
        return ""
