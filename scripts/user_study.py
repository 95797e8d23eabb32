"""Make the page and the design of the user study; those that people have answered are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    config: program.Config,
    root: program.Root,
    out: program.Out,
    design: Annotated[Path, "file of the design to write"],
) -> None:
    from editfrontier.study.config.study import load_study
    from editfrontier.study.userstudy.page import write_study

    study = load_study([config])
    settings = program.field(study.config, "user_study", "--config")
    written = write_study(root, study.tables[settings["experiment"]], settings, out, design)
    trials = written.trials
    print(f"design {written.hash}: {len(trials)} participants, {len(trials[0])} trials each, in {out}")


if __name__ == "__main__":
    program.run(main)
