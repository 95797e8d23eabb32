"""The ledger in the workflow, and what a run says of its time."""

from __future__ import annotations

import re

import pytest

from workspace import Workspace, make_workspace


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("claims"), stub=True)


def test_ledger_is_made_after_statistics_and_before_the_page(fresh: Workspace) -> None:
    plan = fresh.run("claims", "--dry-run").stdout
    assert "Judgement of the paper's claims" in plan
    assert "Summary of portraits" in plan
    assert "Index of results: " not in plan


def test_wrong_list_of_claims_stops_snakemake_with_one_line(fresh: Workspace) -> None:
    fresh.edit("config/claims.yaml", "test: editing.highest_of_all", "test: editing.highest_of_al")
    result = fresh.run("--dry-run", check=False)
    fresh.edit("config/claims.yaml", "test: editing.highest_of_al", "test: editing.highest_of_all")
    assert result.returncode != 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    problem = (
        "test 'editing.highest_of_al': there is no such test. Did you mean 'editing.highest_of_all'? Correct the name, "
        "or add a function to a file of src/editfrontier/study/claims."
    )
    assert lines == [f"error: config/claims.yaml: key 'C01.test': {problem}"]
    assert "Traceback" not in result.stdout


def test_a_study_without_claims_has_no_ledger(fresh: Workspace) -> None:
    text = (fresh.folder / "config/micro.yaml").read_text()
    assert "claims: config/claims.yaml\n" in text
    (fresh.folder / "config/bare.yaml").write_text(text.replace("claims: config/claims.yaml\n", ""))
    plan = Workspace(fresh.folder, "config/bare.yaml").run("index", "--dry-run").stdout
    assert "Index of results: " in plan
    assert "Judgement of the paper" not in plan


def test_run_says_how_long_it_will_take_and_what_it_does(fresh: Workspace) -> None:
    text = fresh.run("data", "--cores", "2", "--quiet", "progress", "reason", "host").stdout
    assert len(re.findall(r"^\d+ jobs on 2 cores: .* \(estimate\)$", text, flags=re.MULTILINE)) == 1
    assert re.search(r"^Job \d+: ", text, flags=re.MULTILINE)
    assert "Reason:" not in text
