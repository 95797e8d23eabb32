"""What runs again after which change: nothing that need not, everything that must."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from editfrontier.study.config.study import Study, load_study
from editfrontier.study.figure import FIGURES
from workspace import Workspace, make_workspace

REPORT, CLAIMS = "Index of results: results/smoke/index.html", "Judgement of the paper's claims"
USER_STUDY = "Page of the user study: results/smoke/user_study/index.html"


def runs_of(study: Study, changed: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the jobs that run again when the edits of some variants of some tasks do, with what follows from them."""
    jobs = {REPORT, CLAIMS}
    for task, variants in changed.items():
        jobs.add(f"Summary of {task}")
        for variant in variants:
            shards = study.config["tasks"][task]["shards"]
            jobs |= {f"Edits of {task} by {variant}, shard {shard}" for shard in range(shards)}
            jobs.add(f"Scores of {variant} on {task}")
    tables = {name for name, table in study.tables.items() if table["task"] in changed}
    jobs |= {f"Table {name}" for name in tables}

    def shows(table: Mapping[str, Any]) -> bool:
        return any(row["variant"] in changed.get(table["task"], ()) for row in table["rows"])

    for name, entry in study.config["figures"].items():
        # A figure of images waits for the scores of its rows, others for the statistics of the task.
        if entry.get("table") in tables and ("statistics" in FIGURES.get(name).needs or shows(study.shown_by(name))):
            jobs.add(f"Figure {name}")
    for name, entry in study.analyses.items():
        if any(shows(table) for table in entry["experiments"].values()):
            jobs.add(f"Analysis {name}")
    if shows(study.tables[study.config["user_study"]["experiment"]]):
        jobs |= {USER_STUDY, "Analysis user_study"}
    return jobs


def study_of(workspace: Workspace) -> Study:
    return load_study([workspace.folder / workspace.config])


def test_times_comments_and_files_of_conda_that_is_not_used_run_nothing(workspace: Workspace) -> None:
    for file in workspace.folder.rglob("*"):
        if file.is_file() and not {"results", ".snakemake"} & set(file.relative_to(workspace.folder).parts):
            os.utime(file)
    for file in workspace.folder.glob("envs/*.yaml"):
        file.write_text(file.read_text() + "      - example==1.0\n")
    workspace.edit("src/editfrontier/editing/editors/sdedit.py", '"""SDEdit', '"""Another first line about SDEdit')
    workspace.edit("src/editfrontier/editing/editors/sdedit.py", "def edit(", "# a comment\ndef edit(")
    assert workspace.plan() == set()


def test_changed_code_of_an_editor_runs_its_edits_and_what_follows(workspace: Workspace) -> None:
    workspace.edit(
        "src/editfrontier/editing/editors/sdedit.py", "guidance_scale=params.guidance_scale", "guidance_scale=2.0"
    )
    study = study_of(workspace)
    changed = {
        task: names
        for task, variants in study.variants.items()
        if (names := [name for name, variant in variants.items() if variant.editor == "sdedit"])
    }
    assert set(changed) == {"portraits", "repeats"}
    assert workspace.plan() == runs_of(study, changed)


def test_changed_hyperparameter_runs_the_new_variant_only(workspace: Workspace) -> None:
    workspace.edit("config/smoke.yaml", "guidance_scale: 3.0", "guidance_scale: 4")
    changed = {"portraits": ["mask_guided+guidance_scale=4"]}
    assert workspace.plan() == runs_of(study_of(workspace), changed)


def test_added_editor_runs_its_own_jobs_only(workspace: Workspace) -> None:
    study = study_of(workspace)  # of before: this process has no editor of the new name
    table1 = {f"Analysis {name}" for name, entry in study.analyses.items() if "table1" in entry["experiments"]}
    table1 |= {f"Figure {name}" for name, entry in study.config["figures"].items() if entry.get("table") == "table1"}
    editors = workspace.folder / "src/editfrontier/editing/editors"
    text = (editors / "source.py").read_text().replace('name="source"', 'name="my_editor"')
    (editors / "my_editor.py").write_text(text)
    workspace.edit("config/micro.yaml", "  source: {}", "  source: {}\n  my_editor: {}")
    workspace.edit("config/smoke.yaml", "    rows:", "    rows:\n      - { editor: my_editor }")
    plan = workspace.plan()
    new = runs_of(study, {"portraits": ["my_editor"]})
    assert plan == new | table1 | {"Figure qualitative", USER_STUDY, "Analysis user_study"}
    assert {message for message in plan if message.startswith("Edits")} == {
        f"Edits of portraits by my_editor, shard {shard}" for shard in range(2)
    }


def test_changed_metric_code_scores_again_but_edits_nothing(workspace: Workspace) -> None:
    workspace.edit(
        "src/editfrontier/scoring/score.py",
        "from __future__ import annotations",
        "from __future__ import annotations\nX = 1",
    )
    plan = workspace.plan()
    assert {message for message in plan if message.startswith("Edits")} == set()
    assert {message for message in plan if message.startswith("Scores")} == {
        f"Scores of {variant} on {task}"
        for task, variants in load_study([workspace.folder / workspace.config]).variants.items()
        for variant in variants
    }


def test_batch_size_and_device_change_no_result(workspace: Workspace) -> None:
    workspace.edit("config/smoke.yaml", "batch_size: 4", "batch_size: 8")
    assert workspace.plan() == {CLAIMS, REPORT}


def test_changed_weights_run_the_editors_that_use_them(workspace: Workspace) -> None:
    (workspace.folder / "resources/micro/text-to-image/provenance.json").write_text('{"files": {}}')
    plan = workspace.plan()
    assert {"Edits of portraits by sdedit, shard 0", "Scores of sdedit on portraits"} <= plan
    assert not {message for message in plan if message.startswith("Edits") and "by true_edit" in message}


def test_edit_jobs_are_the_union_of_the_experiments(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, stub=True)
    config = yaml.safe_load((workspace.folder / workspace.config).read_text())
    study = load_study([workspace.folder / workspace.config]).config
    rows = [
        (study["experiments"][name]["task"], row["editor"], *sorted(row.get("params", {}).items()))
        for name, experiment in config["experiments"].items()
        for row in experiment["rows"]
    ]
    edits = [message for message in workspace.plan() if message.startswith("Edits")]
    assert len(rows) > len(set(rows)), "the experiments of the smoke config share no variant"
    assert len(edits) == sum(study["tasks"][task]["shards"] for task, *_ in set(rows))
