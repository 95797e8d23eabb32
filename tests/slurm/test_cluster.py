"""The study through the profile for SLURM, undisturbed, and with everything that happens on a cluster."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fake_cluster import FakeCluster, alive
from study import BATCHES, EVENTS, calls, copy_study, hold, images_of, record_of, release, start_run, until
from workspace import Workspace

pytestmark = pytest.mark.slow


def test_study_runs_through_the_profile_to_the_report(undisturbed: tuple[Workspace, str]) -> None:
    workspace, said = undisturbed
    assert (workspace.results / "index.html").stat().st_size > 0
    assert (workspace.results / "report.zip").stat().st_size > 0
    made = images_of(workspace)
    assert len(made) == 2 * BATCHES * (2 + len(EVENTS))
    assert {status for status, _ in made.values()} == {"ok"}
    # Everything that computes went through SLURM, in jobs of its own; what writes a table or a page did not.
    submitted = re.findall(r"results/slurm/rule_(\w+?)/", said)
    assert sorted(submitted) == sorted(
        ["cases", "segmented_cases", "reference", "sources", "validation", "summarise"] + ["edit"] * 6 + ["score"] * 6
    )
    assert "--array" not in said


def test_jobs_on_gpus_get_one_each_and_the_partition_that_has_them(undisturbed: tuple[Workspace, str]) -> None:
    workspace, said = undisturbed
    for name in EVENTS:
        for note in calls(workspace, name):
            assert note["CUDA_VISIBLE_DEVICES"] == "0"
            assert note["SLURM_JOB_PARTITION"] == "gpu"
            assert note["SLURMD_NODENAME"].startswith("g")
    chosen = dict(re.findall(r"Auto-selected partition '(\w+)' for job (\w+)", said)[::-1])
    assert chosen.keys() == {"gpu", "cpu"}
    by_rule = {
        rule: partition for partition, rule in re.findall(r"Auto-selected partition '(\w+)' for job (\w+)", said)
    }
    assert {rule for rule, partition in by_rule.items() if partition == "gpu"} == {
        "edit",
        "sources",
        "score",
        "validation",
        "segmented_cases",
    }


def test_masks_by_sam_are_made_on_a_gpu_and_other_cases_on_none(
    cluster: FakeCluster, undisturbed: tuple[Workspace, str]
) -> None:
    asked = cluster.asked()
    edits = {gres for comment, (_, gres) in asked.items() if comment.startswith("rule_edit_")}
    assert asked["rule_segmented_cases_wildcards_masked"] == ("gpu", *edits)
    assert asked["rule_cases_wildcards_portraits"] == ("cpu", "N/A")
    folder = undisturbed[0].results / "data/masked"
    cases = pd.read_parquet(folder / "cases.parquet")
    assert set(cases["mask_origin"]) == {"automatic"}
    assert len(pd.read_csv(folder / "automatic_masks.csv")) == len(cases) == 3


def test_logs_of_slurm_go_when_jobs_went_well(undisturbed: tuple[Workspace, str]) -> None:
    workspace, _ = undisturbed
    assert not list((workspace.folder / "results/slurm").rglob("*.log"))
    assert (workspace.results / "logs/edit/portraits/sdedit/shard-0.log").read_text()


def test_cancelled_timed_out_lost_and_requeued_jobs_change_no_result(
    cluster: FakeCluster, undisturbed: tuple[Workspace, str], tmp_path: Path
) -> None:
    workspace = copy_study(undisturbed[0], tmp_path / "disturbed", *EVENTS)
    for name in EVENTS:
        hold(workspace, name)
    # What follows from an edit runs after its second attempt, too.
    scores = "results/cluster/scores/portraits/held+name=timed_out.parquet"
    run = start_run(workspace, scores, *(record_of(workspace, name) for name in EVENTS))
    try:
        until("four shards in their second batch", lambda: all(len(calls(workspace, n)) == 2 for n in EVENTS), 400, run)
        first = {name: calls(workspace, name)[0] for name in EVENTS}
        job = {name: first[name]["SLURM_JOB_ID"] for name in EVENTS}
        assert len({note["SLURMD_NODENAME"] for note in first.values()}) == len(EVENTS)

        cluster.command("scontrol", "update", f"JobId={job['timed_out']}", "TimeLimit=1")
        cluster.kill_node(first["node_lost"]["SLURMD_NODENAME"])
        cluster.command("scancel", job["cancelled"])
        cluster.command("scontrol", "requeue", job["requeued"])
        for name, states in (
            ("cancelled", {"CANCELLED"}),
            ("requeued", {"PENDING", "RUNNING"}),
            ("node_lost", {"PENDING", "RUNNING"}),
            ("timed_out", {"TIMEOUT"}),
        ):

            def gone(name: str = name, states: set[str] = states) -> bool:
                return cluster.state(job[name]) in states and not alive(first[name]["pid"])

            until(f"the job to be {name}", gone, 120, run)
            release(workspace, name)
        said = run.wait(400)
    finally:
        run.stop()
        cluster.start_lost_nodes()

    for name in EVENTS:
        notes = calls(workspace, name)
        attempts = {note["pid"]: note for note in notes}
        assert len(attempts) == 2, name
        # Two batches were begun, one was finished: the second attempt makes the second and the third.
        assert [note["cases"] for note in notes] == [
            notes[0]["cases"],
            notes[1]["cases"],
            notes[1]["cases"],
            notes[3]["cases"],
        ]
        assert len({tuple(note["cases"]) for note in notes}) == BATCHES
        again = notes[-1]["SLURM_JOB_ID"] == job[name]
        # SLURM itself puts back what it lost and what is requeued; the others are new jobs.
        assert again == (name in ("requeued", "node_lost")), name
    assert "SLURM status is: 'CANCELLED'" in said
    assert "SLURM status is: 'TIMEOUT'" in said

    assert images_of(workspace) == images_of(undisturbed[0])
    frames = [pd.read_parquet(place.folder / scores) for place in (workspace, undisturbed[0])]
    frames = [frame[~frame["metric"].str.contains("seconds")].reset_index(drop=True) for frame in frames]
    assert len(frames[0]) > 0
    pd.testing.assert_frame_equal(*frames)


def doctor(workspace: Workspace, *options: str) -> str:
    """Return what `doctor` says of the workspace and the cluster."""
    command = [sys.executable, "-m", "editfrontier", "doctor", "--config", workspace.config]
    environment = os.environ | {"PYTHONPATH": str(workspace.folder / "src")}
    result = subprocess.run(
        [*command, "--profile", "profiles/slurm-a100", *options],
        cwd=workspace.folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == ("\nwrong " in result.stdout), result.stdout
    return result.stdout


def test_doctor_probes_a_node_of_each_kind(undisturbed: tuple[Workspace, str]) -> None:
    said = doctor(undisturbed[0], "--patience", "60")
    assert re.search(r"^ok +partition gpu +up, 5 nodes with gpu:a100:1$", said, flags=re.MULTILINE), said
    assert re.search(r"^ok +partition cpu +up, 1 nodes$", said, flags=re.MULTILINE), said
    assert re.search(r"^ok +MinJobAge +600 s", said, flags=re.MULTILINE), said
    assert re.search(r"^ok +orphans ", said, flags=re.MULTILINE), said
    # The GPUs are device files only. SLURM gave one to the probe, and the probe says that torch cannot use it.
    assert re.search(
        r"^wrong +probe gpu +node g\d, .*CUDA_VISIBLE_DEVICES=0, but torch sees no GPU", said, re.MULTILINE
    )
    assert re.search(r"^ok +probe cpu +node c1, Python 3", said, flags=re.MULTILINE), said
    assert not list(undisturbed[0].results.glob(".probe-*"))


def test_run_after_a_killed_one_goes_on_where_it_was(
    cluster: FakeCluster, undisturbed: tuple[Workspace, str], tmp_path: Path
) -> None:
    name = "cancelled"
    workspace = copy_study(undisturbed[0], tmp_path / "killed", name)
    hold(workspace, name)
    record = record_of(workspace, name)
    run = start_run(workspace, record)
    try:
        until("the shard in its second batch", lambda: len(calls(workspace, name)) == 2, 120, run)
    finally:
        run.process.send_signal(signal.SIGKILL)
        run.process.wait()
    orphan = calls(workspace, name)[0]["SLURM_JOB_ID"]
    assert cluster.state(orphan) == "RUNNING"
    found = doctor(workspace, "--no-probe")
    assert re.search(rf"^wrong +orphans .*scancel {orphan}$", found, flags=re.MULTILINE), found
    assert re.search(r"^wrong +lock .*snakemake --unlock", found, flags=re.MULTILINE), found
    cluster.command("scancel", orphan)
    until("the orphan to end", lambda: cluster.state(orphan) == "CANCELLED", 20)
    release(workspace, name)
    workspace.run("--unlock")
    assert re.search(r"^ok +orphans ", doctor(workspace, "--no-probe"), flags=re.MULTILINE)
    start_run(workspace, record, name="again").wait(120)
    assert len(calls(workspace, name)) == 2 + BATCHES - 1
