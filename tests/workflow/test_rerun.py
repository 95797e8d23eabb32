"""`editfrontier rerun`: the call behind a file of the results, and the same job in the foreground."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from editfrontier.base.errors import DEBUG
from editfrontier.cli import app
from editfrontier.running import rerun
from editfrontier.running.planning.graph import Call
from workspace import Workspace

TABLE = "results/smoke/tables/table1.tex"


@pytest.fixture
def finished_here(finished: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The finished workspace, which nothing here changes, as the folder of the process."""
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("PYTHONPATH", str(finished.folder / "src"))
    return finished


@pytest.fixture
def copy_here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the finished workspace as the folder of the process."""
    monkeypatch.chdir(workspace.folder)
    monkeypatch.setenv("PYTHONPATH", str(workspace.folder / "src"))
    return workspace


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rerun", *arguments])


def test_the_call_is_that_of_the_run_and_makes_the_same_file(copy_here: Workspace) -> None:
    dry = copy_here.run(TABLE, "--dry-run", "--printshellcmds", "--force").stdout
    (expected,) = re.findall(r"^Shell command: (python scripts/.*)$", dry, flags=re.MULTILINE)
    before = Path(TABLE).read_text()
    Path(TABLE).write_text("something else")
    said = call(TABLE, "--run")
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines()[-1] == expected
    assert "--config results/smoke/config.yaml --table table1 " in expected
    assert Path(TABLE).read_text() == before


def test_a_file_that_no_job_makes_names_the_nearest_one(finished_here: Workspace) -> None:
    said = str(call("results/smoke/tables/tabel1.tex", "--config", "config/smoke.yaml").exception)
    assert said.startswith("results/smoke/tables/tabel1.tex: no job of config/smoke.yaml makes it. Did you mean ")
    assert "Did you mean 'results/smoke/tables/table1.tex'? Correct the path or --config." in said


def test_an_input_and_a_far_name_are_no_outputs(finished_here: Workspace) -> None:
    said = str(call("config/claims.yaml", "--config", "config/smoke.yaml").exception)
    assert (
        said == "config/claims.yaml: jobs of config/smoke.yaml read it and none makes it. Name a file that one makes."
    )
    said = str(call("zzz", "--config", "config/smoke.yaml").exception)
    assert "zzz: no job of config/smoke.yaml makes it. `snakemake --summary` lists what jobs make." in said
    said = str(call(TABLE, "--config", "config/smok.yaml").exception)
    assert said == "config/smok.yaml: no such config file. Did you mean 'config/smoke.yaml'? Correct the path."


def test_a_run_makes_again_only_what_was_made_with_other_settings(copy_here: Workspace) -> None:
    assert call(TABLE, "--run").exit_code == 0
    assert copy_here.plan() == set()
    copy_here.edit("results/smoke/config.yaml", "title: Editing of face attributes", "title: Changed by hand")
    assert call(TABLE, "--run").exit_code == 0
    assert "Table table1" in copy_here.plan()


def test_a_debugger_gets_the_script_with_its_options_and_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def run(command: list[str], env: dict[str, str], check: bool) -> object:
        started.append((command, env))
        return type("Done", (), {"returncode": 3})

    monkeypatch.setattr(rerun.subprocess, "run", run)
    shell = "python scripts/edit.py --spec '{\"a\":\"> b\"}' --may-fail > 'a b.log' 2>&1"
    assert [rerun.foreground(Call("edit", shell, 2), debug) for debug in (False, True)] == [3, 3]
    (plain, variables), (debugged, debugging) = started
    assert plain == [sys.executable, "scripts/edit.py", "--spec", '{"a":"> b"}', "--may-fail"]
    assert debugged == [sys.executable, "-m", "pdb", *plain[1:]]
    assert (variables["OMP_NUM_THREADS"], variables["HF_HUB_OFFLINE"]) == ("2", "1")
    assert DEBUG not in variables and debugging[DEBUG]
