"""A small study to run on SLURM: real jobs, an editor with a shipped model, and one that can be held in mid-shard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from celeba_files import pack, write_celeba
from editfrontier.study.config.study import load_study
from tiny_sam import write_sam
from workspace import ROOT, Workspace, make_workspace

FAST = Path(__file__).with_name("fast_snakemake.py")
EVENTS = ("cancelled", "requeued", "timed_out", "node_lost")
BATCHES = 3
CONFIG = "config/cluster.yaml"

# Mirrors the sources. Of every batch it notes where it was edited; while there is a file gates/<name>.hold, it stops in
# the second batch that a process begins.
HELD = '''
"""For tests: an editor that stops in mid-shard while it is told to."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from editfrontier.editing.editor import Editor

GATES = Path("gates")
begun = []


@dataclass(frozen=True)
class HeldParams:
    name: str = ""


def edit(model, batch, params):
    begun.append(batch.case_ids)
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_PARTITION")
    note = {"pid": os.getpid(), "cases": batch.case_ids, **{name: os.environ.get(name, "") for name in names}}
    with (GATES / f"{params.name}.jsonl").open("a") as file:
        file.write(json.dumps(note) + "\\n")
    while len(begun) == 2 and (GATES / f"{params.name}.hold").exists():
        time.sleep(0.1)
    return batch.images.flip(-1)


EDITOR = Editor(name="held", params=HeldParams, edit=edit)
'''


def make_study(folder: Path) -> Workspace:
    """Make a workspace whose study has one task of six portraits, in batches of two, and six variants; and a task of
    photographs, edited by nobody, whose masks a tiny random SAM makes."""
    make_workspace(folder, stub=False)
    (folder / "src/editfrontier/editing/editors/held.py").write_text(HELD.lstrip())
    shutil.copy2(ROOT / "requirements.lock", folder)
    (folder / "gates").mkdir()
    config: dict[str, Any] = dict(load_study([ROOT / "config/smoke.yaml"]).config)
    for key in ("claims", "user_study", "analyses"):
        config.pop(key)
    rows = [
        {"editor": "sdedit", "group": "editors"},
        *({"editor": "held", "params": {"name": name}, "label": name, "group": "editors"} for name in EVENTS),
        {"editor": "true_edit", "group": "controls"},
    ]
    config |= {
        "results": "results/cluster",
        "run": ["table1"],
        "analyse": [],
        "tasks": {"portraits": {"dataset": "portraits", "cases": 2 * BATCHES, "shards": 1, "batch_size": 2}},
        "experiments": {"table1": {**config["experiments"]["table1"], "rows": rows}},
        "figures": {"frontier": {"table": "table1"}},
        # Jobs ask for a GPU and take the processor where the one that they got is none.
        "compute": {**config["compute"], "device": "auto"},
    }
    photographs, faces = folder / "data/celeba_hq", write_celeba(folder / "faces", count=8, size=64)
    pack(faces, photographs / "CelebAMask-HQ.zip")
    shutil.move(faces / "list_eval_partition.txt", photographs)
    options = {"root": str(photographs), "size": 64, "split": "all", "masks": "automatic"}
    options["sam"] = str(write_sam(folder / "sam"))
    config["tasks"]["masked"] = {"dataset": "celeba_hq", "cases": 3, "shards": 1, "options": options}
    config["editors"] |= {"held": {}}
    config["statistics"].pop("tasks", None)
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    return Workspace(folder, CONFIG)


@dataclass
class Run:
    """A run of Snakemake on the cluster, in a workspace."""

    workspace: Workspace
    process: subprocess.Popen[str]
    log: Path

    def wait(self, seconds: float) -> str:
        """Wait for its end, demand success, and return what it said."""
        code = self.process.wait(seconds)
        text = self.log.read_text()
        assert code == 0, text[-6000:]
        return text

    def stop(self) -> None:
        """End it the way a user does (Ctrl-C), by force if it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(2)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


def start_run(workspace: Workspace, *arguments: str, name: str = "run") -> Run:
    """Start the study with the profile for SLURM."""
    profile = ["--workflow-profile", "profiles/slurm-a100", "--slurm-init-seconds-before-status-checks", "1"]
    profile += ["--max-status-checks-per-second", "10", "--latency-wait", "10"]
    command = [sys.executable, str(FAST), "--configfile", workspace.config, *profile, *arguments]
    log = workspace.folder / f"{name}.log"
    environment = os.environ | {"PYTHONPATH": str(workspace.folder / "src")}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=workspace.folder, env=environment, text=True, stdout=file, stderr=subprocess.STDOUT
        )
    return Run(workspace, process, log)


def copy_study(workspace: Workspace, folder: Path, *unmade: str) -> Workspace:
    """Copy a finished study, without the edits by the variants of `held` that are named."""
    shutil.copytree(workspace.folder, folder, ignore=shutil.ignore_patterns("*.log", "gates"))
    (folder / "gates").mkdir()
    copy = Workspace(folder, workspace.config)
    for name in unmade:
        shutil.rmtree((folder / record_of(copy, name)).parent)
    return copy


def record_of(workspace: Workspace, name: str) -> str:
    """Return the record of a variant of `held`, relative to the workspace."""
    return str((workspace.results / f"edits/portraits/held+name={name}/shard-0.parquet").relative_to(workspace.folder))


def hold(workspace: Workspace, name: str) -> None:
    (workspace.folder / f"gates/{name}.hold").touch()


def release(workspace: Workspace, name: str) -> None:
    (workspace.folder / f"gates/{name}.hold").unlink()


def calls(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """Return what the editor noted of every batch that it began."""
    file = workspace.folder / f"gates/{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def until(what: str, ready: Callable[[], Any], seconds: float, run: Run | None = None) -> Any:
    """Wait until something is there and return it."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        said = run.log.read_text()[-4000:] if run else ""
        assert run is None or run.process.poll() is None, f"the run ended before {what}\n{said}"
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}\n{said}"
        time.sleep(0.2)
    return found


def images_of(workspace: Workspace) -> dict[tuple[str, str], tuple[str, str]]:
    """Return (variant, case) -> (status, sha256 of its image)."""
    found = {}
    for file in sorted(workspace.results.glob("edits/*/*/shard-*.parquet")):
        for row in pd.read_parquet(file).itertuples():
            found[file.parent.name, str(row.case_id)] = (str(row.status), str(row.sha256))
    return found
