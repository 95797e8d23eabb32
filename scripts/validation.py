"""Validate the metrics against the renderer's truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    spec: program.Spec,
    evaluators: program.Evaluators,
    out: program.Out,
    points: Annotated[Path, "file of the points behind the checks to write"],
    device: program.Device = "cpu",
) -> None:
    portraits, seed = (program.count(spec, key, "--spec") for key in ("portraits", "seed"))
    from editfrontier.base.precision import choose_device
    from editfrontier.microworld.validation import validate

    validate(evaluators, out, points, n=portraits, seed=seed, device=choose_device(device))


if __name__ == "__main__":
    program.run(main)
