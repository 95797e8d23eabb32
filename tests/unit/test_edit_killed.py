"""A shard whose process is killed without warning: the next run makes again at most the batch that was under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from editfrontier.base.parquet import read_parquet
from tiny_pipelines import tiny_cases

# Edits five cases in batches of two, notes each batch, and never ends the second one while the file `hold` is there.
SHARD = """
import json, sys, time
from pathlib import Path
from editfrontier.editing import shard
from editfrontier import editors

cases, folder = Path(sys.argv[1]), Path(sys.argv[2])
begun = []

def theirs(model, batch, params):
    begun.append(sorted(set(batch.case_ids)))
    with (folder / "begun.jsonl").open("a") as file:
        file.write(json.dumps(begun[-1]) + "\\n")
    while len(begun) == 2 and (folder / "hold").exists():
        time.sleep(0.05)
    return -batch.images

made = editors.Editor("theirs", editors.NoParams, theirs)
shard.get_editor = lambda name: made
spec = {"editor": "theirs", "variant": "theirs", "seed": 1}
shard.run_shard(cases, 0, 1, spec, folder / "shard-0.parquet", folder / "images", 2)
"""


def start(cases: Path, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SHARD, str(cases), str(folder)], env=os.environ)


def batches(folder: Path) -> list[str]:
    file = folder / "begun.jsonl"
    return file.read_text().splitlines() if file.is_file() else []


@pytest.mark.slow
def test_a_killed_process_costs_one_batch_at_most(tmp_path: Path) -> None:
    cases, folder, whole = tiny_cases(tmp_path / "data"), tmp_path / "killed", tmp_path / "whole"
    folder.mkdir()
    whole.mkdir()
    assert start(cases, whole).wait(120) == 0
    (folder / "hold").touch()
    process = start(cases, folder)
    deadline = time.monotonic() + 120
    while len(batches(folder)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    assert not (folder / "shard-0.parquet").exists()
    (folder / "hold").unlink()
    assert start(cases, folder).wait(120) == 0
    begun = batches(folder)
    assert begun == [begun[0], begun[1], begun[1], begun[3]]
    assert len(set(begun)) == 3
    record, other = (read_parquet(place / "shard-0.parquet", "")[0] for place in (folder, whole))
    assert list(record["sha256"]) == list(other["sha256"])
    assert set(record["status"]) == {"ok"}
