"""The numbers of a table: its rows joined with their statistics and the paper's values, and ranks.

Ranked are editors, within one part of the cases if the table is split; controls and metrics without a direction are
not. Only values on the same cases are ranked, those of the editor with the most: a mean over other cases may be better
because of their choice alone. A row of the paper that this study has not run is kept as "not run".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from editfrontier.scoring.metrics import Metric
from editfrontier.statistics.estimate import Estimate
from editfrontier.study.results.naming import (
    Row,
    Style,
    Table,
    decimals,
    editor_label,
    format_value,
    group_styles,
    metric_display,
    number,
    paper_values,
    parse_table,
    printed_decimals,
    row_styles,
    styles,
)

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "reference"
_NAMED = 4  # rows that a sentence names


@dataclass(frozen=True, kw_only=True)
class Cell(Estimate):
    """One number of a table; n: cases that have the value, since some metrics are not defined for every case.

    paper: the paper's value, NaN = none. rank: 1, 2 or 0. reason: why there is no value, "" = there is one. cases:
    identifies the set of these cases. unranked: whether the value is not ranked because its cases are others.
    """

    paper: float = math.nan
    rank: int = 0
    reason: str = ""
    cases: str = ""
    unranked: bool = False


@dataclass(frozen=True)
class Line:
    """One row of a table with its cells.

    status: "ok", "failed" (all its cases), "missing" (no statistics), "not run" (in the paper only). subset: the part
    of the cases that it speaks of, "" = all. failures: the reasons of the failed cases with their counts.
    """

    row: Row
    cells: tuple[Cell, ...]
    n: int
    failed: int
    status: str
    subset: str = ""
    failures: str = ""

    @property
    def counted(self) -> bool:
        """Whether its cases were run, so that their numbers mean something."""
        return self.status in ("ok", "failed")

    @property
    def floor(self) -> bool:
        """Whether it compares reference images with others."""
        return self.row.variant == REFERENCE

    @property
    def kind(self) -> str:
        """What the row is: "control", "paper" (not run here) or "editor"."""
        return "control" if self.row.control else "paper" if self.status == "not run" else "editor"

    @property
    def block(self) -> tuple[str, bool, bool, str]:
        """What a row shares with its neighbours unless a rule stands between them."""
        return self.subset, self.row.control, self.status == "not run", self.row.group


@dataclass(frozen=True)
class Bar:
    """Position of a value and its interval between the least and the greatest editor of a column, in percent."""

    at: float
    start: float
    width: float


@dataclass(frozen=True)
class Grid:
    """A table with its numbers: columns, decimals of each column, lines from top to bottom."""

    table: Table
    metrics: tuple[Metric, ...]
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
        if shared or not cell.bounded:
            return "", ""
        return self.text(column, cell.low), self.text(column, cell.high)

    def fewer(self, line: Line, cell: Cell) -> str:
        """Return the number of cases behind a value if the metric could speak about only some of the row's, else ""."""
        return f"n = {cell.n}" if math.isfinite(cell.value) and cell.n < line.n else ""

    def missing(self) -> list[str]:
        """Return a sentence for each reason that values are missing for, with the metrics and rows that it concerns."""
        by_reason: dict[tuple[str, str], list[Line]] = {}
        for line in self.lines:
            for metric, cell in zip(self.metrics, line.cells, strict=True):
                if cell.reason:
                    by_reason.setdefault((cell.reason, metric.label), []).append(line)
        joined: dict[tuple[str, str], list[str]] = {}
        for (reason, label), lines in by_reason.items():
            joined.setdefault((reason, self._rows(lines)), []).append(label)
        return [
            f"No {'value' if len(labels) == len(self.metrics) > 1 else ', '.join(labels)}{rows}: {reason}."
            for (reason, rows), labels in joined.items()
        ]

    def unranked(self) -> list[str]:
        """Return a sentence on values that are not ranked because they speak of other cases, none without any."""
        if not any(cell.unranked for line in self.lines for cell in line.cells):
            return []
        return ["Only values on the same cases are ranked, those of the editor with the most; others are left out."]

    @property
    def remarks(self) -> list[str]:
        """Sentences that stand below the table."""
        return [*self.unranked(), *self.missing()]

    @cached_property
    def parts(self) -> dict[str, list[Line]]:
        """Part of the cases -> its lines; "" = all cases."""
        names = dict.fromkeys(line.subset for line in self.lines)
        return {name: [line for line in self.lines if line.subset == name] for name in names}

    @cached_property
    def styles(self) -> dict[str, Style]:
        """Variant -> the style of its row, as figures of the table have it; of a row without one, label -> style."""
        rows = [line.row for line in self.lines]
        of_editors = styles([row.editor for row in rows])
        by_variant = {row.variant or row.label: of_editors[row.editor] for row in rows}
        match self.table.look:
            case "group":
                by_variant |= group_styles(self.table.rows)
            case "row":
                by_variant |= row_styles(self.table.rows)
        return by_variant

    def colour(self, line: Line) -> str:
        """Return the colour of a row."""
        return self.styles[line.row.variant or line.row.label].colour

    @cached_property
    def _spans(self) -> list[tuple[float, float]]:
        # Bars span the editors: a control far off goes without rather than squeezing all others.
        lines = [line for line in self.lines if not line.row.control] or list(self.lines)
        spans = []
        for column in range(len(self.metrics)):
            cells = [line.cells[column] for line in lines]
            ends = [v for cell in cells for v in (cell.value, cell.low, cell.high) if math.isfinite(v)]
            spans.append((min(ends), max(ends)) if ends else (0.0, 1.0))
        return spans

    def bar(self, column: int, cell: Cell) -> Bar | None:
        """Return the bar of a value, None for one that lies beyond the editors."""
        least, most = self._spans[column]
        if not least <= cell.value <= most or most <= least:
            return None
        at, start, end = (
            round(100 * min(max((v - least) / (most - least), 0.0), 1.0), 1)
            for v in (cell.value, *((cell.low, cell.high) if cell.bounded else (cell.value, cell.value)))
        )
        return Bar(at, start, round(end - start, 1))

    def _rows(self, lines: Sequence[Line]) -> str:
        """Return " of " and the rows, "" for all that this study has run."""
        if all(line in lines for line in self.lines if line.counted and line.row.variant != REFERENCE):
            return ""
        if {line.row.variant for line in lines} == {REFERENCE}:
            return " of the reference"
        names = [f"{line.row.label} ({line.subset})" if line.subset else line.row.label for line in lines]
        return f" of {', '.join(names)}" if len(names) <= _NAMED else f" of {len(names)} rows"

    def head(self, column: int) -> str:
        """Return the head of a column: label, unit and the direction in which it is better."""
        metric = self.metrics[column]
        unit = f"[{metric.shown_unit}]" if metric.shown_unit else ""
        return " ".join(part for part in (metric.label, unit, metric.arrow) if part)


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
    of_task = statistics[statistics["task"] == spec.task]
    if spec.by:
        of_task = of_task[of_task["split"] == spec.by]
        lines = []
        for name in dict.fromkeys(of_task["subset"].astype(str)):
            lines += [replace(line, subset=name) for line in _lines(spec, of_task[of_task["subset"] == name], {})]
    else:
        spec = _with_reference(spec, statistics)
        paper = paper_values(reported, spec.name)
        lines = _lines(spec, of_task, paper)
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


def _lines(spec: Table, of_task: pd.DataFrame, paper: Mapping[tuple[str, str], Mapping[str, float]]) -> list[Line]:
    entries = {(str(entry.variant), str(entry.metric)): entry for entry in of_task.itertuples()}
    return [_line(row, spec.metrics, entries, paper.get(row.reported, {})) for row in spec.rows]


def _with_reference(spec: Table, statistics: pd.DataFrame) -> Table:
    # The floor of FID and KID, reference images against others, is no editor and so no row of the config.
    measured = statistics[(statistics["task"] == spec.task) & (statistics["variant"] == REFERENCE)]
    compared = any(row.control for row in spec.rows) and not measured[measured["metric"].isin(spec.metrics)].empty
    if not compared or any(row.variant == REFERENCE for row in spec.rows):
        return spec
    row = Row(REFERENCE, REFERENCE, editor_label(REFERENCE), "", "controls", True)
    return replace(spec, rows=(*spec.rows, row))


def _line(
    row: Row, metrics: Sequence[str], summaries: Mapping[tuple[str, str], Any], paper: Mapping[str, float]
) -> Line:
    entries = [summaries.get((row.variant, name)) for name in metrics]
    cells = tuple(_cell(entry, paper.get(name, math.nan)) for entry, name in zip(entries, metrics, strict=True))
    known = [entry for entry in entries if entry is not None]
    n, failed = max((cell.n for cell in cells), default=0), max((_count(entry.failed) for entry in known), default=0)
    if not known:
        return Line(replace(row, label=f"{row.label} (no results)"), cells, n, failed, "missing")
    failures = next((text for entry in known if (text := str(getattr(entry, "failures", "")))), "")
    return Line(row, cells, n, failed, "failed" if failed and not n else "ok", failures=failures)


def _cell(entry: Any, paper: float) -> Cell:
    """entry: of the statistics, None = there is none."""
    if entry is None:
        return Cell(math.nan, paper=paper)
    values = number(entry.value), number(entry.ci_low), number(entry.ci_high)
    reason, cases = (str(getattr(entry, key, "")) for key in ("reason", "cases"))
    return Cell(*values, _count(entry.n), paper=paper, reason=reason, cases=cases)


def _count(value: float) -> int:
    return 0 if math.isnan(number(value)) else int(value)


def _unrun(method: str, configuration: str, metrics: Sequence[str], paper: Mapping[str, float]) -> Line:
    label = editor_label(method) + (" (not run)" if configuration == "default" else f", {configuration} (not run)")
    cells = tuple(Cell(math.nan, paper=paper.get(name, math.nan)) for name in metrics)
    return Line(Row("", method, label, configuration, "not run", False), cells, 0, 0, "not run")


def _ranked(lines: Sequence[Line], metrics: Sequence[Metric], places: Sequence[int]) -> list[Line]:
    cells = [list(line.cells) for line in lines]
    for column, metric in enumerate(metrics):
        if metric.direction not in ("higher", "lower"):
            continue
        editors = [
            index
            for index, line in enumerate(lines)
            if not line.row.control and math.isfinite(line.cells[column].value)
        ]
        same = _same_cases([cells[index][column] for index in editors])
        # Values that read alike share a rank: a bold 0.912 above a plain 0.912 would only puzzle.
        read_as = {
            index: float(format_value(metric.name, cells[index][column].value, places[column]))
            for index, alike in zip(editors, same, strict=True)
            if alike
        }
        order = sorted(set(read_as.values()), reverse=metric.direction == "higher")[:2]
        for index in editors:
            value = read_as.get(index)
            rank = order.index(value) + 1 if value in order and len(read_as) > 1 else 0
            cells[index][column] = replace(cells[index][column], rank=rank, unranked=value is None)
    return [replace(line, cells=tuple(ranked)) for line, ranked in zip(lines, cells, strict=True)]


def _same_cases(cells: Sequence[Cell]) -> list[bool]:
    """Return which of the cells speak of the same cases as the one with the most, of two such choices the commoner.

    Statistics that do not say of which cases they are have their number alone.
    """
    kinds = [(cell.n, cell.cases) for cell in cells]
    chosen = max(kinds, key=lambda kind: (kind[0], kinds.count(kind)), default=None)
    return [kind == chosen for kind in kinds]
