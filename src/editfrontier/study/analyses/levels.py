"""Choices without an order, such as layers or schedules: means, which is best, and paired differences that were named
before the results were seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.scoring.metrics import METRICS
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.sweeps import chosen_metrics, difference, holm_of, read_curves, short_interval, short_p
from editfrontier.study.drawing.sweeps import draw_levels
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.study.designs.sweeps import Curve
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row


@dataclass(frozen=True)
class LevelsParams:
    """Parameters of a comparison of levels.

    Attributes:
        metrics: to look at; empty = all of the experiments.
        reference: label of a row that every other row of its experiment is compared with; empty = none.
        pairs: further comparisons, "label | label" each, of rows of one experiment. Without a reference, only the rows
            of the pairs are levels.
    """

    metrics: tuple[str, ...] = ()
    reference: str = ""
    pairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.reference and not self.pairs:
            raise UserError("parameters 'reference' and 'pairs': both are empty, so nothing is compared. Set one.")
        for pair in self.pairs:
            if len(pair.split(" | ")) != 2:
                raise UserError(f"parameter 'pairs': '{pair}', expected two labels with ' | ' between them.")


QUANTITIES = {
    "mean": "mean of the metric for a level",
    "best_share": "share of the bootstrap resamples in which the level has the best mean",
    "difference": "paired difference of the first level and the second",
    "p": "p value of that difference (sign flips of clusters), by Holm adjusted over the pairs of the metric",
}


def run(inputs: Inputs, params: LevelsParams) -> Sequence[Finding]:
    """Measure every metric of every experiment; a pair without common cases is NaN and says so."""
    pairs = _pairs(inputs, params)
    metrics = chosen_metrics(inputs, params.metrics)
    curves: dict[tuple[str, str], Curve] = {}
    for experiment in inputs.experiments:
        named = {label for name, *labels in pairs if name == experiment for label in labels}
        rows = [row for row in inputs.editors(experiment) if row.label in named]
        if rows:
            for curve in read_curves(inputs, experiment, rows, metrics):
                curves[experiment, curve.metric] = curve
    findings: list[Finding] = []
    for metric in metrics:
        for experiment in inputs.experiments:
            if (experiment, metric) in curves:
                findings += _means(curves[experiment, metric])
    for metric in metrics:
        findings += _differences(inputs, {name: c for (name, m), c in curves.items() if m == metric}, metric, pairs)
    return findings


def _pairs(inputs: Inputs, params: LevelsParams) -> list[tuple[str, str, str]]:
    """Return (experiment, first label, second label) of every comparison."""
    rows = {name: inputs.editors(name) for name in inputs.experiments}
    wanted = [tuple(pair.split(" | ")) for pair in params.pairs]
    pairs: list[tuple[str, str, str]] = []
    for name, listed in rows.items():
        labels = [row.label for row in listed]
        twins = {label for label in labels if labels.count(label) > 1}
        if twins:
            raise UserError(
                f"experiment '{name}': several rows are called '{min(twins)}', expected different labels. Rename them."
            )
        if params.reference in labels:
            pairs += [(name, label, params.reference) for label in labels if label != params.reference]
    known = [row.label for listed in rows.values() for row in listed]
    for label in [*([params.reference] if params.reference else []), *(label for pair in wanted for label in pair)]:
        if label not in known:
            raise UserError(
                f"analysis '{inputs.name}': no row of its experiments is called '{label}'."
                f"{did_you_mean(label, known)} Correct its `params`, or add the experiment."
            )
    for first, second in wanted:
        home = [name for name, listed in rows.items() if {first, second} <= {row.label for row in listed}]
        if not home:
            raise UserError(
                f"analysis '{inputs.name}': '{first}' and '{second}' are rows of different experiments, expected one, "
                "so that they have common cases. Compare rows of one experiment."
            )
        pairs.append((home[0], first, second))
    return pairs


def _means(curve: Curve) -> list[Finding]:
    if not curve.rows or not curve.n:
        return [Finding(quantity="mean", metric=curve.metric, value=math.nan, note=curve.note or "no case has it")]
    direction = METRICS[curve.metric].direction
    sign = -1.0 if direction == "lower" else 1.0
    signed = sign * curve.estimates.resampled
    best = signed == signed.max(axis=1, keepdims=True)
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)  # levels that tie share a resample
    findings = []
    for i, row in enumerate(curve.rows):
        keys: dict[str, Any] = {"variant": row.variant, "metric": curve.metric, "level": row.label, "note": curve.note}
        about = Finding(quantity="mean", **keys, **curve.estimate(i).fields())
        findings.append(about)
        if direction != "none" and len(curve.rows) > 1:
            share = replace(about, quantity="best_share", value=float(shares[i]), low=math.nan, high=math.nan)
            findings.append(share)
    return findings


def _differences(
    inputs: Inputs, curves: dict[str, Curve], metric: str, pairs: Sequence[tuple[str, str, str]]
) -> list[Finding]:
    findings: dict[str, list[Finding]] = {}
    p: dict[str, float] = {}
    for experiment, first, second in pairs:
        level, curve = f"{first} against {second}", curves[experiment]
        places = [_place(curve.rows, label) for label in (first, second)]
        if min(places) < 0 or not curve.n:
            note = curve.note or "no case has the metric under both"
            findings[level] = [
                Finding(quantity=name, metric=metric, level=level, value=math.nan, note=note)
                for name in ("difference", "p")
            ]
            continue
        gap = difference(curve, places[0], places[1], inputs.settings)
        keys: dict[str, Any] = {"variant": curve.rows[places[0]].variant, "metric": metric, "level": level}
        about = Finding(quantity="difference", **keys, **gap.fields(), note=curve.note)
        findings[level] = [about, replace(about, quantity="p", value=math.nan, low=math.nan, high=math.nan)]
        p[level] = gap.p
    for level, adjusted in holm_of(p).items():
        findings[level][1] = replace(findings[level][1], value=adjusted)
    return [row for rows in findings.values() for row in rows]


def _place(rows: Sequence[Row], label: str) -> int:
    return next((i for i, row in enumerate(rows) if row.label == label), -1)


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say which differences are significant, and which level is best by each metric."""
    alpha = 1 - inputs.settings.level
    sentences = []
    for metric in dict.fromkeys(row.metric for row in findings.rows):
        label = metric_display(metric).label
        tested = [row for row in findings.select("p", metric=metric) if math.isfinite(row.value)]
        if not tested:
            note = next((row.note for row in findings.select("mean", metric=metric)), "")
            sentences.append(f"{label}: nothing to compare ({note or 'no case has it'}).")
            continue
        parts = []
        for row in tested:
            gap = findings.one("difference", metric=metric, level=row.level)
            if gap is not None and row.value <= alpha:
                better, p = _better(metric, gap.value), f"; {short_p(row.value)}"
                parts.append(f"{row.level}: {better}, difference {short_interval(gap, p)}")
        shares = findings.select("best_share", metric=metric)
        if shares:
            top = max(shares, key=lambda row: row.value)
            parts.append(f"{top.level} is best in {100 * top.value:.0f}% of the resamples")
        start = "" if any(" against " in part for part in parts) else "no difference of the pairs is significant; "
        sentences.append(f"{label}: {start}{'; '.join(parts)}.")
    return sentences


def _better(metric: str, gap: float) -> str:
    direction = METRICS[metric].direction
    if direction == "none":
        return "higher" if gap > 0 else "lower"
    return "better" if (gap > 0) == (direction == "higher") else "worse"


ANALYSIS = Analysis(name="levels", run=run, draw=draw_levels, say=say, quantities=QUANTITIES, params=LevelsParams)
