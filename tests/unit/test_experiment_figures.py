"""Figures of inversions and drags: reproducible, drawn from what there is, with the regions where they belong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import read_image
from editfrontier.study.figure import draw_figure
from editfrontier.study.figures.inversion import lines_of_methods, ticks_between
from editfrontier.study.figures.motion import motion_of
from editfrontier.study.results.gallery import read_task, regions_of
from editfrontier.study.results.grids import build_grid
from editfrontier.study.results.naming import parse_table, read_reported, read_statistics, row_styles
from experiments_fixture import add_experiments
from study_fixture import Study, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return add_experiments(make_study(tmp_path_factory.mktemp("study") / "fixture", cases=2))


def written(stem: Path) -> dict[str, bytes]:
    return {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (".pdf", ".svg", ".png")}


def test_inversion_figure_is_reproducible(study: Study, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_figure("inversion", study.tables["table2"], study.root, study.reported, tmp_path / name)
    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_inversion_figure_needs_neither_paper_nor_floors_nor_all_metrics(study: Study, tmp_path: Path) -> None:
    table = {
        **study.tables["table2"],
        "metrics": ["psnr_source", "seconds"],
        "rows": [{"variant": "flow_reconstruction", "label": "$5"}, {"variant": "never_run"}],
    }
    draw_figure("inversion", table, study.root, study.reported, tmp_path / "inversion")
    assert all(written(tmp_path / "inversion").values())


def test_a_line_holds_the_rows_of_one_method_from_cheap_to_dear(study: Study) -> None:
    table = {**study.tables["table2"], "metrics": ["psnr_source", "forwards"]}
    statistics = read_statistics(study.root / "statistics" / "inversion.parquet")
    grid = build_grid(table, statistics, read_reported(study.reported))
    methods = lines_of_methods(list(reversed(grid.lines)))
    assert {name: [line.cells[-1].value for line in found] for name, found in methods.items()} == {
        "DDIM": [100],
        "Euler": [16, 100],
        "FireFlow": [18, 34, 66],
    }
    assert [line.cells[0].paper for line in methods["FireFlow"]] == [28.4, 33.7, 38.2]
    assert methods["Euler"][1].cells[0].paper == 41.5  # the paper's DDIM of 50 steps


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([16, 100], [10, 20, 50, 100]),
        ([0.0, math.nan, 0.03], [0.02, 0.05]),
        ([20, 20], [20, 50]),
        ([], [1, 2, 5, 10]),
    ],
)
def test_ticks_are_plain_numbers_around_the_values(values: list[float], expected: list[float]) -> None:
    assert ticks_between(values) == expected


def test_drag_panel_shows_failures_and_drags_that_cannot_be_read(study: Study, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_figure("drag_panel", study.tables["table4"], study.root, study.reported, tmp_path / name, seed)
    assert written(tmp_path / "a") == written(tmp_path / "b") != written(tmp_path / "c")


def test_drag_panel_draws_the_regions_over_the_source(study: Study, tmp_path: Path) -> None:
    draw_figure("drag_panel", study.tables["table4"], study.root, study.reported, tmp_path / "panel")
    pixels = read_image(tmp_path / "panel.png").reshape(-1, 3).astype(int)

    def share(colour: tuple[int, int, int]) -> float:
        return float((np.abs(pixels - colour).max(1) < 12).mean())

    assert share((0xD5, 0x00, 0x6D)) > 1e-4
    assert share((0x00, 0x72, 0xB2)) > share((0xD5, 0x00, 0x6D))  # every result repeats the target


def test_motion_is_the_mean_shift_of_the_pixels(study: Study) -> None:
    results = read_task(study.root, "drags", [])
    found = {case.case_id: motion_of(regions_of(results, case)) for case in results.cases}
    readable = {name: value for name, value in found.items() if math.isfinite(value)}
    assert len(readable) == len(found) - 1  # the drags of one case are no JSON
    for name, value in readable.items():
        assert value == pytest.approx({"small": 3.0, "medium": 6.0, "large": 10.0}[name.rpartition("-")[2]])


def test_motion_figure_is_reproducible_and_needs_a_table_by_size(study: Study, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_figure("motion", study.tables["table4_size"], study.root, study.reported, tmp_path / name)
    assert written(tmp_path / "a") == written(tmp_path / "b")
    with pytest.raises(UserError, match=r"'table4': its cases are not split.*by: \[size\].*table4_size"):
        draw_figure("motion", study.tables["table4"], study.root, study.reported, tmp_path / "c")


def test_two_rows_of_one_editor_have_different_styles(study: Study) -> None:
    look = row_styles(parse_table(study.tables["table4"]).rows)
    editors = [style for style in look.values() if not style.control]
    assert len({style.colour for style in editors}) == len({style.marker for style in editors}) == len(editors)
    assert look["point_drag"] != look["point_drag+lora=false"]
