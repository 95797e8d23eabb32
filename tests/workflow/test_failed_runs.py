"""What a run says at its end when a job of it failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from editfrontier.base.errors import KILLED
from workspace import Workspace, make_workspace

TARGET = "results/smoke/edits/portraits/true_edit/shard-0.parquet"


@pytest.mark.parametrize(("end", "said"), [("os.kill(os.getpid(), signal.SIGKILL)", True), ("sys.exit(1)", False)])
def test_only_a_killed_job_is_said_to_be_short_of_memory(workspace: Workspace, end: str, said: bool) -> None:
    program = workspace.folder / "src/editfrontier/program.py"
    program.write_text(f"import os, signal, sys\nif 'edit.py' in sys.argv[0]:\n    {end}\n{program.read_text()}")
    result = workspace.run(TARGET, "--cores", "1", "--force", check=False)
    assert result.returncode == 1
    assert (KILLED in result.stdout) == said
    # Snakemake's own trace of an error in `onerror` names the file of the rules.
    assert "TypeError" not in result.stdout


READ_ONLY = """
import os

access = os.access
folder = os.environ.get("READ_ONLY", "nowhere")
os.access = lambda path, mode, **more: not f"{path}/".startswith(f"{folder}/") and access(path, mode, **more)
"""


def test_folders_that_cannot_be_written_stop_a_run_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = make_workspace(tmp_path, stub=True)
    (fresh.folder / "src/sitecustomize.py").write_text(READ_ONLY)  # the bits of a folder would not stop root
    results = fresh.results
    results.mkdir(parents=True)
    for folder, planned in ((results, 0), (fresh.folder / ".snakemake", 1)):
        monkeypatch.setenv("READ_ONLY", str(folder))
        ended = fresh.run("edits", "--cores", "1", "--quiet", check=False)
        assert ended.returncode == 1
        (line,) = [line for line in ended.stdout.splitlines() if "cannot be written" in line]
        assert line.startswith(f"error: {folder}: cannot be written, expected a writable folder. Correct")
        assert "Traceback" not in ended.stdout
        assert "Error in" not in ended.stdout
        assert not list(results.iterdir())
        assert fresh.run("edits", "--dry-run", "--quiet", check=False).returncode == planned
