"""The numbers of a table: its rows joined with their statistics and the paper's values, and who is best.

The best of a column stands among the editors only, within one part of the cases if the table is split; controls are
never ranked, and neither is a metric that has no direction. A row of the paper that this study has not run is kept as
"not run".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
    printed_decimals,
)

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "reference"


@dataclass(frozen=True)
class Cell:
    """One number of a table: the value, its interval, the paper's value (NaN = none) and its rank (1, 2 or 0).

    n: cases that have the value; some metrics cannot speak about every case. reason: why the study can give no value
    here, "" = it can.
    """

    value: float
    low: float
    high: float
    paper: float
    rank: int
    n: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a table with its cells.

    status: "ok", "missing" (no statistics), "not run" (in the paper only). subset: the part of the cases that it speaks
    of, "" = all.
    """

    row: Row
    cells: tuple[Cell, ...]
    n: int
    failed: int
    status: str
    subset: str = ""


@dataclass(frozen=True)
class Grid:
    """A table with its numbers, ready to be written: columns, decimals of each column, lines from top to bottom."""

    table: Table
    metrics: tuple[MetricDisplay, ...]
    places: tuple[int, ...]
    paper_places: tuple[int, ...]  # as the paper printed them
    lines: tuple[Line, ...]

    def text(self, column: int, value: float) -> str:
        """Return a value of a column as readers see it, "" for NaN."""
        return format_value(self.metrics[column].name, value, self.places[column])

    def paper_text(self, column: int, value: float) -> str:
        """Return the paper's value of a column as readers see it, "" for NaN."""
        return format_value(self.metrics[column].name, value, self.paper_places[column])

    def interval(self, column: int, cell: Cell) -> tuple[str, str]:
        """Return the bounds of an interval as readers see them, two empty texts without one.

        Cases of a batch share its cost, so an interval of no width would only look like precision there.
        """
        shared = self.metrics[column].group == "cost" and cell.low == cell.high
        if shared or not (math.isfinite(cell.low) and math.isfinite(cell.high)):
            return "", ""
        return self.text(column, cell.low), self.text(column, cell.high)

    def fewer(self, line: Line, cell: Cell) -> str:
        """Return the number of cases behind a value if the metric could speak about only some of the row's, else ""."""
        return f"n = {cell.n}" if math.isfinite(cell.value) and cell.n < line.n else ""

    def missing(self) -> list[str]:
        """Return a sentence for each metric and reason that it has no value."""
        found: dict[tuple[str, str], set[str]] = {}
        for line in self.lines:
            for metric, cell in zip(self.metrics, line.cells, strict=True):
                if cell.reason:
                    found.setdefault((metric.label, cell.reason), set()).add(line.row.variant)
        return [
            f"No {label}{' of the reference' if variants == {REFERENCE} else ''}: {reason}."
            for (label, reason), variants in found.items()
        ]

    def head(self, column: int) -> str:
        """Return the head of a column: label, unit and the direction in which it is better."""
        metric = self.metrics[column]
        unit = "%" if metric.percent else metric.unit
        return " ".join(part for part in (metric.label, f"[{unit}]" if unit else "", metric.arrow) if part)


def build_grid(table: Mapping[str, Any] | Table, statistics: pd.DataFrame, reported: pd.DataFrame) -> Grid:
    """Join a table's rows with their statistics and the paper's values.

    Args:
        table: config entry (keys in `write_table`) or its typed form.
        statistics: summaries with the columns of `results.STATISTICS_COLUMNS`; for a table that is split, those of the
            parts, with `results.SUBSET_COLUMNS` too.
        reported: values of the paper, from `results.read_reported`.

    Returns:
        Rows in the config's order; the paper's rows that this study has not run stand behind the last editor. A table
        that is split has all rows for each part of the cases in turn.
    """
    spec = parse_table(table)
    own = statistics[statistics["task"] == spec.task]
    if spec.by:
        own = own[own["split"] == spec.by]
        lines = []
        for name in dict.fromkeys(own["subset"].astype(str)):
            lines += [replace(line, subset=name) for line in _lines(spec, own[own["subset"] == name], {})]
    else:
        spec = _with_reference(spec, statistics)
        paper = paper_values(reported, spec.name)
        lines = _lines(spec, own, paper)
        used = {row.reported for row in spec.rows}
        behind = max((i for i, line in enumerate(lines) if not line.row.control), default=-1) + 1
        lines[behind:behind] = [
            _unrun(*name, spec.metrics, values) for name, values in paper.items() if name not in used
        ]
    metrics = tuple(metric_display(name) for name in spec.metrics)
    places = tuple(decimals(name, [line.cells[i].value for line in lines]) for i, name in enumerate(spec.metrics))
    paper_places = tuple(
        printed_decimals(name, [line.cells[i].paper for line in lines]) for i, name in enumerate(spec.metrics)
    )
    parts = [[line for line in lines if line.subset == name] for name in dict.fromkeys(line.subset for line in lines)]
    ranked = tuple(line for part in parts for line in _ranked(part, metrics, places))
    return Grid(spec, metrics, places, paper_places, ranked)


def _lines(spec: Table, own: pd.DataFrame, paper: Mapping[tuple[str, str], Mapping[str, float]]) -> list[Line]:
    found = {(str(entry.variant), str(entry.metric)): entry for entry in own.itertuples()}
    return [_line(row, spec.metrics, found, paper.get(row.reported, {})) for row in spec.rows]


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
        counts.append(0 if math.isnan(number(entry.n)) else int(entry.n))
        values = number(entry.value), number(entry.ci_low), number(entry.ci_high)
        reason = str(getattr(entry, "reason", ""))
        cells.append(Cell(*values, reported, 0, counts[-1], reason))
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
        replace(line, cells=tuple(replace(cell, rank=r) for cell, r in zip(line.cells, rank, strict=True)))
        for line, rank in zip(lines, ranks, strict=True)
    ]
