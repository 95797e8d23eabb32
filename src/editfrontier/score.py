"""Score edited images: every network loaded once, every metric in one pass, source-side features once per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

EVALUATORS = ("clip", "identity", "attributes", "features", "lpips", "quality")


def prepare_sources(
    cases_path: Path, reference_path: Path | None, evaluators: Mapping[str, str | Path], out: Path, *,
    device: str = "cpu", batch_size: int = 64,
) -> None:
    """Run the source-side networks once for a task and write them to `out` (.npz). CLI: `sources`.

    evaluators: name -> model folder for names of EVALUATORS; a metric whose network is not given is left out.
    reference_path: .npz with uint8 [N,H,W,3] or a folder of PNG; None leaves FID and KID out.
    """
    raise NotImplementedError


def score_variant(
    cases_path: Path, records: Sequence[Path], sources: Path, evaluators: Mapping[str, str | Path],
    out: Path, features_out: Path, *, variant: str | None = None, device: str = "cpu", batch_size: int = 64,
) -> None:
    """Score one variant from its shards' records: long table `out` (.parquet), set features `features_out` (.npz). CLI: `score`.

    variant: defaults to the name in the records' metadata.
    """
    raise NotImplementedError
