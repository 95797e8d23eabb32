"""The cluster that the tests of this folder share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_cluster import FakeCluster, why_not
from study import make_study, start_run
from workspace import Workspace


@pytest.fixture(scope="session")
def cluster() -> Iterator[FakeCluster]:
    """A running SLURM. Where there can be none, tests are skipped, but not in CI, which installs what it needs."""
    problem = why_not()
    if problem:
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    # Not in pytest's own folder: sockets need short paths.
    made = FakeCluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def undisturbed(cluster: FakeCluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """The study after a run through the profile in which nothing went wrong, and what that run said."""
    workspace = make_study(tmp_path_factory.mktemp("undisturbed"))
    # No table needs the task with masks by SAM, so that it is asked for by name.
    run = start_run(
        workspace, "all", str((workspace.results / "data/masked/cases.parquet").relative_to(workspace.folder))
    )
    try:
        return workspace, run.wait(900)
    finally:
        run.stop()
