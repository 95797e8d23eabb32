"""CSV files: a spreadsheet computes no text of a config or a data set, numbers stay numbers, readers get texts back."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pandas as pd
import pytest

from editfrontier.base.csv_files import as_text, frame_as_csv, read_rows, rows_as_csv, without_mark
from editfrontier.data.reading.choice import check_manifest, read_manifest, write_manifest
from editfrontier.study.findings import Finding, read_findings, write_findings
from editfrontier.study.report.analyses import sources
from editfrontier.study.results.naming import read_reported, read_statistics
from editfrontier.study.results.tables import build_grid, to_long, write_table
from study_fixture import Study, make_study

LIBRARY = Path(__file__).resolve().parents[2] / "src" / "editfrontier"
FORMULAS = (
    "=1+2",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://a.example","x")',
    "+1+2",
    "-1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\uff1d1",
    "-inf",
    "'=1",
    "''=1",
    "--",
)
PLAIN = ("", "a=1", "w = 7.5", "-0.5", "+3", "-1e-5", "-.5", "-", "'quoted'", "–", "5%", "$x$", "中文", "a\nb")


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN])
def test_texts_come_back(text: str, tmp_path: Path) -> None:
    assert without_mark(as_text(text)) == text
    (tmp_path / "a.csv").write_bytes(rows_as_csv(["a", "b"], [{"a": text, "b": 1.5}]))
    assert read_rows(tmp_path / "a.csv") == [{"a": text, "b": "1.5"}]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_compute_begins_with_an_apostrophe(text: str) -> None:
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_stay(text: str) -> None:
    assert as_text(text) == text
    assert as_text(-0.5) == -0.5


def test_numbers_of_a_table_stay_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["=1", "b"], "value": [-0.25, float("-inf")], "n": [-1, 2], "ok": [True, False]})
    (tmp_path / "a.csv").write_bytes(frame_as_csv(frame))
    back = pd.read_csv(tmp_path / "a.csv")
    assert back.drop(columns="name").equals(frame.drop(columns="name"))
    assert list(back["name"]) == ["'=1", "b"]
    assert list(frame["name"]) == ["=1", "b"]  # the frame itself is left alone
    assert frame_as_csv(frame, "%.1f").decode().splitlines()[1] == "'=1,-0.2,-1,True"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study") / "fixture", cases=2)


def test_labels_in_a_table_are_no_formulas(study: Study, tmp_path: Path) -> None:
    statistics = study.root / "statistics" / "portraits.parquet"
    names = ("sdedit", "mask_guided")
    rows = [{"variant": name, "label": label} for name, label in zip(names, FORMULAS, strict=False)]
    table = {**study.tables["table1"], "rows": rows}
    files = [tmp_path / f"t.{suffix}" for suffix in ("csv", "md", "tex")]
    write_table(table, statistics, study.reported, *files)
    with files[0].open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=1+2" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]
    back = read_rows(files[0])
    long = to_long(build_grid(table, read_statistics(statistics), read_reported(study.reported)))
    assert [row["row"] for row in back] == list(long["row"])
    assert [float(row["value"] or "nan") for row in back] == pytest.approx(list(long["value"]), nan_ok=True)


def test_findings_and_manifests_are_no_formulas_and_read_back(tmp_path: Path) -> None:
    rows = [Finding(quantity="mean", level=text, note=text, value=-0.5) for text in FORMULAS]
    path = tmp_path / "analyses" / "drift.parquet"
    write_findings(path, rows, {})
    assert [row["level"] for row in read_rows(path.with_suffix(".csv"))] == list(FORMULAS)
    assert [row.level for row in read_findings(path).rows] == list(FORMULAS)
    assert "'=1+2" in sources(tmp_path, {"analyse": ["drift"]})["analysis-drift-csv"].read_text()
    chosen = [{"id": text, "file": f"{number}.png"} for number, text in enumerate(FORMULAS)]
    write_manifest(tmp_path / "manifest.csv", chosen)
    assert read_manifest(tmp_path / "manifest.csv") == chosen
    check_manifest(tmp_path / "manifest.csv", read_manifest(tmp_path / "manifest.csv"), chosen)
    assert "'=1+2" in (tmp_path / "manifest.csv").read_text(encoding="utf-8")


def test_no_other_module_writes_csv() -> None:
    writers = {"writer", "DictWriter", "to_csv"}
    found = [
        path.relative_to(LIBRARY).as_posix()
        for path in sorted(LIBRARY.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in writers
    ]
    assert set(found) == {"base/csv_files.py"}
