"""Results that are missing or damaged are made again by the plain command, and nothing else is."""

from __future__ import annotations

from workspace import Workspace

STAGES = ("data", "edits", "scores", "statistics", "tables", "figures", "analyses", "claims", "index")


def test_cut_files_are_made_again(workspace: Workspace) -> None:
    files = {  # each of another task, so that none follows from another one
        "features/portraits/sdedit.npz": "Scores of sdedit on portraits",
        "scores/scenes/sources.npz": "Sources of scenes",
        "edits/repeats/source/shard-0.parquet": "Edits of repeats by source, shard 0",
        "statistics/drags.differences.parquet": "Summary of drags",
        "tables/table2.tex": "Table table2",
        "data/sessions/cases.parquet": "Cases of sessions",
    }
    whole = {file: (workspace.results / file).read_bytes() for file in files}
    for file, content in whole.items():
        (workspace.results / file).write_bytes(content[:-2])
    assert set(files.values()) <= workspace.plan()
    targets = [f"results/smoke/{file}" for file in files]
    workspace.run(*targets, "--cores", "2")
    assert {file: (workspace.results / file).read_bytes() for file in files} == whole
    assert workspace.plan(*targets) == set()


def test_deleted_intermediate_files_are_made_again(workspace: Workspace) -> None:
    files = {
        "features/portraits/sdedit.npz": "Scores of sdedit on portraits",
        "statistics/portraits.differences.parquet": "Summary of portraits",
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


def test_config_of_the_results_is_written_again(workspace: Workspace) -> None:
    path = workspace.results / "config.yaml"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert workspace.plan() == {"Index of results: results/smoke/index.html"}
    path.unlink()
    workspace.run("index", "--cores", "1")
    assert path.read_bytes() == whole
    assert workspace.plan() == set()
