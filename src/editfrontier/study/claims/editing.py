"""Claims on the editing of attributes (section 5.1, Table 1), and comparisons that other sections use too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from editfrontier.statistics.estimate import Estimate
from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Absent, Verdict

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


@claim
def highest_of_all(evidence: Evidence, *, table: str, metric: str, leaders: Sequence[str], margin: float) -> Verdict:
    """Every leader is better than every other method of the paper's table by more than the margin."""
    first = [evidence.row(table, name) for name in leaders]
    others = [row for row in evidence.rows(table) if row not in first]
    return evidence.decide(
        [evidence.better(table, leader, other, metric, margin) for leader in first for other in others]
    )


@claim
def better_than(
    evidence: Evidence, *, table: str, editor: str, others: Sequence[str], metrics: Sequence[str], margin: float
) -> Verdict:
    """One row is better than each of some others in every metric by more than the margin."""
    candidate = evidence.row(table, editor)
    rivals = [evidence.row(table, name) for name in others]
    return evidence.decide([evidence.better(table, candidate, other, m, margin) for m in metrics for other in rivals])


@claim
def extreme(
    evidence: Evidence, *, table: str, editor: str, best: Sequence[str], worst: Sequence[str], margin: float
) -> Verdict:
    """One method is the best of the paper's table in some metrics and the worst in others."""
    candidate = evidence.row(table, editor)
    others = [row for row in evidence.rows(table) if row != candidate]
    parts = [evidence.better(table, candidate, other, metric, margin) for metric in best for other in others]
    parts += [evidence.better(table, other, candidate, metric, margin) for metric in worst for other in others]
    return evidence.decide(parts)


@claim
def moderate(
    evidence: Evidence,
    *,
    table: str,
    editor: str,
    metric: str,
    worse_than: Sequence[str],
    better_than: Sequence[str],
    price: str,
    keeper: str,
    margin: float,
) -> Verdict:
    """One method lies between others in a metric, and loses to another (`keeper`) in another metric (`price`)."""
    candidate = evidence.row(table, editor)
    parts = [evidence.better(table, evidence.row(table, name), candidate, metric, margin) for name in worse_than]
    parts += [evidence.better(table, candidate, evidence.row(table, name), metric, margin) for name in better_than]
    parts.append(evidence.better(table, evidence.row(table, keeper), candidate, price, margin))
    return evidence.decide(parts)


@claim
def low_for_want_of_change(
    evidence: Evidence, *, table: str, editor: str, metric: str, area: str, control: str, margin: float
) -> Verdict:
    """A method has the best value of a metric that does not look at the source, because it changes least.

    It is the best of the paper's table in the metric and changes the least area; over all editors the metric rises with
    the area that they change; and the unedited source (`control`) is better still.
    """
    candidate = evidence.row(table, editor)
    others = [row for row in evidence.rows(table) if row != candidate]
    parts = [evidence.better(table, candidate, other, metric, margin) for other in others]
    parts += [evidence.compare(table, candidate, other, area, -1) for other in others]
    parts.append(evidence.better(table, evidence.row(table, control), candidate, metric))
    editors = [row for row in evidence.table(table).rows if not row.control]
    points = [tuple(evidence.value(table, row, name).value for name in (area, metric)) for row in editors]
    parts.append(Part(what=f"Rank correlation over {len(points)} editors", effect=rank_correlation(points), above=0.0))
    return evidence.decide(parts)


def rank_correlation(points: Sequence[Sequence[float]], level: float = 0.95) -> Estimate:
    """Return Spearman's correlation of pairs (x, y) with the interval of Bonett and Wright (2000).

    Raises:
        Absent: there are fewer than five pairs, too few for the interval.
    """
    from scipy.stats import norm, spearmanr

    known = [point for point in points if all(map(math.isfinite, point))]
    if len(known) < 5:
        raise Absent(f"A rank correlation over {len(known)} editors has no interval; it needs five at least.")
    first, second = zip(*known, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        raise Absent("All editors have the same value, so there is no rank correlation.")
    r = float(spearmanr(first, second).statistic)
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt((1 + r**2 / 2) / (len(known) - 3))
    z = math.atanh(min(max(r, -0.999999), 0.999999))
    return Estimate(r, math.tanh(z - half), math.tanh(z + half), len(known))
