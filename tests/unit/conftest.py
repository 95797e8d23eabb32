"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shape_checks import instrument_loaded


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of `hub_layout.CHECKPOINTS` -> folder of that checkpoint, written once."""
    from hub_layout import write_checkpoint

    return cache(lambda name: write_checkpoint(name, tmp_path_factory.mktemp("hub") / name))


@pytest.fixture(scope="session")
def hub_model(hub_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """Name of `hub_layout.CHECKPOINTS` -> the pipeline that `models.load_pipeline` loads from it, loaded once."""
    from editfrontier.models.loading import load_pipeline
    from hub_layout import KIND_OF

    def load(name: str) -> Any:
        return load_pipeline(KIND_OF.get(name, name), hub_folder(name))

    return cache(load)


@pytest.fixture(autouse=True)
def _shapes_are_checked() -> None:
    """Let editors, metrics and evaluators check the shapes of their signatures."""
    instrument_loaded()
