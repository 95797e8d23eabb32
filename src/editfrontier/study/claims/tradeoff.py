"""Claims on the trade-off over methods and tasks (section 5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editfrontier.statistics.estimate import Estimate
from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Verdict

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


@claim
def regimes(evidence: Evidence, *, analysis: str, level: str, number: int, margin: float) -> Verdict:
    """Methods form a number of groups, and the grouping into as many agrees with the paper's beyond chance.

    level: the task, or "all" of them together. margin: of the adjusted Rand index, which is 0 by chance.
    """
    chosen = evidence.finding(analysis, "regimes_share", level=level, x=float(number))
    agreement = evidence.finding(analysis, "paper_agreement", level=level, x=float(number))
    return evidence.decide(
        [
            Part(what=f"Resamples in which the gap statistic chooses {number} groups", effect=chosen, chance=True),
            Part(what="Adjusted Rand index with the paper's regimes", effect=agreement, above=margin),
        ]
    )


@claim
def nobody_dominates(evidence: Evidence, *, analysis: str, level: str) -> Verdict:
    """In no resample, but for a share of 1 - level, does one editor dominate in every task that it ran in."""
    share = evidence.finding(analysis, "dominates_everywhere", variant="", level=level)
    effect = Estimate(1 - share.value, n=share.n)
    return evidence.decide([Part(what="Resamples in which no editor dominates everywhere", effect=effect, chance=True)])
