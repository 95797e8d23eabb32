"""Compute all per-image metrics of one variant, and the features of its images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    records: Annotated[list[Path], "records of all shards of one variant"],
    cases: program.Cases,
    sources: Annotated[Path, "what scripts/sources.py wrote"],
    evaluators: program.Evaluators,
    out: program.Out,
    features: Annotated[Path, "file of the set features to write"],
    device: program.Device = "cpu",
) -> None:
    from editfrontier.base.precision import choose_device
    from editfrontier.scoring.score import score_variant

    score_variant(cases, records, sources, evaluators, out, features, device=choose_device(device))


if __name__ == "__main__":
    program.run(main)
