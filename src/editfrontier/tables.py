"""Tables of results in three forms: long CSV, Markdown and LaTeX.

The best of a column stands among the editors only; controls are never ranked, and neither is a metric that has no
direction. A row of the paper that this study has not run is kept as "not run".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.cases import write_bytes
from editfrontier.results import (
    MetricDisplay,
    Row,
    Table,
    decimals,
    editor_label,
    format_value,
    metric_display,
    number,
    paper_values,
    parse_table,
    read_reported,
    read_statistics,
)

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "reference"
CSV_COLUMNS = ("row", "editor", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed", "paper")


@dataclass(frozen=True)
class Cell:
    """One number of a table: the value, its interval, the paper's value (NaN = none) and its rank (1, 2 or 0)."""

    value: float
    low: float
    high: float
    paper: float
    rank: int


@dataclass(frozen=True)
class Line:
    """One row of a table with its cells. status: "ok", "missing" (no statistics), "not run" (in the paper only)."""

    row: Row
    cells: tuple[Cell, ...]
    n: int
    failed: int
    status: str


@dataclass(frozen=True)
class Grid:
    """A table with its numbers, ready to be written: columns, decimals of each column, lines from top to bottom."""

    table: Table
    metrics: tuple[MetricDisplay, ...]
    places: tuple[int, ...]
    lines: tuple[Line, ...]

    def text(self, column: int, value: float) -> str:
        """Return a value of a column as readers see it, "" for NaN."""
        return format_value(self.metrics[column].name, value, self.places[column])

    def head(self, column: int) -> str:
        """Return the head of a column: label, unit and the direction in which it is better."""
        metric = self.metrics[column]
        unit = "%" if metric.percent else metric.unit
        return " ".join(part for part in (metric.label, f"[{unit}]" if unit else "", metric.arrow) if part)


def build_grid(table: Mapping[str, Any] | Table, statistics: pd.DataFrame, reported: pd.DataFrame) -> Grid:
    """Join a table's rows with their statistics and the paper's values.

    Args:
        table: config entry (keys in `write_table`) or its typed form.
        statistics: summaries with the columns of `results.STATISTICS_COLUMNS`.
        reported: values of the paper, from `results.read_reported`.

    Returns:
        Rows in the config's order; the paper's rows that this study has not run stand behind the last editor.
    """
    spec = parse_table(table)
    paper = paper_values(reported, spec.name)
    spec = _with_reference(spec, statistics)
    own = statistics[statistics["task"] == spec.task]
    found = {(str(entry.variant), str(entry.metric)): entry for entry in own.itertuples()}
    lines = [_line(row, spec.metrics, found, paper.get((row.editor, row.paper), {})) for row in spec.rows]
    used = {(row.editor, row.paper) for row in spec.rows}
    unrun = [
        _unrun(method, configuration, spec.metrics, values)
        for (method, configuration), values in paper.items()
        if (method, configuration) not in used
    ]
    behind = max((i for i, line in enumerate(lines) if not line.row.control), default=-1) + 1
    lines[behind:behind] = unrun
    metrics = tuple(metric_display(name) for name in spec.metrics)
    places = tuple(
        decimals(name, [v for line in lines for v in (line.cells[i].value, line.cells[i].paper)])
        for i, name in enumerate(spec.metrics)
    )
    return Grid(spec, metrics, places, tuple(_ranked(lines, metrics, places)))


def _with_reference(spec: Table, statistics: pd.DataFrame) -> Table:
    # The floor of FID and KID, reference images against others, is no editor and so no row of the config.
    measured = statistics[(statistics["task"] == spec.task) & (statistics["variant"] == REFERENCE)]
    wanted = any(row.control for row in spec.rows) and not measured[measured["metric"].isin(spec.metrics)].empty
    if not wanted or any(row.variant == REFERENCE for row in spec.rows):
        return spec
    row = Row(REFERENCE, REFERENCE, editor_label(REFERENCE), "", "controls", True)
    return replace(spec, rows=(*spec.rows, row))


def _line(row: Row, metrics: Sequence[str], found: Mapping[tuple[str, str], Any], paper: Mapping[str, float]) -> Line:
    cells, counts, failures = [], [0], [0]
    status = "missing"
    for name in metrics:
        entry = found.get((row.variant, name))
        reported = paper.get(name, math.nan)
        if entry is None:
            cells.append(Cell(math.nan, math.nan, math.nan, reported, 0))
            continue
        status = "ok"
        cells.append(Cell(number(entry.value), number(entry.ci_low), number(entry.ci_high), reported, 0))
        counts.append(0 if math.isnan(number(entry.n)) else int(entry.n))
        failures.append(0 if math.isnan(number(entry.failed)) else int(entry.failed))
    if status == "missing":
        row = replace(row, label=f"{row.label} (no results)")
    return Line(row, tuple(cells), max(counts), max(failures), status)


def _unrun(method: str, configuration: str, metrics: Sequence[str], paper: Mapping[str, float]) -> Line:
    label = editor_label(method) + (" (not run)" if configuration == "default" else f", {configuration} (not run)")
    cells = tuple(Cell(math.nan, math.nan, math.nan, paper.get(name, math.nan), 0) for name in metrics)
    return Line(Row("", method, label, configuration, "not run", False), cells, 0, 0, "not run")


def _ranked(lines: Sequence[Line], metrics: Sequence[MetricDisplay], places: Sequence[int]) -> list[Line]:
    ranks = [[0] * len(metrics) for _ in lines]
    for column, metric in enumerate(metrics):
        if metric.direction not in ("higher", "lower"):
            continue
        # Values that read alike share a rank: a bold 0.912 above a plain 0.912 would only puzzle.
        shown = {
            index: float(format_value(metric.name, line.cells[column].value, places[column]))
            for index, line in enumerate(lines)
            if not line.row.control and math.isfinite(line.cells[column].value)
        }
        order = sorted(set(shown.values()), reverse=metric.direction == "higher")[:2]
        if len(shown) < 2:
            continue
        for index, value in shown.items():
            ranks[index][column] = order.index(value) + 1 if value in order else 0
    return [
        Line(
            line.row,
            tuple(Cell(c.value, c.low, c.high, c.paper, r) for c, r in zip(line.cells, rank, strict=True)),
            line.n,
            line.failed,
            line.status,
        )
        for line, rank in zip(lines, ranks, strict=True)
    ]


def to_long(grid: Grid) -> pd.DataFrame:
    """Return the table in long form, one line for each row and metric, with the columns of `CSV_COLUMNS`.

    Values keep their stored unit: shares of cases are fractions here and per cent in the other forms.
    """
    import pandas as pd

    entries = [
        (
            line.row.label,
            line.row.editor,
            line.row.variant,
            metric.name,
            cell.value,
            cell.low,
            cell.high,
            line.n,
            line.failed,
            cell.paper,
        )
        for line in grid.lines
        for metric, cell in zip(grid.metrics, line.cells, strict=True)
    ]
    return pd.DataFrame(entries, columns=list(CSV_COLUMNS))


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a table cell too."""
    plain = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", plain)


def escape_latex(text: str) -> str:
    """Return text that LaTeX typesets as it is."""
    table = {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        '"': "''",
    }
    return "".join(table.get(character, character) for character in re.sub(r"\s+", " ", text))


def _sections(grid: Grid) -> list[list[Line]]:
    # Rules separate controls, groups of editors, and rows of the paper alone.
    sections: list[list[Line]] = []
    previous: tuple[bool, str] | None = None
    for line in grid.lines:
        key = (line.row.control, "" if line.row.control else line.row.group)
        if key != previous:
            sections.append([])
            previous = key
        sections[-1].append(line)
    return sections


def to_markdown(grid: Grid) -> str:
    """Return the table as GitHub-flavoured Markdown: best in bold, second underlined, the rest small."""
    heads = ["", *(grid.head(i) for i in range(len(grid.metrics))), "n", "failed"]
    lines = ["| " + " | ".join(escape_markdown(head) for head in heads) + " |", "| :-- |" + " --: |" * (len(heads) - 1)]
    for section in _sections(grid):
        for line in section:
            label = escape_markdown(line.row.label)
            cells = [_markdown_cell(grid, line, i) for i in range(len(grid.metrics))]
            counts = [str(line.n), str(line.failed)] if line.status == "ok" else ["", ""]
            name = f"*{label}*" if line.row.control else label
            lines.append("| " + " | ".join([name, *cells, *counts]) + " |")
    notes = _notes(grid)
    return "\n".join([f"**{escape_markdown(grid.table.title)}**", "", *lines, "", escape_markdown(notes), ""])


def _markdown_cell(grid: Grid, line: Line, column: int) -> str:
    cell = line.cells[column]
    value = grid.text(column, cell.value)
    parts = []
    if value:
        marks = {1: ("**", "**"), 2: ("<ins>", "</ins>")}.get(cell.rank, ("", ""))
        parts.append(f"{marks[0]}{value}{marks[1]}")
        if math.isfinite(cell.low) and math.isfinite(cell.high):
            parts.append(f"<sub>{grid.text(column, cell.low)} to {grid.text(column, cell.high)}</sub>")
    elif not math.isfinite(cell.paper):
        parts.append("" if line.status == "not run" else "–")
    if math.isfinite(cell.paper):
        parts.append(f"<sub>paper {grid.text(column, cell.paper)}</sub>")
    return "<br>".join(parts)


def to_latex(grid: Grid) -> str:
    """Return the table as a LaTeX `table` environment (needs booktabs, xcolor and graphicx).

    Best in bold, second underlined, the interval below in small type, the paper's value below that in grey; controls,
    groups of editors and rows of the paper alone are separated by rules.
    """
    columns = len(grid.metrics)
    heads = ["", *(escape_latex(grid.head(i)) for i in range(columns)), "$n$", "failed"]
    body = []
    for index, section in enumerate(_sections(grid)):
        if index:
            body.append(r"\midrule")
        for line in section:
            label = escape_latex(line.row.label)
            name = rf"\textit{{{label}}}" if line.row.control else label
            cells = [_latex_cell(grid, line, i) for i in range(columns)]
            counts = [str(line.n), str(line.failed)] if line.status == "ok" else ["", ""]
            body.append(" & ".join([name, *cells, *counts]) + r" \\")
    return "\n".join(
        [
            "% Needs \\usepackage{booktabs,xcolor,graphicx}.",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{escape_latex(grid.table.title)}. {escape_latex(_notes(grid))}}}",
            rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', grid.table.name)}}}",
            r"\resizebox{\linewidth}{!}{%",
            r"\begin{tabular}{l" + "r" * (columns + 2) + "}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
            "",
        ]
    )


def _latex_cell(grid: Grid, line: Line, column: int) -> str:
    cell = line.cells[column]
    value = grid.text(column, cell.value).replace("-", "$-$")
    small: list[str] = []
    if value:
        command = {1: r"\textbf", 2: r"\underline"}.get(cell.rank)
        main = f"{command}{{{value}}}" if command else value
        if math.isfinite(cell.low) and math.isfinite(cell.high):
            low, high = (grid.text(column, bound).replace("-", "$-$") for bound in (cell.low, cell.high))
            small.append(rf"{{\tiny {low} to {high}}}")
    else:
        main = "" if line.status == "not run" or math.isfinite(cell.paper) else "--"
    if math.isfinite(cell.paper):
        small.append(rf"{{\tiny\color{{gray}}paper {grid.text(column, cell.paper)}}}")
    stack = [part for part in (main, *small) if part]
    return stack[0] if len(stack) == 1 else r"\shortstack[r]{" + r"\\".join(stack) + "}" if stack else ""


def _notes(grid: Grid) -> str:
    notes = [grid.table.caption] if grid.table.caption else []
    notes.append("Best editor of a column in bold, second underlined; controls (in italics) are not ranked.")
    notes.append("Below a value: 95% interval of a paired bootstrap clustered by source image, and the paper's value.")
    if any(line.status == "not run" for line in grid.lines):
        notes.append("Rows marked (not run) are in the paper only.")
    return " ".join(notes)


def write_table(
    table: Mapping[str, Any],
    statistics: Path,
    reported: Path,
    out_csv: Path,
    out_markdown: Path,
    out_latex: Path,
) -> None:
    """Write one table of the study in its three forms.

    Args:
        table: the table's entry of the config, with variants resolved to their names:
            ``{"name": "table1", "title": str, "task": "portraits", "metrics": ["fid", ...],
            "rows": [{"variant": "mask_guided+guidance_scale=3", "editor": "mask_guided",
            "label": "w = 3, cosine" (optional), "paper": "w=3 cosine" (optional, the configuration in
            the reported values), "group": "errata" (optional, a rule is drawn where it changes)}]}``.
        statistics: parquet with columns task, variant, metric, value, ci_low, ci_high, n, failed.
        reported: CSV of the values that the paper reports.
        out_csv, out_markdown, out_latex: files to write.

    Raises:
        UserError: an input is missing or lacks a column, or the entry lacks a key.
    """
    grid = build_grid(table, read_statistics(statistics), read_reported(reported))
    write_bytes(out_csv, to_long(grid).to_csv(index=False, lineterminator="\n").encode())
    write_bytes(out_markdown, to_markdown(grid).encode())
    write_bytes(out_latex, to_latex(grid).encode())
