"""Compute what depends on the sources of a task only, once for all variants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    cases: program.Cases,
    evaluators: program.Evaluators,
    out: program.Out,
    reference: Annotated[Path | None, "reference images; without them there is no FID and no KID"] = None,
    device: program.Device = "cpu",
) -> None:
    from editfrontier.base.precision import choose_device
    from editfrontier.scoring.sources import prepare_sources

    prepare_sources(cases, reference, evaluators, out, device=choose_device(device))


if __name__ == "__main__":
    program.run(main)
