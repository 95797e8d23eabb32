"""Draw a figure as PDF, SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    config: program.Config,
    figure: Annotated[str, "key of the figure in the config"],
    root: program.Root,
    reported: program.Reported,
    out: Annotated[Path, "figure to write; .pdf, .svg and .png are written whatever its suffix"],
) -> None:
    from editfrontier.study.config.study import load_study
    from editfrontier.study.figure import draw_figure

    study = load_study([config])
    program.known(figure, study.config["figures"], "--figure")
    draw_figure(figure, study.shown_by(figure), root, reported, out.with_suffix(""))


if __name__ == "__main__":
    program.run(main)
