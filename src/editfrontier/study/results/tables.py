"""Tables of results in three forms: long CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.csv_files import frame_as_csv
from editfrontier.base.files import write_bytes
from editfrontier.study.results.grids import Grid, Line, build_grid
from editfrontier.study.results.naming import parse_table, read_reported, read_statistics

if TYPE_CHECKING:
    import pandas as pd

CSV_COLUMNS = (
    *("row", "editor", "variant", "subset", "metric", "value", "ci_low", "ci_high", "n", "failed", "paper", "reason"),
    "failures",
)


def to_long(grid: Grid) -> pd.DataFrame:
    """Return the table in long form, one line for each row and metric, with the columns of `CSV_COLUMNS`.

    subset: the part of the cases, "" in a table of all of them. reason: why there is no value, if so. failures: why
    cases failed, with the number of cases for each reason.

    Values keep their stored unit: shares of cases are fractions here and per cent in the other forms.
    """
    import pandas as pd

    entries = [
        (
            *(line.row.label, line.row.editor, line.row.variant, line.subset, metric.name),
            *(cell.value, cell.low, cell.high, cell.n, line.failed, cell.paper, cell.reason, line.failures),
        )
        for line in grid.lines
        for metric, cell in zip(grid.metrics, line.cells, strict=True)
    ]
    return pd.DataFrame(entries, columns=list(CSV_COLUMNS))


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a table cell and at the start of a line too."""
    plain = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Dollar signs enclose formulas on GitHub and in pandoc; a sign or a number at the start of a line begins a list.
    escaped = re.sub(r"([\\`*_{}\[\]#|~!$^])", r"\\\1", plain)
    return re.sub(r"^(\s*)([-+=]|\d+[.)](?=\s|$))", lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", escaped)


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
        "`": r"\textasciigrave{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        '"': "''",
    }
    plain = re.sub(r"[\x00-\x1f\x7f]", "", re.sub(r"\s+", " ", text))
    escaped = (
        "".join(table.get(character, character) for character in plain).replace("--", "-{}-").replace("--", "-{}-")
    )
    # A row ends with two backslashes, which would take a star or a bracket at the start of the next one as its own.
    return "{}" + escaped if escaped.lstrip().startswith(("[", "*")) else escaped


def _sections(grid: Grid) -> list[list[Line]]:
    # Rules separate parts of the cases, controls, groups of editors, and rows of the paper alone.
    sections: list[list[Line]] = []
    previous: tuple[str, bool, str] | None = None
    for line in grid.lines:
        key = (line.subset, line.row.control, "" if line.row.control else line.row.group)
        if key != previous:
            sections.append([])
            previous = key
        sections[-1].append(line)
    return sections


def to_markdown(grid: Grid) -> str:
    """Return the table as GitHub-flavoured Markdown: best in bold, second underlined, the rest small."""
    heads = ["", *(grid.head(i) for i in range(len(grid.metrics))), "n", "failed"]
    lines = ["| " + " | ".join(escape_markdown(head) for head in heads) + " |", "| :-- |" + " --: |" * (len(heads) - 1)]
    subset = ""
    for section in _sections(grid):
        if section[0].subset != subset:
            subset = section[0].subset
            lines.append("| " + " | ".join([f"**{escape_markdown(subset)}**", *[""] * (len(heads) - 1)]) + " |")
        for line in section:
            label = escape_markdown(line.row.label)
            cells = [_markdown_cell(grid, line, i) for i in range(len(grid.metrics))]
            counts = [str(line.n), str(line.failed)] if line.counted else ["", ""]
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
        low, high = grid.interval(column, cell)
        if low:
            parts.append(f"<sub>{low} to {high}</sub>")
        if fewer := grid.fewer(line, cell):
            parts.append(f"<sub>{fewer}</sub>")
    elif not math.isfinite(cell.paper):
        parts.append("" if line.status == "not run" else "–")
    if math.isfinite(cell.paper):
        parts.append(f"<sub>paper {grid.paper_text(column, cell.paper)}</sub>")
    return "<br>".join(parts)


def to_latex(grid: Grid) -> str:
    """Return the table as a LaTeX `table` environment (needs booktabs, xcolor and graphicx).

    Best in bold, second underlined, the interval below in small type, the paper's value below that in grey; controls,
    groups of editors and rows of the paper alone are separated by rules.
    """
    columns = len(grid.metrics)
    heads = ["", *(escape_latex(grid.head(i)) for i in range(columns)), "$n$", "failed"]
    body = []
    subset = ""
    for index, section in enumerate(_sections(grid)):
        if index:
            body.append(r"\midrule")
        if section[0].subset != subset:
            subset = section[0].subset
            body.append(rf"\multicolumn{{{len(heads)}}}{{l}}{{\textbf{{{escape_latex(subset)}}}}} \\")
        for line in section:
            label = escape_latex(line.row.label)
            name = rf"\textit{{{label}}}" if line.row.control else label
            cells = [_latex_cell(grid, line, i) for i in range(columns)]
            counts = [str(line.n), str(line.failed)] if line.counted else ["", ""]
            body.append(" & ".join([name, *cells, *counts]) + r" \\")
    scripts = any(unicodedata.category(letter) == "Lo" for row in body for letter in row)
    return "\n".join(
        [
            "% Needs \\usepackage{booktabs,xcolor,graphicx}.",
            *(["% Labels are of scripts that need LuaLaTeX or XeLaTeX, and a font that has them."] if scripts else []),
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
        low, high = (bound.replace("-", "$-$") for bound in grid.interval(column, cell))
        if low:
            small.append(rf"{{\tiny {low} to {high}}}")
        if fewer := grid.fewer(line, cell):
            small.append(rf"{{\tiny ${fewer}$}}")
    else:
        main = "" if line.status == "not run" or math.isfinite(cell.paper) else "--"
    if math.isfinite(cell.paper):
        small.append(rf"{{\tiny\color{{gray}}paper {grid.paper_text(column, cell.paper)}}}")
    stack = [part for part in (main, *small) if part]
    return stack[0] if len(stack) == 1 else r"\shortstack[r]{" + r"\\".join(stack) + "}" if stack else ""


def _notes(grid: Grid) -> str:
    notes = [grid.table.caption] if grid.table.caption else []
    notes.append("Best editor of a column in bold, second underlined; controls (in italics) are not ranked.")
    paper = any(math.isfinite(cell.paper) for line in grid.lines for cell in line.cells)
    beside = ", and the paper's value" if paper else ""
    notes.append(f"Below a value: 95% interval of a paired bootstrap clustered by source image{beside}.")
    if any(grid.fewer(line, cell) for line in grid.lines for cell in line.cells):
        notes.append("n below a value: it could be computed for this many cases only.")
    if any(line.status == "not run" for line in grid.lines):
        notes.append("Rows marked (not run) are in the paper only.")
    notes += [*grid.unranked(), *grid.missing(), *_failures(grid)]
    return " ".join(notes)


def _failures(grid: Grid) -> list[str]:
    # Rows whose cases all failed have that reason for their values already.
    failures_of = {line.row.label: line.failures for line in grid.lines if line.failures and line.status != "failed"}
    return [f"Failed cases of {label}: {failures}." for label, failures in failures_of.items()]


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
        statistics: parquet with columns task, variant, metric, value, ci_low, ci_high, n, failed; for an entry with
            ``"by"``, that of parts of the cases, with the columns split and subset too.
        reported: CSV of the values that the paper reports.
        out_csv, out_markdown, out_latex: files to write.

    Raises:
        UserError: an input is missing or lacks a column, or the entry lacks a key.
    """
    spec = parse_table(table)
    grid = build_grid(spec, read_statistics(statistics, bool(spec.by)), read_reported(reported))
    write_bytes(out_csv, frame_as_csv(to_long(grid)))
    write_bytes(out_markdown, to_markdown(grid).encode())
    write_bytes(out_latex, to_latex(grid).encode())
