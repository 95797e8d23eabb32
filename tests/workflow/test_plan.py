"""The plan of the workflow: the jobs that a dry-run counts, and nothing started."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from workspace import Workspace, make_workspace


def test_plan_counts_the_jobs_of_the_dry_run_and_starts_none(tmp_path: Path, root: Path) -> None:
    workspace = make_workspace(tmp_path, stub=True)
    # The stub stands for jobs; the plan itself is real.
    program = (root / "src/editfrontier/program.py").read_text()
    (workspace.folder / "src/editfrontier/program.py").write_text(program)
    said = workspace.run("plan", "--cores", "1", "--quiet", "all").stdout
    dry = workspace.run("--dry-run").stdout
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", dry.rpartition("Job stats:")[2], flags=re.MULTILINE))
    (planned,) = re.findall(r"^total\s+(\d+)", said, flags=re.MULTILINE)
    assert int(planned) == int(counts["total"]) - 1  # `all` is no job
    edits = re.search(r"^edits\s+(\d+)", said, flags=re.MULTILINE)
    assert edits and edits[1] == counts["edit"]
    assert "Nothing is missing." in said
    assert not (workspace.results / "data").exists()


def test_plan_of_a_finished_study_is_empty(workspace: Workspace, root: Path) -> None:
    program = (root / "src/editfrontier/program.py").read_text()
    (workspace.folder / "src/editfrontier/program.py").write_text(program)
    zipfile.ZipFile(workspace.results / "report.zip", "w").close()  # an empty file would count as cut short
    assert "no job would run" in workspace.run("plan", "--cores", "1", "--quiet", "all").stdout


@pytest.mark.parametrize("profile", ["default", "slurm-a100", "local-gpu"])
def test_profiles_are_read(tmp_path: Path, profile: str) -> None:
    workspace = make_workspace(tmp_path, stub=True)
    said = workspace.run("data", "--dry-run", "--workflow-profile", f"profiles/{profile}").stdout
    assert "Cases of portraits" in said
