"""The study at the scale of the paper, and ten times its jobs, is planned in seconds, without weights and data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PLAN = r"""
import json, re, sys, time
from pathlib import Path
from editfrontier.study.config.study import load_study
from editfrontier.running.planning.costs import stages
from editfrontier.running.planning.graph import jobs_to_run
from editfrontier.running.planning.needs import needs

files = [Path(sys.argv[1])]
study = load_study(files)
jobs = jobs_to_run(files, Path(sys.argv[2]))
found = {stage.name: stage.jobs for stage in stages(study, jobs)}
kinds = sorted({need.kind for need in needs(study, jobs)})
# Not ru_maxrss, which holds the peak of the process that this one was forked from, too.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"stages": found, "kinds": kinds, "seconds": time.process_time(), "bytes": peak}))
"""


@pytest.mark.parametrize(("times", "seconds"), [(1, 20), (10, 120)])
def test_plan_is_quick_and_small(root: Path, tmp_path: Path, times: int, seconds: float) -> None:
    text = (root / "config/paper.yaml").read_text()
    shards = [int(count) for count in re.findall(r"shards: (\d+)", text)]
    assert shards
    file = tmp_path / "paper.yaml"
    file.write_text(re.sub(r"shards: (\d+)", lambda found: f"shards: {times * int(found[1])}", text))
    command = [sys.executable, "-c", PLAN, str(file), str(root)]
    result = subprocess.run(command, cwd=root, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["stages"]["edits"] >= 500 * times
    assert {"data", "weights"} <= set(found["kinds"])
    assert found["seconds"] < seconds
    assert found["bytes"] < 2 * 2**30
