"""Claims on faces and on people's judgement (sections 4.4 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Absent, Verdict
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


@claim
def drift_concentrates(
    evidence: Evidence, *, analysis: str, quantity: str, table: str, editors: Sequence[str], margin: float
) -> Verdict:
    """For every editor the deviation inside the meaningful regions of a face exceeds that in the other regions."""
    parts = []
    for row in (evidence.row(table, name) for name in editors):
        effect = evidence.finding(analysis, quantity, variant=row.variant)
        what = f"{row.label}, deviation in eyes, nose and mouth less elsewhere"
        parts.append(Part(what=what, effect=effect, above=margin))
    return evidence.decide(parts)


@claim
def metrics_agree_with_people(evidence: Evidence, *, analysis: str, metrics: Sequence[str], margin: float) -> Verdict:
    """Metrics rank the editors as people do: a rank correlation above the margin for each of them."""
    responses = evidence.findings(analysis).select("responses")
    if not responses or not responses[0].value:
        note = responses[0].note if responses else "no responses yet"
        raise Absent(f"{note[0].upper()}{note[1:]}.")
    parts = []
    for metric in metrics:
        effect = evidence.finding(analysis, "spearman", metric=metric)
        what = f"Rank correlation with people's preferences, {metric_display(metric).label}"
        parts.append(Part(what=what, effect=effect, above=margin))
    return evidence.decide(parts)
