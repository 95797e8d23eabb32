"""The scores of a variant while they are collected, why some are missing, and the table that holds both."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from editfrontier.base.parquet import write_parquet
from editfrontier.data.cases import Case
from editfrontier.scoring.metrics import METRICS
from editfrontier.scoring.shapes import Values
from editfrontier.scoring.source_features import SourceFeatures
from editfrontier.scoring.sources import provenance_of

log = logging.getLogger(__name__)


@dataclass
class Collected:
    """Rows of the long table while they are collected, and why a row is missing."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)
    absent: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, metric: str, case_ids: Sequence[str], values: Values, reason: str) -> None:
        """Add one value a case; `reason` is noted where a value is not finite."""
        for case_id, value in zip(case_ids, values.tolist(), strict=True):
            if np.isfinite(value):
                self.rows.append((case_id, metric, value))
            else:
                self.miss(metric, case_id, reason)

    def miss(self, metric: str, case_id: str, reason: str) -> None:
        """Note why a case has no value of a metric."""
        self.absent.setdefault(metric, {}).setdefault(reason, []).append(case_id)

    def silent(self, evaluators: Iterable[str]) -> dict[str, str]:
        """Return why each metric that was not even mentioned speaks of no case; `evaluators`: the kinds that are given.

        Metrics of sets are not scores of cases and are left out.
        """
        known, given = {metric for _, metric, _ in self.rows} | set(self.absent), set(evaluators)
        reasons = {}
        for name, metric in METRICS.items():
            if name in known or not metric.per_image:
                continue
            if metric.recorded:
                reasons[name] = "its editor does not record it"
            elif metric.needs and metric.needs not in given:
                reasons[name] = f"there is no evaluator '{metric.needs}'"
            elif metric.about:
                reasons[name] = f"no case has {metric.about}"
        return reasons


def write_scores(
    cases: Sequence[Case],
    variant: str,
    scores: Collected,
    evaluators: Mapping[str, Any],
    records: Sequence[Path],
    sources: SourceFeatures,
    out: Path,
) -> None:
    """Write the score table of a variant; `score.score_variant` describes the table and its provenance."""
    order = {case.case_id: i for i, case in enumerate(cases)}
    metric_order = {name: i for i, name in enumerate(METRICS)}
    rows = sorted(scores.rows, key=lambda row: (metric_order[row[1]], order[row[0]]))
    frame = pd.DataFrame(rows, columns=["case_id", "metric", "value"])
    frame.insert(1, "variant", variant)
    frame = frame.astype({"case_id": "str", "variant": "str", "metric": "str", "value": "float64"})
    failures = dict(sorted(scores.failures.items(), key=lambda item: order[item[0]]))
    for case_id, reason in list(failures.items())[:5]:
        log.warning("%s: case %s failed: %s", variant, case_id, reason)
    counts = {"cases": len(cases), "ok": len(cases) - len(failures), "failed": len(failures)}
    write_parquet(
        out,
        frame,
        provenance_of("score", evaluators)
        | {
            "variant": variant,
            "task": cases[0].task if cases else "",
            "counts": counts,
            "failures": failures,
            "absent": scores.absent,
            "silent": scores.silent(evaluators),
            "artifact_threshold": sources.artifact_threshold,
            "records": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in records},
        },
    )
