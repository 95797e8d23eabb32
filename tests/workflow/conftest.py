"""Fixtures of workspaces."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def finished(shared: Callable[[str, Callable[[Path], object]], Path]) -> Workspace:
    """A workspace in which everything has been made once, by stubs. Copy it before using it."""
    return Workspace(shared("finished", lambda folder: make_workspace(folder, stub=True).make()))


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished workspace that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Workspace(tmp_path / "copy")
