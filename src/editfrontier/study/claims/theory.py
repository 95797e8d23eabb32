"""Claims on bounds and guarantees (sections 3.1 and 6).

A theorem speaks of all cases, so one case against it contradicts it, whatever the interval of the share: such parts are
counted, not estimated. Further parts say how much of the bound is used, as a mean with its interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from editfrontier.statistics.estimate import Estimate
from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Absent, Verdict

if TYPE_CHECKING:
    from editfrontier.study.findings import Finding
    from editfrontier.study.judging.evidence import Evidence


def counted(what: str, row: Finding, always: bool) -> Part:
    """Return the part that something is so in all the cases of a share, or in none."""
    slack = 0.5 / max(row.n, 1)
    above, below = (1 - slack, math.inf) if always else (-math.inf, slack)
    effect = Estimate(row.value, row.value, row.value, row.n)
    return Part(what=what, effect=effect, above=above, below=below, unit="share of cases")


@claim
def reconstruction_bound(evidence: Evidence, *, analysis: str) -> Verdict:
    """The image error is at most the largest local Lipschitz constant times the error of the latents, in every case."""
    findings = evidence.findings(analysis)
    parts = []
    for row in findings.select("holds_largest"):
        parts.append(counted(f"{row.level}, {row.x:g} steps: cases within the bound", row, always=True))
    for row in findings.select("tightness"):
        what = f"{row.level}, {row.x:g} steps: image error over its bound"
        parts.append(Part(what=what, effect=row, below=1.0))
    return evidence.decide(parts)


@claim
def guidance_bound(evidence: Evidence, *, analysis: str, reading: str) -> Verdict:
    """What guidance changes stays within the bound of Theorem 3 as printed, in every case and at every scale.

    reading: "<what alpha_t is>/averaged" with the factor 1 / sqrt(T), ".../plain" without it.
    """
    findings = evidence.findings(analysis)
    parts = []
    for row in findings.select("violated", level=reading):
        parts.append(counted(f"w = {row.x:g}: cases beyond the bound", row, always=False))
    for row in findings.select("tightness", level=reading):
        parts.append(Part(what=f"w = {row.x:g}: deviation over its bound", effect=row, below=1.0))
    other = reading.replace("averaged", "plain")
    beyond = [row.value for row in findings.select("violated", level=other)]
    note = f"Without the factor 1/sqrt(T), up to {max(beyond):.0%} of the cases exceed it." if beyond else ""
    return evidence.decide(parts, note if other != reading else "")


@claim
def clean_steps_contribute(evidence: Evidence, *, analysis: str, reading: str, margin: float) -> Verdict:
    """Steps of little noise make more than the share `margin` of the sum of Theorem 3, as terms and as measured."""
    findings = evidence.findings(analysis)
    parts = []
    for row in findings.select("clean_half_share", level=f"{reading}/terms"):
        what = "Share of the terms that the half of the steps nearer to the image makes"
        parts.append(Part(what=what, effect=Estimate(row.value, row.value, row.value, row.n), above=margin))
    for row in findings.select("clean_half_share", level=f"{reading}/measured"):
        what = f"w = {row.x:g}: their share of the terms times the measured norms"
        parts.append(Part(what=what, effect=row, above=margin))
    return evidence.decide(parts)


@claim
def local_by_masks(evidence: Evidence, *, analysis: str, hard: str, soft: str, field: str) -> Verdict:
    """Edits of images that agree outside the mask agree there, and what leaks stays within the receptive field.

    hard: the editor that carries the guarantee, judged beyond its feather. soft: the editor that leaks. field: the
    network whose effective receptive field, as measured by amplitude like the leakage, is to bound it; the reach of its
    kernels is wider than a small image and bounds nothing there.
    """
    findings = evidence.findings(analysis)
    agrees = findings.one("agrees_beyond_feather", level=hard)
    leaks = findings.one("leakage_radius", level=soft)
    reach = findings.one("effective_radius", level=field, metric="amplitude")
    for name, row in ((hard, agrees), (soft, leaks), (field, reach)):
        if row is None:
            raise Absent(f"The analysis '{analysis}' did not measure '{name}'.")
    assert agrees is not None
    assert leaks is not None
    assert reach is not None
    what = f"{soft}: distance within which most of the leakage lies, against the {field}'s effective receptive field"
    return evidence.decide(
        [
            counted(f"{hard}: pairs that agree beyond the feather", agrees, always=True),
            Part(what=what, effect=leaks, below=reach.value, unit="px"),
        ]
    )
