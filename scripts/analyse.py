"""Make the findings of one analysis (.parquet and .csv) and its figure (.pdf, .svg and .png) beside them."""

from __future__ import annotations

from typing import Annotated

from editfrontier import program


def main(
    config: program.Config,
    analysis: Annotated[str, "key of the analysis in the config"],
    root: program.Root,
    out: program.Out,
    device: program.Device = "cpu",
) -> None:
    from editfrontier.base.precision import choose_device
    from editfrontier.study.config.study import load_study
    from editfrontier.study.run import run_analysis

    analyses = load_study([config]).analyses
    entry = analyses[program.known(analysis, analyses, "--analysis")]
    run_analysis(analysis, entry, root, out, choose_device(device))


if __name__ == "__main__":
    program.run(main)
