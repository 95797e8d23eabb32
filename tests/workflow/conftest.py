"""Fixtures of workspaces."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which everything has been made once, by stubs. Copy it before changing it."""
    workspace = make_workspace(tmp_path_factory.mktemp("finished"), stub=True)
    workspace.make()
    return workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished workspace that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Workspace(tmp_path / "copy")
