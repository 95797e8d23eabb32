"""Claims on wordings, repeated edits and sequences of edits (sections 5.2, 5.6 and Theorem 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from editfrontier.study.claim import claim
from editfrontier.study.claims.theory import counted
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Absent, Verdict
from editfrontier.study.results.naming import editor_label, metric_display

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


@claim
def sensitive_to_wording(evidence: Evidence, *, analysis: str, editors: Sequence[str], ratio: float) -> Verdict:
    """For every editor, outputs of two wordings differ more than `ratio` times as much as outputs of two seeds."""
    parts = []
    for editor in editors:
        effect = evidence.finding(analysis, "distance_ratio", editor)
        what = f"{editor_label(editor)}, difference between wordings over that between seeds"
        parts.append(Part(what=what, effect=effect, above=ratio))
    return evidence.decide(parts)


@claim
def falls_after_second_edit(
    evidence: Evidence, *, analysis: str, editor: str, metric: str, once: str, twice: str, margin: float
) -> Verdict:
    """The same edit applied twice lowers a metric by more than the margin, against the edit applied once.

    once, twice: references to the reported values.
    """
    effect = evidence.finding(analysis, "change", editor, metric=metric, x=2.0)
    label = metric_display(metric).label
    part = Part(
        what=f"{editor_label(editor)}, {label} after two edits less after one",
        effect=effect,
        below=-margin,
        unit=metric_display(metric).unit,
        paper=evidence.stated(twice) - evidence.stated(once),
    )
    return evidence.decide([part])


@claim
def grows_linearly(evidence: Evidence, *, analysis: str, metrics: Sequence[str], low: float, high: float) -> Verdict:
    """Over all editors the deviation grows like k^p with p between two bounds around 1."""
    parts = []
    for metric in metrics:
        effect = evidence.finding(analysis, "exponent", variant="", metric=metric)
        what = f"Exponent of the growth over k, {metric_display(metric).label}"
        parts.append(Part(what=what, effect=effect, above=low, below=high))
    return evidence.decide(parts)


@claim
def repeated_edit_bound(evidence: Evidence, *, analysis: str, metric: str, epsilon: str) -> Verdict:
    """k edits deviate by at most k times an editor's largest single edit, in every chain and at every k.

    epsilon: level of the findings that names the single edit.
    """
    findings = evidence.findings(analysis)
    held = findings.one("chains_hold", variant="", metric=metric, level=epsilon)
    used = findings.one("tightness", variant="", metric=metric, level=epsilon)
    if held is None or used is None:
        raise Absent(f"The analysis '{analysis}' has no chains with '{epsilon}'.")
    what = f"Deviation after {used.x:g} edits over its bound"
    parts = [counted("Chains within k epsilon at every k", held, always=True)]
    return evidence.decide([*parts, Part(what=what, effect=used, below=1.0)])


@claim
def both_kept(evidence: Evidence, *, analysis: str, quantity: str, stated: str, margin: float) -> Verdict:
    """A rate over all editors lies within the margin of the paper's (`stated`, a reference to the reported values)."""
    rate = evidence.stated(stated)
    effect = evidence.finding(analysis, quantity, variant="", level="")
    what = "Sequences that keep both attributes, over all editors"
    part = Part(what=what, effect=effect, above=rate - margin, below=rate + margin, unit="share of cases", paper=rate)
    return evidence.decide([part])


@claim
def washes_out(evidence: Evidence, *, analysis: str, margin: float) -> Verdict:
    """A second edit washes the first one out more often than it fails itself, by more than the margin."""
    effect = evidence.finding(analysis, "washed_out_minus_failed", variant="", level="")
    what = "First edits washed out less second edits failed, over all editors"
    return evidence.decide([Part(what=what, effect=effect, above=margin, unit="share of cases")])
