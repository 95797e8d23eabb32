"""Claims on inversion: its steps (Table 2, section 5.3) and what caching it saves (section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Absent, Verdict
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


@claim
def more_steps(
    evidence: Evidence, *, table: str, rows: Sequence[str], better: Sequence[str], worse: Sequence[str], margin: float
) -> Verdict:
    """From each row to the next, some metrics get better and others worse: a trend without a turn."""
    parts = []
    for fewer, more in pairwise(evidence.row(table, name) for name in rows):
        parts += [evidence.better(table, more, fewer, metric, margin) for metric in better]
        parts += [evidence.better(table, fewer, more, metric, margin) for metric in worse]
    return evidence.decide(parts)


@claim
def operating_point(
    evidence: Evidence,
    *,
    table: str,
    usable: str,
    limit: str,
    better: str,
    best: str,
    others: Sequence[str],
    metric: str,
    cost: str,
    margin: float,
) -> Verdict:
    """One row is usable, another clearly better, a third the best and the dearest.

    Usable means at most as bad as the paper's own value (`limit`, a reference to the reported values).
    """
    rows = {name: evidence.row(table, name) for name in (usable, better, best, *others)}
    accuracy = evidence.value(table, rows[usable], metric)
    bound, label = evidence.stated(limit), metric_display(metric).label
    parts = [Part(what=f"{rows[usable].label}, {label}", effect=accuracy, below=bound, paper=bound)]
    parts.append(evidence.better(table, rows[better], rows[usable], metric, margin))
    for name in (usable, better, *others):
        parts.append(evidence.better(table, rows[best], rows[name], metric))
        parts.append(evidence.better(table, rows[name], rows[best], cost))
    return evidence.decide(parts)


@claim
def caching_amortises(evidence: Evidence, *, table: str, editors: Sequence[str], edits: int, margin: float) -> Verdict:
    """With its inversion cached, an edit costs less: over `edits` edits of one image, by more than the share `margin`.

    What is saved is the share of an edit's seconds that its inversion took, paid once instead of `edits` times.
    """
    from editfrontier.study.judging.resampling import resample, sums

    parts = []
    for name in editors:
        row = evidence.row(table, name)
        data = evidence.scores(table, [row])
        if "inversion_seconds" not in data.metrics:
            raise Absent(f"{row.label} inverts nothing in the experiment '{table}'.")
        inverting, whole = (data.values[:, 0, data.metrics.index(m)] for m in ("inversion_seconds", "seconds"))
        known = np.isfinite(inverting) & np.isfinite(whole)
        totals = [sums(np.where(known, v, np.nan), data.cluster, data.clusters) for v in (inverting, whole)]

        def saved(weights: np.ndarray, totals: list[np.ndarray] = totals) -> np.ndarray:
            return (1 - 1 / edits) * (weights @ totals[0]) / (weights @ totals[1])

        effect = resample(saved, data.clusters, evidence.settings, int(known.sum()), "caching", row.variant)
        what = f"{row.label}, share of the seconds saved over {edits} edits"
        parts.append(Part(what=what, effect=effect, above=margin))
    return evidence.decide(parts)
