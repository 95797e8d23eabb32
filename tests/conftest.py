"""What all tests share."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Two workers with two threads each would be slower than two with one, and results would depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of processes start, and each would compile the library again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).resolve().parents[1]

FIRST = (
    "workflow/test_paper_study.py",
    "slurm/test_cluster.py",
    "workflow/test_smoke.py",
    "workflow/test_environments.py",
    "workflow/",
    "browser/",
)
"""Where the longest tests are, the longest first: a worker that began with them late would end alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by `FIRST`; in a file, and between the others, their order stays."""

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(ROOT / "tests").as_posix()
        return next((i for i, start in enumerate(FIRST) if place.startswith(start)), len(FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A name and what fills an empty folder -> that folder, filled once for all the processes that run tests."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        path, done = base / f"shared-{name}", base / f"shared-{name}.done"
        with (base / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # of one that failed
                path.mkdir()
                fill(path)
                done.touch()
        return path

    return folder
