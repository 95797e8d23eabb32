"""Write a table as CSV, Markdown and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from editfrontier import program


def main(
    config: program.Config,
    table: Annotated[str, "name of the table"],
    statistics: Annotated[Path, "summary of the table's task"],
    reported: program.Reported,
    csv: Annotated[Path, "CSV file to write"],
    markdown: Annotated[Path, "Markdown file to write"],
    latex: Annotated[Path, "LaTeX file to write"],
) -> None:
    from editfrontier.study.config.study import load_study
    from editfrontier.study.results.tables import write_table

    tables = load_study([config]).tables
    write_table(tables[program.known(table, tables, "--table")], statistics, reported, csv, markdown, latex)


if __name__ == "__main__":
    program.run(main)
