"""Reasons of failed edits with their counts: at the end of an edit job, of a run, and by `where`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.testing

from editfrontier.base.places import ROOT
from editfrontier.cli import app
from editfrontier.editing.failures import LONGEST, MOST, Outcome, failures, reasons
from editfrontier.editing.records import CaseRecord, write_record
from test_edit import change_cases
from tiny_pipelines import tiny_cases


def test_reasons_are_counted_by_kind_and_shown_as_the_first_case_has_them() -> None:
    outcomes = [
        Outcome("case-1", "failed", "case case-1: TypeError: a slip"),
        Outcome("case-2", "failed", "data/case-2.png: is 12x13 pixels"),
        Outcome("case-3", "ok", ""),
        Outcome("case-40", "failed", "data/case-40.png: is 8x9 pixels"),
        Outcome("case-5", "failed", "data/case-5.png: is 100x9 pixels"),
        Outcome("case-6", "not run", "not run, since step 1 of its chain failed: ..."),
        Outcome("case-7", "not run", "not run, since step 2 of its chain failed: ..."),
    ]
    assert reasons(outcomes) == [
        "3 x data/case-2.png: is 12x13 pixels",
        "1 x case case-1: TypeError: a slip",
        "2 x not run, since a step before it in its chain failed",
    ]
    assert reasons([Outcome("case-3", "ok", "")]) == []


def test_many_and_long_and_hostile_reasons_stay_short_lines() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"]
    lines = reasons([Outcome(f"case-{i}", "failed", word) for i, word in enumerate(words)])
    assert lines[:MOST] == [f"1 x {word}" for word in words[:MOST]]
    assert lines[MOST:] == ["2 x 2 other reasons"]
    (line,) = reasons([Outcome("case-1", "failed", "\x1b[2J" + "two\nlines " + "x" * 2000)])
    assert line.startswith("1 x ?[2Jtwo lines xxx") and len(line) < LONGEST + 20


def put(folder: Path, shard: int, *rows: CaseRecord) -> None:
    write_record(folder / f"shard-{shard}.parquet", rows, {})


def test_a_study_names_what_failed_and_first_what_has_no_edit(tmp_path: Path) -> None:
    edits = tmp_path / "edits" / "own"
    put(edits / "good", 0, CaseRecord("a", "ok"), CaseRecord("b", "ok"))
    put(edits / "part", 0, CaseRecord("a", "ok"))
    put(edits / "part", 1, CaseRecord("b", "failed", "case b: too dark"))
    put(edits / "none", 0, CaseRecord("a", "failed", "case a: no mask"), CaseRecord("b", "failed", "case b: no mask"))
    (edits / "cut").mkdir()
    (edits / "cut" / "shard-0.parquet").write_bytes(b"PAR1")
    lines = failures(tmp_path, {"own": ["good", "part", "none", "cut", "not_yet"], "other": ["good"]})
    assert lines[:5] == [
        f"Edits that failed, by the records in {edits.parent}:",
        "  own, none: 2 of 2 cases failed, NO CASE WAS EDITED",
        "    2 x case a: no mask",
        "  own, part: 1 of 2 cases failed",
        "    1 x case b: too dark",
    ]
    assert "shard-0.parquet: not a readable parquet table" in lines[6] and len(lines) == 7
    assert failures(tmp_path, {"own": ["good", "not_yet"]}) == []


def edit(cases: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the rule `edit` in a process of its own, standard output and error together."""
    spec = json.dumps({"editor": "true_edit", "variant": "true_edit"})
    record = str(out / "shard-0.parquet")
    arguments = ["--cases", str(cases), "--spec", spec, "--record", record, "--images", str(out / "images"), *options]
    command = [sys.executable, str(ROOT / "scripts/edit.py"), *arguments]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_edit_prints_reasons_and_nothing_edited_is_status_1(tmp_path: Path) -> None:
    cases = tiny_cases(tmp_path / "data", 3)
    change_cases(cases, case_0={"true_edit": ""})
    some = edit(cases, tmp_path / "some")
    assert some.returncode == 0
    assert "1 x case case-0: has no true_edit, which the editor needs" in some.stdout
    change_cases(cases, case_1={"true_edit": ""}, case_2={"true_edit": ""})
    none = edit(cases, tmp_path / "none")
    assert none.returncode == 1
    assert "3 x case case-0: has no true_edit" in none.stdout
    assert "error: no case was edited" in none.stdout
    # A job of the workflow records the same rows, and its study goes on.
    job = edit(cases, tmp_path / "job", "--may-fail")
    assert job.returncode == 0 and (tmp_path / "job" / "shard-0.parquet").is_file()
    assert "3 x case case-0: has no true_edit" in job.stdout


def test_jobs_of_the_workflow_may_fail_and_the_run_tells(root: Path) -> None:
    assert " --may-fail " in (root / "rules" / "edits.smk").read_text()


def test_where_tells_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    config = tmp_path / "mine.yaml"
    results = tmp_path / "results"
    config.write_text(f"extends: {root / 'config' / 'smoke.yaml'}\nresults: {results}\n")
    put(results / "edits" / "portraits" / "source", 0, CaseRecord("a", "failed", "case a: too dark"))
    monkeypatch.chdir(root)
    invoke = typer.testing.CliRunner().invoke
    result = invoke(app, ["where", "--config", str(config)])
    assert "portraits, source: 1 of 1 cases failed, NO CASE WAS EDITED\n    1 x case a: too dark" in result.output
    assert "there is no report yet" in str(result.exception)
    (results / "index.html").write_text("")
    result = invoke(app, ["where", "--config", str(config)])
    assert result.exit_code == 0 and "The report is in" in result.output and "1 x case a: too dark" in result.output
