"""What a run says at its end when a job of it failed."""

from __future__ import annotations

import pytest

from editfrontier.errors import KILLED
from workspace import Workspace

TARGET = "results/smoke/edits/portraits/true_edit/shard-0.parquet"


@pytest.mark.parametrize(("end", "said"), [("os.kill(os.getpid(), signal.SIGKILL)", True), ("sys.exit(1)", False)])
def test_only_a_killed_job_is_said_to_be_short_of_memory(workspace: Workspace, end: str, said: bool) -> None:
    main = workspace.folder / "src/editfrontier/__main__.py"
    main.write_text(f"import os, signal, sys\nif sys.argv[1] == 'edit':\n    {end}\n{main.read_text()}")
    result = workspace.run(TARGET, "--cores", "1", "--force", check=False)
    assert result.returncode == 1
    assert (KILLED in result.stdout) == said
    # Snakemake's own trace of an error in `onerror` names the file of the rules.
    assert "TypeError" not in result.stdout
