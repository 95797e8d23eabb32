"""Validate the metrics against the renderer's truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def validate(
    evaluators: Mapping[str, str | Path], out: Path, points_out: Path, *, n: int = 200, seed: int = 0, device: str = "cpu",
) -> None:
    """Write validation.csv (`out`) and the points behind it (`points_out`, parquet). CLI: `validate`.

    n: portraits per check.
    """
    raise NotImplementedError
