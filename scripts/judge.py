"""Judge the claims of the paper by what a study measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    config: program.Config,
    root: program.Root,
    claims: Annotated[Path, "list of the claims"],
    reported: program.Reported,
    out: program.Out,
) -> None:
    from editfrontier.base.errors import UserError
    from editfrontier.study.config.study import load_study
    from editfrontier.study.judging.ledger import write_ledger

    if not root.is_dir():
        raise UserError(f"{root}: no such folder of results. Make them with `snakemake`, or correct --root.")
    counts = write_ledger(claims, root, load_study([config]), reported, out)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


if __name__ == "__main__":
    program.run(main)
