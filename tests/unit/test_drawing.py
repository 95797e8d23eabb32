"""What figures share: values with their intervals as they were computed, legends, texts that fit beside images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.study.drawing.images import _width, fitted
from editfrontier.study.drawing.intervals import Point, Series, draw_bars, draw_intervals, handles
from editfrontier.study.drawing.panels import legend_below, panels
from editfrontier.study.drawing.theme import DASHED, SOLID, figure_style
from editfrontier.study.figure import FigureInputs
from editfrontier.study.figures import qualitative
from editfrontier.study.results.naming import Style, parse_table
from study_fixture import make_study

EDITOR, CONTROL, BARE = Style("#0072B2", "o", False), Style("#6B6B6B", "*", True), Style("#0072B2", "", False)


@pytest.fixture
def axes() -> Iterator[Any]:
    with figure_style():
        yield panels(1, (2.0, 2.0))[1][0]


def bars(axes: Any) -> list[Any]:
    kinds = [artist for artist in axes.collections if type(artist).__name__ == "LineCollection"]
    return [segment.tolist() for artist in kinds for segment in artist.get_segments()]


def marks(axes: Any) -> list[Any]:
    kinds = [artist for artist in axes.collections if type(artist).__name__ == "PathCollection"]
    return [place for artist in kinds for place in artist.get_offsets().tolist()]


def test_intervals_are_those_that_were_computed_also_where_they_do_not_hold_the_value(axes: Any) -> None:
    points = [Point(1, 5.0, 6.0, 8.0), Point(2, 3.0), Point(3, math.nan, 1.0, 2.0)]
    draw_intervals(axes, [Series(points, EDITOR)])
    assert bars(axes) == [[[1, 6], [1, 8]]]
    assert marks(axes) == [[1, 5], [2, 3]]
    assert not axes.lines


def test_rows_have_their_values_across(axes: Any) -> None:
    draw_intervals(axes, [Series([Point(0, 5.0, 4.0, 8.0)], EDITOR), Series([Point(1, 2.0)], CONTROL)], horizontal=True)
    assert bars(axes) == [[[4, 0], [8, 0]]]
    assert marks(axes) == [[5, 0], [2, 1]]


def test_values_at_one_place_are_not_averaged_and_lines_keep_their_order(axes: Any) -> None:
    draw_intervals(axes, [Series([Point(2, 1.0), Point(2, 3.0), Point(1, 0.0)], BARE, dashes=SOLID)])
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[2, 1], [2, 3], [1, 0]]
    assert not marks(axes)


def test_a_band_has_no_width_where_there_is_no_interval(axes: Any) -> None:
    draw_intervals(axes, [Series([Point(1, 5.0, 4.0, 8.0), Point(2, 3.0)], EDITOR, dashes=DASHED)], band=True)
    band = next(artist for artist in axes.collections if type(artist).__name__ != "PathCollection")
    corners = {tuple(vertex) for path in band.get_paths() for vertex in path.vertices.tolist()}
    assert corners == {(1, 4), (1, 8), (2, 3)}
    assert not bars(axes)


def test_logarithmic_axes_stay_so_and_labels_too(axes: Any) -> None:
    axes.set(yscale="log", xlabel="steps", ylabel="error")
    draw_intervals(axes, [Series([Point(1, 0.0), Point(2, 10.0, 5.0, 20.0)], EDITOR, dashes=SOLID)])
    assert (axes.get_yscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "steps", "error")
    assert np.allclose(axes.lines[0].get_xydata(), [[2, 10]])
    assert np.allclose(marks(axes), [[2, 10]])


def test_controls_are_hollow_in_figure_and_legend(axes: Any) -> None:
    draw_intervals(axes, [Series([Point(1, 1.0)], CONTROL), Series([Point(2, 1.0)], EDITOR)])
    faces = [artist.get_facecolor() for artist in axes.collections if len(artist.get_offsets()) == 2]
    assert np.allclose(faces[0][0], 1.0)
    assert not np.allclose(faces[0][1], 1.0)
    hollow, filled = handles([Series((), CONTROL, "control"), Series((), EDITOR, "_editor", SOLID)])
    assert (hollow.get_markerfacecolor(), hollow.get_linestyle()) == ("white", "None")
    assert (filled.get_markerfacecolor(), filled.get_linestyle()) == ("#0072B2", "-")


def test_bars_alone_have_no_marks(axes: Any) -> None:
    draw_bars(axes, [Series([Point(1, 1.0, 0.5, 2.0)], EDITOR)])
    assert bars(axes) == [[[1, 0.5], [1, 2]]]
    assert not marks(axes)


def test_a_legend_names_each_label_once_in_order() -> None:
    with figure_style():
        figure, _ = panels(1, (2.0, 2.0))
        legend_below(figure, handles([Series((), EDITOR, name) for name in ("b", "_a", "b", "c")]))
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["b", "_a", "c"]


@pytest.mark.parametrize(
    "text", ["one", "some words in a row", "W" * 40, "中文" * 12, "a\nb c d e f g h i j k l m n o p"]
)
def test_texts_fit(text: str) -> None:
    lines = fitted(text, 0.8, 7.5, 3).split("\n")
    assert len(lines) <= 3
    assert all(_width(line, 7.5) <= 0.8 for line in lines)
    whole = "".join(text.split())
    shown = "".join("".join(lines).split())
    assert shown == whole or (shown.endswith("…") and whole.startswith(shown.rstrip("…")))


def test_long_labels_of_the_qualitative_figure_do_not_overlap(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", cases=2)
    names = [row["variant"] for row in study.tables["table1"]["rows"]]
    labels = {name: f"MAXIMUM WOMBAT WINDOW {name.upper()}" for name in names}
    rows = [{**row, "label": labels[row["variant"]]} for row in study.tables["table1"]["rows"]]
    inputs = FigureInputs(study.root, study.reported, parse_table({**study.tables["table1"], "rows": rows}))
    with figure_style():
        figure = qualitative.draw(inputs, cases=1, worst=1)
        figure.draw_without_rendering()
        titles = [axes._left_title if axes.get_title(loc="left") else axes.title for axes in figure.axes]
        boxes = [text.get_window_extent() for text in titles if text.get_text()]
    assert len(boxes) > 6
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
