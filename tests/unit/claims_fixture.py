"""Constructed evidence for the claims: the tables of the micro study with numbers that a test chooses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from editfrontier.base.parquet import write_parquet
from editfrontier.statistics.taskscores import TaskScores
from editfrontier.study.config.study import Study, read_yaml, resolve_study
from editfrontier.study.findings import Finding, write_findings
from editfrontier.study.judging.evidence import Evidence
from editfrontier.study.judging.ledger import Claim, read_claims
from editfrontier.study.results.naming import parse_table

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "config" / "claims.yaml"
REPORTED = ROOT / "config" / "reported_values.csv"


@cache
def micro() -> Study:
    """The micro study with all of its experiments, resolved."""
    file = ROOT / "config" / "micro.yaml"
    content = read_yaml(file)
    return resolve_study({**content, "run": list(content["experiments"])}, [file])


@cache
def claims() -> dict[str, Claim]:
    """The claims of the study by number."""
    return {claim.id: claim for claim in read_claims(CLAIMS)}


class Given(Evidence):
    """Evidence with scores and parts of the cases that a test gives."""

    given: tuple[TaskScores | None, Mapping[str, Mapping[str, list[str]]]] = (None, {})

    def scores(self, table: str, rows: Sequence[Any]) -> TaskScores:
        if self.given[0] is None:
            return super().scores(table, rows)
        return self.given[0]

    def parts_of_cases(self, table: str, split: str) -> dict[str, list[str]]:
        return dict(self.given[1][split])


class World:
    """Results of a study that are set value by value.

    half: half of the width of every interval. The p value of a difference is 0.0001 where its interval excludes zero,
    0.5 where it does not.
    """

    def __init__(self, root: Path, half: float = 0.01) -> None:
        self.root, self.half = root, half
        self.study = replace(micro(), analyses={})
        self.values: dict[tuple[str, str], dict[str, float]] = {}

    def set(self, table: str, metric: str, values: Mapping[str, float]) -> None:
        """Set means of a metric by the names that `Evidence.row` takes."""
        self.values[table, metric] = dict(values)

    def find(self, analysis: str, rows: Sequence[Finding]) -> None:
        """Set the findings of an analysis."""
        self.study = replace(self.study, analyses={**self.study.analyses, analysis: {}})
        (self.root / "analyses").mkdir(exist_ok=True, parents=True)
        write_findings(self.root / "analyses" / f"{analysis}.parquet", rows, {})

    def evidence(self) -> Given:
        """Write everything and return it as evidence."""
        names = Evidence(self.root, self.study, REPORTED)
        single: dict[str, list[tuple[Any, ...]]] = {}
        pairs: dict[str, list[tuple[Any, ...]]] = {}
        for (table, metric), values in self.values.items():
            task = parse_table(self.study.tables[table]).task
            found = {names.row(table, name).variant: value for name, value in values.items()}
            for variant, value in found.items():
                entry = (task, variant, metric, value, value - self.half, value + self.half, 40, 0)
                single.setdefault(task, []).append(entry)
            for (a, x), (b, y) in itertools.combinations(found.items(), 2):
                gap = x - y
                p = 0.0001 if abs(gap) > self.half else 0.5
                row = (task, metric, a, b, gap, gap - self.half, gap + self.half, p, p, "editors", 40)
                pairs.setdefault(task, []).append(row)
        columns = ["task", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed"]
        gaps = ["task", "metric", "variant_a", "variant_b", "difference", "ci_low", "ci_high", "p", "p_holm"]
        (self.root / "statistics").mkdir(exist_ok=True, parents=True)
        for task, rows in single.items():
            frame = pd.DataFrame(rows, columns=columns)
            write_parquet(self.root / "statistics" / f"{task}.parquet", frame, {})
        for task, rows in pairs.items():
            frame = pd.DataFrame(rows, columns=[*gaps, "family", "n"])
            write_parquet(self.root / "statistics" / f"{task}.differences.parquet", frame, {})
        return Given(self.root, self.study, REPORTED)


def verdict(number: str, evidence: Evidence) -> str:
    """Judge a claim of the list, with the parameters that stand there."""
    claim = claims()[number]
    return claim.test(evidence, claim.params).verdict
