"""Inputs of an analysis whose scores and cases are given instead of read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from editfrontier.data.cases import Case
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.taskscores import Settings, TaskScores
from editfrontier.study.analysis import Analysis
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.inputs import Inputs
from editfrontier.study.results.naming import Row, Table

STATISTICS = {"resamples": 300, "permutations": 999}


@dataclass(frozen=True)
class Given(Inputs):
    """Inputs that hold their scores and cases."""

    known: Mapping[str, TaskScores] = field(default_factory=dict)
    listed: Mapping[str, Sequence[Case]] = field(default_factory=dict)
    pictures: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)

    def scores(self, experiment: str, variants: Iterable[str] | None = None) -> TaskScores:
        return self.known[experiment]

    def cases(self, task: str) -> list[Case]:
        return list(self.listed[task])

    def images(self, task: str, variant: str) -> dict[str, Path]:
        return dict(self.pictures.get(variant, {}))


def scores_of(
    values: Array,
    variants: Sequence[str],
    metrics: Sequence[str],
    cluster: Sequence[int] | None = None,
    task: str = "t",
) -> TaskScores:
    """Scores [N, V, M] of cases c0, c1, ..."""
    numbers = np.arange(len(values)) if cluster is None else np.asarray(cluster)
    names = tuple(f"c{i}" for i in range(len(values)))
    failures: tuple[dict[str, str], ...] = tuple({} for _ in variants)
    held, failed = numbers.astype(np.intp), [0] * len(variants)
    return TaskScores(task, list(variants), list(metrics), values, held, failed, {}, None, names, failures)


def rows_of(variants: Sequence[str], controls: Sequence[str] = ()) -> tuple[Row, ...]:
    """Rows whose variants are called by their editors."""
    return tuple(
        Row(name, name.partition("+")[0], name.replace("_", " "), "", "", name in controls) for name in variants
    )


def inputs_of(
    root: Path,
    scores: Mapping[str, TaskScores],
    rows: Mapping[str, Sequence[Row]],
    cases: Mapping[str, Sequence[Case]] | None = None,
    statistics: Mapping[str, object] | None = None,
    name: str = "analysis",
) -> Given:
    """Inputs of one experiment for each entry of `scores`, on a task of its own name."""
    merged = {**STATISTICS, **(statistics or {})}
    tables = {key: Table(key, f"Title of {key}", "", scores[key].task, (), tuple(rows[key])) for key in scores}
    return Given(
        name, root, tables, (), {}, {}, Settings.of(merged), (), 0, "cpu", merged, scores, cases or {}
    )  # fmt: skip


def found_by(analysis: Analysis, inputs: Inputs, **params: object) -> Findings:
    """Run an analysis and check that it declares what it returns."""
    rows: Sequence[Finding] = analysis.run(inputs, analysis.params(**params))
    assert {row.quantity for row in rows} <= set(analysis.quantities)
    return Findings(tuple(rows), {})
