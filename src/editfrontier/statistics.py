"""Intervals, paired differences and Pareto fronts of one task, by one paired clustered bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def summarise_task(
    scores: Sequence[Path], features: Sequence[Path], sources: Path, settings: Mapping[str, Any],
    out: Path, differences_out: Path, frontier_out: Path,
) -> None:
    """Write the statistics, paired differences and frontier of a task (three parquet files). CLI: `statistics`.

    scores, features: files of `score_variant` for every variant, controls included. sources: file of `prepare_sources`.
    settings: the config's `statistics` mapping (see Settings); {} = defaults.
    """
    raise NotImplementedError
