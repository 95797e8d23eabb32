"""What runs again after which change: nothing that need not, everything that must."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from editfrontier.config import load_study
from workspace import Workspace, make_workspace

# What depends on the scores of a task, whatever has changed in them.
SUMMARIES = {
    "Intervals of portraits",
    "Table table1",
    "Table table3",
    "Figure frontier",
    "Figure ablation",
    "Figure qualitative",
    "The report: results/smoke/index.html",
}


def edits_and_scores(variant: str, shards: int = 2) -> set[str]:
    return {f"Edits of portraits by {variant}, shard {shard}" for shard in range(shards)} | {
        f"Scores of {variant} on portraits"
    }


def test_nothing_runs_again_when_nothing_changed(workspace: Workspace) -> None:
    assert workspace.plan() == set()


def test_touching_every_file_runs_nothing(workspace: Workspace) -> None:
    for file in workspace.folder.rglob("*"):
        if file.is_file() and not {"results", ".snakemake"} & set(file.relative_to(workspace.folder).parts):
            os.utime(file)
    assert workspace.plan() == set()


def test_comments_and_docstrings_run_nothing(workspace: Workspace) -> None:
    workspace.edit("src/editfrontier/editors/sdedit.py", '"""SDEdit', '"""Another first line about SDEdit')
    workspace.edit("src/editfrontier/editors/sdedit.py", "def edit(", "# a comment\ndef edit(")
    assert workspace.plan() == set()


def test_changed_code_of_an_editor_runs_its_edits_and_what_follows(workspace: Workspace) -> None:
    workspace.edit("src/editfrontier/editors/sdedit.py", "guidance_scale=params.guidance_scale", "guidance_scale=2.0")
    assert workspace.plan() == edits_and_scores("sdedit") | SUMMARIES


def test_changed_hyperparameter_runs_the_new_variant_only(workspace: Workspace) -> None:
    workspace.edit("config/smoke.yaml", "guidance_scale: 3.0", "guidance_scale: 4")
    new = edits_and_scores("mask_guided+guidance_scale=4")
    assert workspace.plan() == new | SUMMARIES | {"Complete config of this run"}


def test_added_editor_runs_its_own_jobs_only(workspace: Workspace) -> None:
    editors = workspace.folder / "src/editfrontier/editors"
    text = (editors / "source.py").read_text().replace('name="source"', 'name="my_editor"')
    (editors / "my_editor.py").write_text(text)
    workspace.edit("config/micro.yaml", "  source: {}", "  source: {}\n  my_editor: {}")
    workspace.edit("config/smoke.yaml", "    rows:", "    rows:\n      - { editor: my_editor }")
    assert workspace.plan() == edits_and_scores("my_editor") | SUMMARIES | {"Complete config of this run"}


def test_changed_metric_code_scores_again_but_edits_nothing(workspace: Workspace) -> None:
    workspace.edit(
        "src/editfrontier/score.py", "from __future__ import annotations", "from __future__ import annotations\nX = 1"
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
    assert workspace.plan() == {"Complete config of this run", "The report: results/smoke/index.html"}


def test_changed_weights_run_the_editors_that_use_them(workspace: Workspace) -> None:
    (workspace.folder / "resources/micro/text-to-image/provenance.json").write_text('{"files": {}}')
    plan = workspace.plan()
    assert edits_and_scores("sdedit") <= plan
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
