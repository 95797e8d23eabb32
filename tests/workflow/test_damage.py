"""Results that are missing or damaged are made again by the plain command, and nothing else is."""

from __future__ import annotations

import pytest

from workspace import Workspace

STAGES = ("data", "edits", "scores", "statistics", "tables", "figures", "analyses", "claims", "index")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("features/portraits/sdedit.npz", "Scores of sdedit on portraits"),
        ("scores/portraits/sources.npz", "Source-side features of portraits"),
        ("edits/portraits/sdedit/shard-0.parquet", "Edits of portraits by sdedit, shard 0"),
        ("statistics/portraits.differences.parquet", "Intervals of portraits"),
        ("tables/table1.tex", "Table table1"),
        ("data/portraits/cases.parquet", "Cases of portraits"),
    ],
)
def test_cut_file_is_made_again(workspace: Workspace, file: str, message: str) -> None:
    path = workspace.results / file
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert message in workspace.plan()
    workspace.run(f"results/smoke/{file}", "--cores", "1")
    assert path.read_bytes() == whole
    assert message not in workspace.plan(f"results/smoke/{file}")


def test_deleted_intermediate_files_are_made_again(workspace: Workspace) -> None:
    files = {
        "features/portraits/sdedit.npz": "Scores of sdedit on portraits",
        "statistics/portraits.differences.parquet": "Intervals of portraits",
        "figures/frontier.pdf": "Figure frontier",
        "tables/table2.md": "Table table2",
        "analyses/drift.png": "Analysis drift",
        "edits/portraits/true_edit/shard-1.parquet": "Edits of portraits by true_edit, shard 1",
    }
    for file in files:
        (workspace.results / file).unlink()
    assert set(files.values()) <= workspace.plan("all")


def test_missing_or_cut_image_makes_its_shard_again_and_a_whole_one_does_not(workspace: Workspace) -> None:
    folder = workspace.results / "edits/portraits/sdedit"
    (folder / "images").mkdir()
    (folder / "images/a.png").write_bytes(b"12345")
    contents = folder / "shard-1.contents"
    contents.write_text("5\timages/a.png\n")
    assert workspace.plan() == set()
    for harm in ("6\timages/a.png\n", "5\timages/a.png\n5\timages/b.png\n"):
        contents.write_text(harm)
        plan = workspace.plan()
        assert {job for job in plan if job.startswith("Edits")} == {"Edits of portraits by sdedit, shard 1"}


@pytest.mark.parametrize("harm", ["cut", "deleted"])
def test_config_of_the_results_is_written_again_by_the_plain_command(workspace: Workspace, harm: str) -> None:
    path = workspace.results / "config.yaml"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2]) if harm == "cut" else path.unlink()
    assert workspace.plan() == {"The report: results/smoke/index.html"}
    workspace.run("index", "--cores", "1")
    assert path.read_bytes() == whole
    assert workspace.plan() == set()
