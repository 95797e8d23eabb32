"""The rules of the user study: what a file of responses, another instruction or another seed makes run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.study.config.study import load_study
from workspace import Workspace

ANALYSIS = "Analysis user_study"
PAGE = "Page of the user study: results/smoke/user_study/index.html"


def test_a_file_of_responses_runs_the_analysis_and_no_edit(workspace: Workspace) -> None:
    folder = workspace.folder / "responses/smoke"
    folder.mkdir(parents=True)
    (folder / "participant-01-complete.json").write_text("{}")
    plan = workspace.plan()
    assert {ANALYSIS, PAGE} <= plan  # the job of the page looks which design was answered
    assert not any(job.startswith(("Edits", "Scores", "Summary", "Table")) for job in plan)


def test_another_seed_of_the_study_makes_its_page_again_and_no_edit(workspace: Workspace) -> None:
    workspace.edit("config/smoke.yaml", "user_study: { participants: 3", "user_study: { seed: 7, participants: 3")
    plan = workspace.plan()
    assert {PAGE, ANALYSIS} <= plan
    assert not any(job.startswith(("Edits", "Scores", "Summary", "Table")) for job in plan)


def test_the_job_of_the_page_finds_the_design_of_the_last_run(workspace: Workspace) -> None:
    """Snakemake removes the outputs of a job before it runs, and with them would go what people have answered."""
    program = workspace.folder / "src/editfrontier/program.py"
    note = """
if script == "user_study":
    Path("found").write_text(" ".join(str(path) for path in map(Path, arguments[-3::2]) if path.is_file()))
"""
    program.write_text(program.read_text().replace("outputs = ", f"{note.strip()}\noutputs = ", 1))
    workspace.edit("config/smoke.yaml", "user_study: { participants: 3", "user_study: { seed: 7, participants: 3")
    workspace.run("results/smoke/user_study/index.html", "--cores", "1")
    found = (workspace.folder / "found").read_text().split()
    assert found == ["results/smoke/user_study/index.html", "results/smoke/user_study/design.json"]


def test_changed_look_of_the_page_makes_it_again_and_no_edit(workspace: Workspace) -> None:
    workspace.edit("reports/userstudy.css", "max-width: 660px", "max-width: 640px")
    plan = workspace.plan()
    assert PAGE in plan
    assert not any(job.startswith(("Edits", "Scores", "Summary", "Table")) for job in plan)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("participants: 3", "participants: none", "key 'user_study.participants': 'none', expected a whole number"),
        ("participants: 3", "participans: 3", "key 'user_study.participans': unknown key. Did you mean 'participants'"),
        ("raters: 2", "raters: 4", "key 'user_study.raters': 4 raters of each pair, but only 3 participants"),
        ("repeats: 1", "repeats: 3", "key 'user_study.repeats': 3, expected at most half of the 4 pairs"),
    ],
)
def test_wrong_settings_are_named_with_file_and_key(
    root: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    for name in ("micro", "smoke"):
        (tmp_path / f"{name}.yaml").write_text((root / f"config/{name}.yaml").read_text())
    file = tmp_path / "smoke.yaml"
    text = file.read_text()
    section = next(line for line in text.splitlines() if line.startswith("user_study:"))
    assert old in section
    file.write_text(text.replace(section, section.replace(old, new)))
    with pytest.raises(UserError) as error:
        load_study([file])
    assert "smoke.yaml" in str(error.value)
    assert message in str(error.value)
