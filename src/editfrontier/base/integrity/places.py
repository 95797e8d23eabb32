"""Folders that cannot be written, and the remedy."""

from __future__ import annotations

import os
from pathlib import Path


def writing_problem(folder: Path) -> str:
    """Return why a folder cannot be written, "" if it can; nothing is created.

    Args:
        folder: the folder; if it does not exist, the nearest existing one above it counts.
    """
    path = folder.absolute()
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    if not place.is_dir():
        return f"{place}: is no folder, expected one for the files of a run. {remedy(path)}"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place}: cannot be written, expected a writable folder. {remedy(path)}"
    return ""


def remedy(folder: Path) -> str:
    """Return the fix for a folder that cannot be written: the variable that moves it, if there is one."""
    models = Path(os.environ.get("HF_HOME") or caches() / "huggingface").absolute()
    if folder.absolute().is_relative_to(models):
        return "Set HF_HOME to a folder that can be written."
    if folder.absolute().is_relative_to(caches()):
        return f"Set XDG_CACHE_HOME to a folder that can be written, and HF_HOME to {models} if models are in it."
    return "Correct its permissions, or name another place."


def caches() -> Path:
    """Return the folder of caches, which holds that of Snakemake and, unless HF_HOME is set, that of the hub."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
