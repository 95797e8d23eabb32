"""Claims on guidance, strength and feature layers (sections 3, 5.5, 5.6 and 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Verdict
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.study.judging.evidence import Evidence


@claim
def u_shaped(
    evidence: Evidence,
    *,
    analysis: str,
    metrics: Sequence[str],
    low: float,
    high: float,
    table: str,
    moderate: str,
    extreme: str,
    breaks: Sequence[str],
) -> Verdict:
    """Metrics first get better and then worse, best between two values; a very high value breaks others.

    moderate, extreme: rows of the table, of which the first is better in the metrics that break.
    """
    parts = []
    for metric in metrics:
        display = metric_display(metric)
        rises, falls = (0.0, math.inf), (-math.inf, 0.0)
        better, worse = (rises, falls) if display.direction == "higher" else (falls, rises)
        optimum = evidence.finding(analysis, "optimum", metric=metric)
        parts.append(Part(what=f"Best value for {display.label}", effect=optimum, above=low, below=high))
        for quantity, (above, below), where in (("slope_left", better, "before"), ("slope_right", worse, "past")):
            effect = evidence.finding(analysis, quantity, metric=metric)
            what = f"Slope of {display.label} {where} the turn"
            parts.append(Part(what=what, effect=effect, above=above, below=below))
    first, second = (evidence.row(table, name) for name in (moderate, extreme))
    parts += [evidence.better(table, first, second, metric) for metric in breaks]
    return evidence.decide(parts)


@claim
def tipping_point(
    evidence: Evidence, *, analysis: str, degrade: Sequence[str], level_off: Mapping[str, float], tipping: str
) -> Verdict:
    """Past a value some metrics get worse, and others do not get better by more than a margin per unit.

    tipping: reference to the reported value, the one at which the analysis splits its slopes.
    """
    at = evidence.stated(tipping)
    parts = []
    for metric in (*degrade, *level_off):
        display = metric_display(metric)
        effect = evidence.finding(analysis, "slope_past", metric=metric, x=at)
        most = level_off.get(metric, 0.0)
        above, below = (-math.inf, most) if display.direction == "higher" else (-most, math.inf)
        what = f"Change of {display.label} per unit past {at:g}"
        parts.append(Part(what=what, effect=effect, above=above, below=below))
    return evidence.decide(parts)


@claim
def decouples(
    evidence: Evidence, *, table: str, regional: str, same: str, better: Sequence[str], kept: Mapping[str, float]
) -> Verdict:
    """Less guidance outside the mask improves some metrics and costs no more than a margin of others."""
    row, other = (evidence.row(table, name) for name in (regional, same))
    parts = [evidence.better(table, row, other, metric) for metric in better]
    parts += [evidence.better(table, row, other, metric, -margin) for metric, margin in kept.items()]
    return evidence.decide(parts)


@claim
def proportional(
    evidence: Evidence, *, analysis: str, level: str, low: float, high: float, explained: float
) -> Verdict:
    """A deviation is proportional: its exponent lies near 1, and a line through zero explains most of the variance."""
    exponent, share = (evidence.finding(analysis, name, level=level) for name in ("exponent", "r2_ratio"))
    parts = [Part(what=f"Exponent, {level}", effect=exponent, above=low, below=high)]
    what = f"Share of the variance that a proportionality explains, {level}"
    return evidence.decide([*parts, Part(what=what, effect=share, above=explained)])


@claim
def some_schedule_beats_constant(
    evidence: Evidence, *, table: str, constant: str, schedules: Sequence[str], kept: Mapping[str, float]
) -> Verdict:
    """Some schedule improves one of two metrics and costs no more than a margin of the other.

    kept: metric -> margin of what counts as kept.
    """
    baseline = evidence.row(table, constant)
    options = []
    for name in schedules:
        row = evidence.row(table, name)
        for gained in kept:
            parts = [evidence.better(table, row, baseline, gained)]
            parts += [evidence.better(table, row, baseline, m, -margin) for m, margin in kept.items() if m != gained]
            options.append(parts)
    return evidence.decide_any(options)
