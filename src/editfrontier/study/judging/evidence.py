"""Evidence for claims: the effects that the study measured, with intervals, read when first asked for.

Anything that was not run raises `Absent` with a reason that names it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.data.cases import read_cases
from editfrontier.statistics.estimate import Effect, Estimate
from editfrontier.statistics.subsets import groups_of
from editfrontier.statistics.taskscores import Settings, read_scores
from editfrontier.study.findings import read_findings
from editfrontier.study.judging.decision import Part, decide, decide_any
from editfrontier.study.judging.verdict import Absent, Verdict
from editfrontier.study.results.naming import (
    Row,
    Table,
    editor_of,
    metric_display,
    paper_values,
    parse_table,
    read_reported,
    variant_label,
)

if TYPE_CHECKING:
    import pandas as pd

    from editfrontier.statistics.taskscores import TaskScores
    from editfrontier.study.config.study import Study
    from editfrontier.study.findings import Finding, Findings

_FIX = "Make it again with `snakemake statistics`."


class Evidence:
    """The results of one scale.

    Args:
        root: results folder of the scale.
        study: its config, resolved.
        reported: CSV of the values that the paper reports.
    """

    def __init__(self, root: Path, study: Study, reported: Path) -> None:
        self.root, self.study, self._reported = root, study, reported
        self._frames: dict[Path, pd.DataFrame] = {}

    @cached_property
    def reported(self) -> pd.DataFrame:
        """The values that the paper reports (see `results.read_reported`)."""
        return read_reported(self._reported)

    @cached_property
    def settings(self) -> Settings:
        """Of the statistics."""
        return Settings.of(self.study.config["statistics"])

    @property
    def alpha(self) -> float:
        """1 - level of the intervals."""
        return 1 - float(self.study.config["statistics"].get("level", 0.95))

    def decide(self, parts: Sequence[Part], note: str = "") -> Verdict:
        """Return the verdict on parts at the study's level (see `decision.decide`)."""
        return decide(parts, note, self.alpha)

    def decide_any(self, options: Sequence[Sequence[Part]]) -> Verdict:
        """Return the verdict on "at least one of these" at the study's level (see `decision.decide_any`)."""
        return decide_any(options, self.alpha)

    # --- tables ------------------------------------------------------------------------------------------------------

    def table(self, name: str) -> Table:
        """Return a table of the study."""
        if name not in self.study.tables:
            raise Absent(f"The experiment '{name}' was not run.")
        return parse_table(self.study.tables[name])

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table that stand for all the methods that the paper has there, in the table's order.

        Raises:
            Absent: a method of the paper was not run.
        """
        paper = paper_values(self.reported, table)
        rows = [row for row in self.table(table).rows if row.reported in paper]
        missing = set(paper) - {row.reported for row in rows}
        if missing:
            method, configuration = min(missing)
            name = method if configuration == "default" else f"{method}, {configuration}"
            raise Absent(f"'{name}' of the paper was not run in the experiment '{table}'.")
        return rows

    def row(self, table: str, name: str) -> Row:
        """Return the row of a table that has this name.

        name: "method/configuration" of the paper, the row's label, or its editor for the editor's first row.
        """
        rows = self.table(table).rows
        named = [row for row in rows if name in ("/".join(row.reported), row.label)]
        named = named or [row for row in rows if row.editor == name]
        if not named:
            raise Absent(f"'{name}' was not run in the experiment '{table}'.")
        return named[0]

    def label(self, variant: str) -> str:
        """Return what readers call a variant; the first table that has it decides."""
        for table in self.study.tables.values():
            for row in parse_table(table).rows:
                if row.variant == variant:
                    return row.label
        return variant_label(variant)

    def value(self, table: str, row: Row, metric: str) -> Estimate:
        """Return the mean of a metric with its interval, as the table shows it."""
        frame = self._statistics(table, "")
        entries = frame[(frame["variant"] == row.variant) & (frame["metric"] == metric)]
        if entries.empty:
            raise Absent(f"{row.label} has no {metric_display(metric).label} in the experiment '{table}'.")
        entry = entries.iloc[0]
        if reason := str(entry.get("reason", "")):
            raise Absent(f"There is no {metric_display(metric).label} in the experiment '{table}': {reason}.")
        return _estimate(entry, "value")

    def difference(self, table: str, a: Row, b: Row, metric: str) -> Effect:
        """Return the paired difference a - b of a metric, with the p value of its own test."""
        frame = self._statistics(table, ".differences")
        of_metric = frame[frame["metric"] == metric]
        for first, second, sign in ((a, b, 1), (b, a, -1)):
            pair = (of_metric["variant_a"] == first.variant) & (of_metric["variant_b"] == second.variant)
            if pair.any() and int(of_metric[pair].iloc[0]["n"]) > 0:
                entry = of_metric[pair].iloc[0]
                effect = Effect(**_estimate(entry, "difference").fields(), p=float(entry["p"]))
                return effect if sign == 1 else -effect
        summary = self._statistics(table, "")
        for row in (a, b):
            if ((summary["variant"] == row.variant) & (summary["metric"] == metric)).any():
                self.value(table, row, metric)  # says why there is none
        run = set(summary["variant"])
        for row in (a, b):
            if row.variant not in run:
                raise Absent(f"{row.label} was not run in the experiment '{table}'.")
        name = metric_display(metric).label
        raise Absent(f"{a.label} and {b.label} have no common case with {name} in the experiment '{table}'.")

    def compare(self, table: str, a: Row, b: Row, metric: str, sign: int, margin: float = 0.0) -> Part:
        """Return the part "a - b in this metric is above the margin" (sign 1) or "below minus the margin" (-1)."""
        display = metric_display(metric)
        above, below = (margin, math.inf) if sign > 0 else (-math.inf, 0.0 - margin)
        effect = self.difference(table, a, b, metric)
        return Part(
            what=f"{a.label} minus {b.label}, {display.label}",
            effect=replace(effect, p=math.nan) if margin else effect,  # the test is of no difference, not of the margin
            unit="share of cases" if display.percent else display.unit,
            paper=self.paper(table, a, metric) - self.paper(table, b, metric),
            above=above,
            below=below,
        )

    def better(self, table: str, a: Row, b: Row, metric: str, margin: float = 0.0) -> Part:
        """Return the part "a is better than b in this metric by more than the margin"."""
        sign = -1 if metric_display(metric).direction == "lower" else 1
        return self.compare(table, a, b, metric, sign, margin)

    def paper(self, table: str, row: Row, metric: str) -> float:
        """Return the paper's value of a row, NaN where it gives none."""
        return paper_values(self.reported, table).get(row.reported, {}).get(metric, math.nan)

    def stated(self, reference: str) -> float:
        """Return a value of the paper by "table/method/configuration/metric", percentages as fractions."""
        table, method, configuration, metric = reference.split("/")
        frame = self.reported
        keys = {"table": table, "method": method, "configuration": configuration, "metric": metric}
        for key, wanted in keys.items():
            frame = frame[frame[key] == wanted]
        if frame.empty:
            raise Absent(f"The reported values have no '{reference}'.")
        return float(frame.iloc[0]["value"])

    def _statistics(self, table: str, kind: str) -> pd.DataFrame:
        task = self.table(table).task
        path = self.root / "statistics" / f"{task}{kind}.parquet"
        if path not in self._frames:
            from editfrontier.base.parquet import read_parquet

            if not path.is_file():
                raise Absent(f"The statistics of task '{task}' were not made.")
            self._frames[path] = read_parquet(path, _FIX)[0]
        return self._frames[path]

    # --- cases -------------------------------------------------------------------------------------------------------

    def scores(self, table: str, rows: Sequence[Row]) -> TaskScores:
        """Return the scores of the cases of some rows of a table."""
        task = self.table(table).task
        paths = [self.root / "scores" / task / f"{row.variant}.parquet" for row in rows]
        sources = self.root / "scores" / task / "sources.npz"
        for path, row in zip(paths, rows, strict=True):
            if not path.is_file() or not sources.is_file():
                raise Absent(f"The scores of {row.label} on task '{task}' were not made.")
        return read_scores(paths, [], sources)

    def parts_of_cases(self, table: str, split: str) -> dict[str, list[str]]:
        """Return the case ids of each part of a table's task (see `subsets.groups_of`)."""
        path = self.root / "data" / self.table(table).task / "cases.parquet"
        if not path.is_file():
            raise Absent(f"The cases of task '{self.table(table).task}' were not made.")
        return groups_of(read_cases(path), split)

    # --- analyses ----------------------------------------------------------------------------------------------------

    def findings(self, analysis: str) -> Findings:
        """Return the findings of an analysis of the study."""
        path = self.root / "analyses" / f"{analysis}.parquet"
        if analysis not in self.study.analyses or not path.is_file():
            raise Absent(f"The analysis '{analysis}' was not run.")
        return read_findings(path)

    def finding(self, analysis: str, quantity: str, editor: str = "", **values: Any) -> Finding:
        """Return the only finding with these values.

        editor: of the finding's variant, whatever its hyperparameters; "" = any, or none.
        """
        findings = self.findings(analysis).select(quantity, **values)
        if editor:
            findings = [row for row in findings if editor_of(row.variant) == editor]
            values = {"editor": f"'{editor}'", **values}
        where = ", ".join(f"{value}" for value in values.values() if value != "")
        if not findings:
            raise Absent(f"The analysis '{analysis}' has no {quantity}{f' of {where}' if where else ''}.")
        if len(findings) > 1:
            raise ValueError(f"{analysis}: {quantity} with {values} stands for {len(findings)} findings, expected one")
        row = findings[0]
        if not math.isfinite(row.value):
            raise Absent(f"{quantity}{f' of {where}' if where else ''}: {row.note or 'could not be computed'}.")
        return row


def _estimate(entry: pd.Series[Any], key: str) -> Estimate:
    return Estimate(float(entry[key]), float(entry["ci_low"]), float(entry["ci_high"]), int(entry["n"]))
