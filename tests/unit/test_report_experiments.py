"""The report with inversions, drags and an experiment of one's own: sections, parts of the cases, sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from editfrontier.study.report import build_report
from editfrontier.study.report.sentences import drag_sentences, inversion_sentences
from editfrontier.study.results.grids import Grid, build_grid
from editfrontier.study.results.naming import parse_table, read_reported, read_statistics, statistics_file
from editfrontier.study.results.tables import to_latex, to_long, to_markdown, write_table
from experiments_fixture import DRAGS, INVERSIONS, add_experiments
from study_fixture import HOSTILE, Study, make_study, page_data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = add_experiments(make_study(tmp_path_factory.mktemp("study") / "fixture", cases=4))
    further = {**made.tables["table2"], "title": "Mine <i>", "rows": [{"variant": "flow_reconstruction"}]}
    made.tables["joining"] = {**further, "name": "joining"}
    made.tables["mine"] = {**further, "name": "mine", "section": ""}
    return made


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    build_report(study.root, study.config, study.tables, study.reported, study.root / "index.html")
    return (study.root / "index.html").read_text()


def grid_of(study: Study, name: str, **changes: object) -> Grid:
    table = parse_table({**study.tables[name], **changes})
    statistics = read_statistics(statistics_file(study.root, table), bool(table.by))
    return build_grid(table, statistics, read_reported(study.reported))


def section(html: str, name: str) -> str:
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


# --- tables that are split -------------------------------------------------------------------------------------------


def test_split_table_has_every_row_for_every_part_and_ranks_within(study: Study) -> None:
    grid = grid_of(study, "table4_size")
    assert [line.subset for line in grid.lines] == [s for s in ("small", "medium", "large") for _ in DRAGS]
    for part in ("small", "medium", "large"):
        firsts = [line.row.label for line in grid.lines if line.subset == part and line.cells[0].rank == 1]
        assert firsts == ["DragFlow"]
    failed = {line.subset: (line.n, line.failed) for line in grid.lines if line.row.variant == "region_drag"}
    assert failed == {"small": (1, 1), "medium": (3, 0), "large": (3, 0)}  # case 2 has no readable size
    assert not any(cell.paper == cell.paper for line in grid.lines for cell in line.cells)


def test_forms_of_a_split_table_name_the_parts(study: Study, tmp_path: Path) -> None:
    grid = grid_of(study, "table4_kind")
    frame = to_long(grid)
    assert set(frame["subset"]) == {"relocation", "rotation", "deformation"}
    assert set(to_long(grid_of(study, "table4"))["subset"]) == {""}
    rows = [line for line in to_markdown(grid).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert sum(row.startswith("| **") for row in rows) == 3
    text = to_latex(grid)
    assert text.count(r"\multicolumn") == 3
    assert "paper" not in text
    paths = [tmp_path / f"t.{form}" for form in ("csv", "md", "tex")]
    table = study.tables["table4_kind"]
    write_table(table, study.root / "statistics" / "drags.subsets.parquet", study.reported, *paths)
    assert all(path.read_bytes() for path in paths)


def test_paper_stands_beside_under_its_own_name_and_with_its_own_decimals(study: Study) -> None:
    grid = grid_of(study, "table2")
    beside = {line.row.label: grid.paper_text(1, line.cells[1].paper) for line in grid.lines}
    assert beside["First order, 50 (E8)"] == "41.5"
    assert beside["FireFlow, 8"] == "28.4"
    assert beside["DDIM on SD, 50"] == ""
    assert not any(line.status == "not run" for line in grid.lines)
    seconds = [metric.name for metric in grid.metrics].index("seconds")
    first = grid.lines[0].cells[seconds]
    assert (grid.text(seconds, first.value), grid.paper_text(seconds, first.paper)) == ("0.037", "2.5")


def test_counts_are_whole_numbers_without_an_interval(study: Study) -> None:
    grid = grid_of(study, "table2")
    column = [metric.name for metric in grid.metrics].index("forwards")
    assert grid.text(column, grid.lines[0].cells[column].value) == "18"
    assert grid.interval(column, grid.lines[0].cells[column]) == ("", "")
    assert all(grid.interval(1, grid.lines[0].cells[1]))


def test_values_of_fewer_cases_say_so(study: Study) -> None:
    path = study.root / "statistics" / "drags.parquet"
    statistics = read_statistics(path)
    some = (statistics["variant"] == "drag_flow") & (statistics["metric"] == "centroid_shift")
    statistics.loc[some, "n"] = 4
    grid = build_grid(study.tables["table4"], statistics, read_reported(study.reported))
    line = grid.lines[0]
    assert [grid.fewer(line, cell) for cell in line.cells] == ["", "n = 4", "", "", ""]
    assert set(to_long(grid).set_index(["variant", "metric"]).loc["drag_flow"]["n"]) == {4, 9}
    assert "<sub>n = 4</sub>" in to_markdown(grid)
    assert r"{\tiny $n = 4$}" in to_latex(grid)
    assert "for this many cases only" in to_markdown(grid)


# --- page ------------------------------------------------------------------------------------------------------------


def test_every_experiment_has_a_section_with_its_tables(html: str) -> None:
    names = re.findall(r'<table class="results[^"]*" id="(\w+)"', section(html, "inversion"))
    assert names == ["table2", "joining"]  # a further table joins the section that it names
    assert "<h3>Mine &lt;i&gt;</h3>" in section(html, "inversion")
    assert {"table4", "table4_kind", "table4_size"} == set(
        re.findall(r'<table class="results[^"]*" id="(\w+)"', section(html, "drags"))
    )
    assert {"mine"} == set(re.findall(r'<table class="results[^"]*" id="(\w+)"', section(html, "more-tables")))
    for name in ("inversion", "drags", "more-tables"):
        assert f'href="#{name}"' in html.split("</nav>")[0]
    assert "Mine &lt;i&gt;" in html


def test_parts_of_a_split_table_are_bodies_with_a_heading(html: str) -> None:
    table = html.split('id="table4_size"')[1].split("</table>")[0]
    assert re.findall(r'scope="rowgroup"><span>(\w+)</span>', table) == ["small", "medium", "large"]
    assert table.count("<tbody>") == 3
    assert table.count("data-order=") == 3 * len(DRAGS)


def test_study_without_these_experiments_has_no_empty_sections(study: Study, tmp_path: Path) -> None:
    tables = {name: study.tables[name] for name in ("table1", "table3")}
    build_report(study.root, study.config, tables, study.reported, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert not any(
        f'id="{name}"' in text or f'href="#{name}"' in text for name in ("inversion", "drags", "more-tables")
    )


def test_hostile_text_of_drags_stays_text(html: str) -> None:
    assert "<script>alert" not in html
    drags = next(gallery for gallery in page_data(html)["galleries"] if gallery["task"] == "drags")
    assert drags["cases"][0]["instruction"] == HOSTILE


def test_browser_has_the_regions_of_drags_and_of_nothing_else(html: str) -> None:
    galleries = {gallery["task"]: gallery["cases"] for gallery in page_data(html)["galleries"]}
    drags = galleries["drags"]
    assert [case["target"] >= 0 for case in drags] == [index != 2 for index in range(9)]
    assert all(case["region"] != case["target"] for index, case in enumerate(drags) if index != 2)
    assert all(case["target"] == case["region"] == -1 for case in galleries["portraits"])


def test_coverage_tells_tasks_apart(html: str) -> None:
    rows = html.split("What was run")[1].split("</table>")[0].split("<tr")
    row = next(row for row in rows if "Region drag" in row)
    assert "8 of 9" in row and "1 failed" in row
    assert row.count("s each") == 1
    shared = next(row for row in rows if "Source, unedited" in row)
    assert "4 of 4" in shared and "9 of 9" in shared


def test_a_variant_is_called_what_the_first_table_calls_it(study: Study, tmp_path: Path) -> None:
    rows = [{**row, "label": "Naught"} if row["variant"] == "source" else row for row in study.tables["table4"]["rows"]]
    tables = {**study.tables, "table4": {**study.tables["table4"], "rows": rows}}
    build_report(study.root, study.config, tables, study.reported, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text()
    coverage = html.split("What was run")[1].split("</table>")[0]
    assert "Source, unedited" in coverage and "Naught" not in coverage
    assert "Naught" in section(html, "drags")


# --- sentences -------------------------------------------------------------------------------------------------------


def test_sentences_of_inversion_follow_from_the_table(study: Study, html: str) -> None:
    grid = grid_of(study, "table2")
    told = inversion_sentences(grid)
    assert told[0].startswith("FireFlow, 32 gives sources back best (PSNR ")
    assert told[0].endswith("for 66 network evaluations.")
    assert "16 to 18 evaluations, from best to worst: FireFlow, 8, " in told[1]
    assert sum("no inversion behind it" in text for text in told) == 2
    assert any(text.startswith("By PSNR the paper’s order is First order, 50 (E8); FireFlow, 32;") for text in told)
    assert told[0].split("(")[0] in section(html, "inversion")


def test_equal_cost_compares_rows_of_one_model_only(study: Study) -> None:
    told = " ".join(inversion_sentences(grid_of(study, "table2")))
    assert "First order, 50 (E8), 2" not in told  # DDIM of 50 steps spends the same, on another model
    rows = [row for row in study.tables["table2"]["rows"] if row["group"] != "Euler"]
    assert "nearly equal cost" not in " ".join(inversion_sentences(grid_of(study, "table2", rows=rows)))


def test_sentences_of_drags_follow_from_the_tables(study: Study) -> None:
    told = drag_sentences(grid_of(study, "table4"), grid_of(study, "table4_size"))
    assert told[0].startswith("DragFlow brings regions nearest to their targets (IoU 0.9")
    assert told[1].startswith("4 of 4 editors exceed “Source, unedited”")
    assert told[2].startswith("None of 4 editors exceed “Copy and paste” (1.000)")
    assert told[4].startswith("From small to large drags the mean IoU changes: that of DragFlow from 0.9")
    assert told[5] == "By IoU the paper’s order holds here: DragFlow; Naive point drag."


def test_sentences_need_no_metric_in_particular(study: Study) -> None:
    assert inversion_sentences(grid_of(study, "table2", metrics=["seconds"])) == []
    assert drag_sentences(grid_of(study, "table4", metrics=["seconds"]), None) == []
    alone = grid_of(study, "table2", rows=[{"variant": next(iter(INVERSIONS))}])
    assert inversion_sentences(alone) == []
