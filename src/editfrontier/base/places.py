"""Places of the project's files outside its code."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""Folder of the repository."""
CONFIG = ROOT / "config"
REPORTS = ROOT / "reports"
LIBRARY = Path(__file__).resolve().parents[1]
"""Folder of this package."""
