"""Texts of figures: no label is a formula; letters that the figures' font lacks come from another one or are named."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from editfrontier.study.drawing import lettering
from editfrontier.study.drawing.lettering import NOTE, fallback_fonts, note_about, note_of, power_of_ten
from editfrontier.study.drawing.plotting import save_figure, write_figure
from editfrontier.study.drawing.theme import figure_style
from editfrontier.study.figure import FIGURES, FigureInputs
from editfrontier.study.results.naming import parse_table
from experiments_fixture import add_experiments
from study_fixture import Study, make_study

FORMULAS = (r"API ($\frac{1$)", "5$ or 10$_{", r"\alpha_1^2 $x$ 100% \$ {a} #~&", "_$hidden$")
CHINESE, HINDI, ARABIC = "中文", "हिन्दी", "العربية"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return add_experiments(make_study(tmp_path_factory.mktemp("study") / "fixture", cases=2))


def texts_of(svg: Path) -> list[str]:
    """Texts that a figure shows, which matplotlib writes as comments beside their outlines."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    nodes = ElementTree.parse(svg, parser).iter()
    return [unescape((node.text or "").strip()) for node in nodes if node.tag is ElementTree.Comment]


def draw(study: Study, name: str, labels: tuple[str, ...], folder: Path) -> Path:
    """Draw a figure whose rows, groups, title and caption are texts of a config; return its stem."""
    entry = {"frontier": "table1", "ablation": "table3", "qualitative": "table1", "inversion": "table2"}
    table = dict(study.tables[entry.get(name, "table4_size" if name == "motion" else "table4")])
    names = [f"{labels[i % len(labels)]} {i}" for i in range(len(table["rows"]))]
    rows = [{**row, "label": label, "group": label} for row, label in zip(table["rows"], names, strict=True)]
    table |= {"rows": rows, "title": labels[0], "caption": labels[-1]}
    inputs = FigureInputs(study.root, study.reported, parse_table(table))
    small = {"cases": 1, "worst": 1} if name == "qualitative" else {}
    stem = folder / name
    write_figure(lambda: FIGURES.get(name).draw(inputs, **small), stem)
    return stem


@pytest.mark.parametrize("name", ["frontier", "ablation", "qualitative", "inversion", "drag_panel", "motion"])
def test_labels_of_a_config_are_drawn_as_they_are(study: Study, name: str, tmp_path: Path) -> None:
    stem = draw(study, name, FORMULAS, tmp_path)
    shown = " ".join(" ".join(texts_of(stem.with_suffix(".svg"))).split())
    # The first words, as narrow panels break labels into lines and cut long ones.
    assert [label for label in FORMULAS if label.split()[0] not in shown] == []
    assert "mathdefault" not in shown
    assert stem.with_suffix(".pdf").stat().st_size > 0


def test_a_legend_keeps_labels_that_start_with_an_underscore(study: Study, tmp_path: Path) -> None:
    for name in ("inversion", "motion"):
        assert "_hidden 2" in texts_of(draw(study, name, ("_hidden",), tmp_path).with_suffix(".svg"))


def figure_of(title: str, stem: Path, **options: Any) -> Path:
    with figure_style():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(2, 2), layout="constrained")
        axes.set_yscale("log")
        axes.plot([1e-4, 1e3])
        axes.set_xticks([0, 1], [title, "plain"])
        axes.set_title(title, **options)
        save_figure(figure, stem)
    return stem


def test_logarithmic_axes_and_our_own_formulas_are_typeset(tmp_path: Path) -> None:
    shown = texts_of(figure_of(r"$\sqrt{2}$", tmp_path / "a", parse_math=True).with_suffix(".svg"))
    assert "10⁻²" in shown
    assert "10²" in shown
    assert shown.count(r"$\sqrt{2}$") == 2  # the tick label as it is, the title's source
    plain = figure_of(r"$\sqrt{2}$", tmp_path / "b")
    assert plain.with_suffix(".png").read_bytes() != (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (r"$\mathdefault{10^{-4}}$", "10⁻⁴"),
        (r"$\mathdefault{2\times10^{12}}$", "2×10¹²"),
        (r"$\mathdefault{-3.5\times10^{0}}$", "−3.5×10⁰"),
        ("", ""),
    ],
)
def test_powers_of_ten_need_no_formula(formula: str, text: str) -> None:
    assert power_of_ten(formula) == text


def test_control_characters_leave_a_drawing_that_browsers_read(tmp_path: Path) -> None:
    stem = figure_of("bell \x07, form feed \x0c, escape \x1b, no letter \uffff, -- and -\x07->", tmp_path / "a")
    assert any("bell" in text for text in texts_of(stem.with_suffix(".svg")))


# --- letters that the figures' font lacks ----------------------------------------------------------------------------


def make_font(path: Path, name: str, letters: str) -> Path:
    """Write a TrueType font of the letters, each a full square, unlike the box of a missing one."""
    names = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(point)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): glyph for letter, glyph in zip(letters, names[1:], strict=True)})
    font.setupGlyf({glyph: pen.glyph() for glyph in names})
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name.replace(" ", "")})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.fixture
def only_own_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A machine that has matplotlib's own fonts alone; those added in a test are gone afterwards."""
    from matplotlib import font_manager, get_data_path

    manager = font_manager.fontManager
    own = [entry for entry in manager.ttflist if entry.fname.startswith(get_data_path())]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: [])
    clear = font_manager._get_font.cache_clear
    clear()
    yield manager
    clear()


def test_letters_come_from_an_installed_font(only_own_fonts: Any, tmp_path: Path) -> None:
    without = figure_of(f"{CHINESE} and {HINDI}", tmp_path / "without")
    only_own_fonts.addfont(make_font(tmp_path / "a.ttf", "Han of a Test", CHINESE))
    only_own_fonts.addfont(make_font(tmp_path / "b.ttf", "Devanagari of a Test", HINDI))
    only_own_fonts.addfont(make_font(tmp_path / "c.ttf", "Noto Sans of a Test", "中"))
    stem = figure_of(f"{CHINESE} and {HINDI}", tmp_path / "a")
    assert note_of(stem.with_suffix(".png")) == ""
    assert stem.with_suffix(".png").read_bytes() != without.with_suffix(".png").read_bytes()
    embedded = stem.with_suffix(".pdf").read_bytes()
    assert b"HanofaTest" in embedded
    assert b"DevanagariofaTest" in embedded
    assert b"NotoSansofaTest" not in embedded
    again = figure_of(f"{CHINESE} and {HINDI}", tmp_path / "b")
    assert all(
        again.with_suffix(kind).read_bytes() == stem.with_suffix(kind).read_bytes() for kind in (".png", ".svg", ".pdf")
    )


def test_a_font_installed_after_matplotlib_looked_is_found(
    only_own_fonts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from matplotlib import font_manager

    path = make_font(tmp_path / "late.ttf", "Late", CHINESE)
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: [str(tmp_path / "broken.ttf"), str(path)])
    assert fallback_fonts(map(ord, CHINESE)) == (["Late"], frozenset())


def test_few_fonts_are_chosen_and_notos_first(only_own_fonts: Any, tmp_path: Path) -> None:
    for name, letters in (("A", CHINESE), ("Noto Sans B", CHINESE), ("C", "中"), ("D", HINDI)):
        only_own_fonts.addfont(make_font(tmp_path / f"{name}.ttf", name, letters))
    assert fallback_fonts(map(ord, CHINESE + HINDI)) == (["D", "Noto Sans B"], frozenset())
    assert fallback_fonts([ord("中"), 0x10FFFD]) == (["Noto Sans B"], frozenset({0x10FFFD}))


def test_texts_without_letters_are_named_and_stay_as_they_are(
    only_own_fonts: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    stem = figure_of(f"{CHINESE} <b>", tmp_path / "a")
    note = note_of(stem.with_suffix(".png"))
    assert note == note_about([f"{CHINESE} <b>"])
    assert f"“{CHINESE} <b>”" in note
    assert note in caplog.text
    assert f"{CHINESE} <b>" in texts_of(stem.with_suffix(".svg"))
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_scripts_that_the_font_has_need_no_other(only_own_fonts: Any, tmp_path: Path) -> None:
    stem = figure_of(f"{ARABIC} Ελληνικά Русский ≥ 5 µm\u200b", tmp_path / "a")
    assert note_of(stem.with_suffix(".png")) == ""
    assert NOTE.encode() not in stem.with_suffix(".png").read_bytes()


def test_a_long_list_of_texts_is_cut() -> None:
    note = note_about([CHINESE * 60, *(f"{i}" for i in range(9))])
    assert "and 5 more" in note
    assert CHINESE * 30 in note
    assert CHINESE * 31 not in note
    assert note_about([]) == ""
    assert lettering.note_of(Path("absent.png")) == ""
