"""Summarise a task: every metric of every variant with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    config: program.Config,
    task: Annotated[str, "key of the task in the config"],
    root: program.Root,
    out: program.Out,
    subsets: Annotated[Path, "file of the statistics of parts of the cases to write"],
    differences: Annotated[Path, "file of paired differences to write"],
    frontier: Annotated[Path, "file of Pareto membership to write"],
) -> None:
    from editfrontier.statistics.task import summarise_task
    from editfrontier.study.config.study import load_study

    study = load_study([config])
    names = study.variants[program.known(task, study.variants, "--task")]
    scores, cases = root / "scores" / task, root / "data" / task / "cases.parquet"
    summarise_task(
        [scores / f"{name}.parquet" for name in names],
        [root / "features" / task / f"{name}.npz" for name in names],
        scores / "sources.npz",
        study.summary_settings(task),
        out,
        differences,
        frontier,
        subsets,
        cases,
        study.splits(task),
    )


if __name__ == "__main__":
    program.run(main)
