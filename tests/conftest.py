"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two workers with two threads each would be slower than two with one, and results would depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT
