"""What a figure is, and the registry of figures.

A figure shows a table of the study, or something else that the workflow makes. It is a module with a constant `FIGURE`
of the class below: a file of `study/figures/`, or of an installed package that names it under the entry point group
"editfrontier.figures". This module and those of the figures import neither matplotlib nor pandas at import time, so
that a config can be checked without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.registry import Registry
from editfrontier.study.drawing.plotting import write_figure
from editfrontier.study.results.grids import Grid, build_grid
from editfrontier.study.results.naming import Table, parse_table, read_reported, read_statistics, statistics_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_OF_A_TABLE: Mapping[str, Callable[[Mapping[str, Any]], Sequence[str]]] = {
    "statistics": lambda table: [f"statistics/{table['task']}{'.subsets' if 'by' in table else ''}.parquet"],
    "frontier": lambda table: [f"statistics/{table['task']}.frontier.parquet"],
    "scores": lambda table: [f"scores/{table['task']}/{row['variant']}.parquet" for row in table["rows"]],
    "cases": lambda table: [f"data/{table['task']}/cases.parquet"],
}
_OF_THE_STUDY = {"validation": ("validation.csv", "validation.points.parquet")}
NEEDS = (*_OF_A_TABLE, *_OF_THE_STUDY)
"""What a figure may be drawn from; the files in the results folder are those above."""

SECTIONS = ("tradeoff", "ablation", "inversion", "drags", "drag_sizes", "images", "metrics")
"""Places of the page that show figures."""


@dataclass(frozen=True)
class FigureInputs:
    """What a figure is drawn from.

    Attributes:
        root: results folder of the scale.
        reported: CSV of the values that the paper reports.
        shows: the table, None for a figure that shows none.
        seed: of choices among cases.
    """

    root: Path
    reported: Path
    shows: Table | None = None
    seed: int = 0

    @property
    def table(self) -> Table:
        """The table that the figure shows; raise `UserError` without one."""
        if self.shows is None:
            raise UserError("a figure of a table was given no table. Name one in its entry under `figures`.")
        return self.shows

    def grid(self, metrics: Sequence[str]) -> Grid:
        """Return the table's rows with their numbers, for these metrics in place of the table's own."""
        statistics = read_statistics(statistics_file(self.root, self.table), bool(self.table.by))
        return build_grid(replace(self.table, metrics=tuple(metrics)), statistics, read_reported(self.reported))


@dataclass(frozen=True)
class Figure:
    """A figure of results.

    Attributes:
        name: the module's name, and the figure's key in the config.
        title: what it shows, in a few words.
        caption: how to read it.
        alt: what the picture is, for readers who cannot see it.
        draw: inputs -> the matplotlib figure; it is called within `theme.figure_style`.
        needs: what it is drawn from, of NEEDS.
        pixels: whether it shows images, so that the report takes its PNG.
        section: of the page, one of SECTIONS; "" = among further figures, if the config names it.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[FigureInputs], Drawing]
    needs: Sequence[str] = ("statistics",)
    pixels: bool = False
    section: str = ""

    def __post_init__(self) -> None:
        if self.section and self.section not in SECTIONS:
            near = did_you_mean(self.section, SECTIONS)
            raise UserError(f"figure '{self.name}': the page has no section '{self.section}'.{near} Correct it.")
        for need in self.needs:
            if need not in NEEDS:
                near = did_you_mean(need, NEEDS) or f" Expected of {', '.join(NEEDS)}."
                raise UserError(f"figure '{self.name}': needs '{need}', which the workflow does not make.{near}")

    @property
    def shows_table(self) -> bool:
        """Whether it is drawn from a table that its entry in the config names."""
        return any(need in _OF_A_TABLE for need in self.needs)

    def inputs(self, table: Mapping[str, Any]) -> list[str]:
        """Return the files that the figure waits for, relative to the results folder; `table`: its config entry."""
        files = [_OF_A_TABLE[need](table) if need in _OF_A_TABLE else _OF_THE_STUDY[need] for need in self.needs]
        return [file for group in files for file in group]


FIGURES = Registry("figure", Figure, "FIGURE", "editfrontier.study.figures", "editfrontier.figures")


def draw_figure(
    name: str, table: Mapping[str, Any] | Table, root: Path, reported: Path, stem: Path, seed: int = 0
) -> None:
    """Draw a figure by name and write it as <stem>.pdf, .svg and .png, the same bytes for the same input.

    Args:
        name: of the figure.
        table: entry of the table that it shows (keys in `tables.write_table`); an empty mapping for none.
        root: results folder of the scale.
        reported: CSV of the values that the paper reports.
        stem: path without suffix.
        seed: of choices among cases.
    """
    figure = FIGURES.get(name)
    shows = parse_table(table) if table else None
    write_figure(lambda: figure.draw(FigureInputs(root, reported, shows, seed)), stem)
