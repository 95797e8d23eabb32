"""A hyperparameter over its range: where each metric is best, whether it is U-shaped, where its slope changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics import bootstrap, curves
from editfrontier.statistics.curves import LEAST_FOR_BREAK, percentile_estimate
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.sweeps import (
    chosen_metrics,
    curve_findings,
    holm_of,
    read_curves,
    short_interval,
    short_p,
    swept_rows,
)
from editfrontier.study.drawing.sweeps import draw_sweep
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.statistics.bootstrap import Array
    from editfrontier.statistics.estimate import Estimate
    from editfrontier.study.designs.sweeps import Curve
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs


@dataclass(frozen=True)
class SweepParams:
    """Parameters of a sweep.

    Attributes:
        param: the hyperparameter that the rows of the experiment differ in.
        metrics: to look at; empty = all of the experiment.
        symbol: name of the hyperparameter on axes and in sentences; empty = its own.
        threshold: value below and past which the slope is measured too, for example 9 for the guidance scale (C21).
        reported: lowest and highest value that the paper calls best, shown in the figure.
    """

    param: str = "guidance_scale"
    metrics: tuple[str, ...] = ()
    symbol: str = ""
    threshold: float | None = None
    reported: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.reported) not in (0, 2):
            raise UserError(f"parameter 'reported': {list(self.reported)}, expected the two ends of a range.")


QUANTITIES = {
    "mean": "mean of the metric at a value x of the hyperparameter",
    "optimum": "value of the hyperparameter at which the mean is best; interval of the bootstrap",
    "p_u": "p value of a U shape (a peak or a valley within the range), adjusted over the metrics",
    "turn": "value x between the two lines of the test for a U shape",
    "slope_left": "slope of the line left of the turn",
    "slope_right": "slope of the line right of the turn",
    "break": "value x at which the slope changes, of two lines that meet",
    "p_break": "p value of a change of slope against one straight line, adjusted over the metrics",
    "slope_before": "slope before the break",
    "slope_after": "slope after the break",
    "slope_below": "slope over the values up to the threshold x",
    "slope_past": "slope over the values from the threshold x on",
}
_SHAPE = ("turn", "slope_left", "slope_right", "p_u")
_BREAK = ("break", "slope_before", "slope_after", "p_break")


def run(inputs: Inputs, params: SweepParams) -> Sequence[Finding]:
    """Measure every metric's curve; a quantity that needs more values is NaN, and its note says so."""
    experiment, _ = inputs.only_experiment(f"whose rows differ in {params.param}")
    rows, x = swept_rows(inputs, experiment, params.param)
    place = {row.variant: value for row, value in zip(rows, x, strict=True)}
    findings: list[Finding] = []
    p_u: dict[str, float] = {}
    p_break: dict[str, float] = {}
    curves = read_curves(inputs, experiment, rows, chosen_metrics(inputs, params.metrics))
    shapes = {}
    for curve in curves:
        places = np.array([place[row.variant] for row in curve.rows])
        findings += curve_findings(curve, "mean", dict(enumerate(places)))
        shapes[curve.metric] = _shape(inputs, params, curve, places)
        p_u[curve.metric] = shapes[curve.metric]["p_u"].value
        p_break[curve.metric] = shapes[curve.metric]["p_break"].value
    for family, name in ((holm_of(p_u), "p_u"), (holm_of(p_break), "p_break")):
        for metric, p in family.items():
            shapes[metric][name] = replace(shapes[metric][name], value=p)
    return [*findings, *(row for shape in shapes.values() for row in shape.values())]


def _shape(inputs: Inputs, params: SweepParams, curve: Curve, x: Array) -> dict[str, Finding]:
    """Return the findings about one curve's shape, by quantity."""
    direction = METRICS[curve.metric].direction
    names = [*(["optimum"] if direction != "none" else []), *_SHAPE, *_BREAK]
    names += ["slope_below", "slope_past"] if params.threshold is not None else []
    missing = _too_few(len(x), curve.n, params)
    findings = {
        name: Finding(quantity=name, metric=curve.metric, value=math.nan, n=curve.n, note=missing[name])
        for name in names
    }
    for quantity, measured in (
        ("optimum", lambda: _optimum(inputs, curve, x, direction)),
        ("p_u", lambda: _u(inputs, curve, x)),
        ("break", lambda: _break(inputs, curve, x)),
        ("slope_past", lambda: _past(inputs, curve, x, params.threshold)),
    ):
        if quantity in findings and not missing[quantity]:
            findings |= {row.quantity: row for row in measured()}
    return findings


def _too_few(values: int, cases: int, params: SweepParams) -> dict[str, str]:
    """Return quantity -> why it cannot be computed, "" where it can."""

    def need(least: int) -> str:
        if not cases:
            return "no case has the metric at all values"
        return "" if values >= least else f"values of {params.param}: {values}, expected at least {least}"

    wanted = {"optimum": 2, **dict.fromkeys(_SHAPE, 3), **dict.fromkeys(_BREAK, LEAST_FOR_BREAK)}
    return {name: need(least) for name, least in (wanted | {"slope_below": 2, "slope_past": 2}).items()}


def _optimum(inputs: Inputs, curve: Curve, x: Array, direction: str) -> list[Finding]:
    if curve.estimates.point.max() == curve.estimates.point.min():
        note = "all means are equal"
        return [Finding(quantity="optimum", metric=curve.metric, value=math.nan, n=curve.n, note=note)]
    best = float(curves.optimum(x, curve.estimates.point, direction))
    resampled = curves.optimum(x, curve.estimates.resampled, direction)
    optimum = percentile_estimate(best, resampled, inputs.settings.level, curve.n)
    ends = float(((resampled == x[0]) | (resampled == x[-1])).mean())
    note = f"an end of the range in {100 * ends:.0f}% of the resamples"
    if best in (x[0], x[-1]):
        note = f"at an end of the range, beyond which it may be better still; {note}"
    return [Finding(quantity="optimum", metric=curve.metric, **optimum.fields(), note=note)]


def _slope(inputs: Inputs, curve: Curve, x: Array, kept: npt.NDArray[np.bool_]) -> Estimate:
    """Return the slope of the means over the places that are kept."""
    contrast, means = curves.slope_contrast(x, kept), curve.estimates
    return percentile_estimate(
        float(contrast @ means.point), means.resampled @ contrast, inputs.settings.level, curve.n
    )


def _u(inputs: Inputs, curve: Curve, x: Array) -> list[Finding]:
    test = curves.two_lines(x, curve.estimates.point, curve.covariance)
    findings = [
        Finding(quantity="turn", metric=curve.metric, value=test.turn, n=curve.n, note=f"of a {test.shape}"),
        Finding(quantity="p_u", metric=curve.metric, x=test.turn, value=test.p, n=curve.n, note=f"of a {test.shape}"),
    ]
    for name, kept in (("slope_left", x <= test.turn), ("slope_right", x >= test.turn)):
        slope = _slope(inputs, curve, x, kept)
        findings.append(Finding(quantity=name, metric=curve.metric, x=test.turn, **slope.fields()))
    return findings


def _break(inputs: Inputs, curve: Curve, x: Array) -> list[Finding]:
    point = curves.two_segments(x, curve.estimates.point)
    resampled = curves.two_segments(x, curve.estimates.resampled)
    p, note = math.nan, "no test for a metric of a set of images"
    if curve.values is not None:
        seed = stable_seed("sign-flips", "break", curve.metric, inputs.settings.seed)
        signs = bootstrap.random_signs(inputs.settings.permutations, curve.clusters, seed)
        p, note = curves.break_test(x, curve.values, curve.cluster, signs), ""
    findings = [Finding(quantity="p_break", metric=curve.metric, x=float(point.at), value=p, n=curve.n, note=note)]
    for name, value, spread in (
        ("break", point.at, resampled.at),
        ("slope_before", point.before, resampled.before),
        ("slope_after", point.after, resampled.after),
    ):
        estimate = percentile_estimate(float(value), spread, inputs.settings.level, curve.n)
        findings.append(Finding(quantity=name, metric=curve.metric, x=float(point.at), **estimate.fields()))
    return findings


def _past(inputs: Inputs, curve: Curve, x: Array, threshold: float | None) -> list[Finding]:
    assert threshold is not None
    findings = []
    for name, kept in (("slope_below", x <= threshold), ("slope_past", x >= threshold)):
        if kept.sum() < 2:
            note = f"values on this side of {threshold:g}: {kept.sum()}, expected at least 2"
            findings.append(Finding(quantity=name, metric=curve.metric, x=threshold, value=math.nan, note=note))
            continue
        slope = _slope(inputs, curve, x, kept)
        findings.append(Finding(quantity=name, metric=curve.metric, x=threshold, **slope.fields()))
    return findings


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say of each metric where it is best, whether it is U-shaped, and what happens past the threshold."""
    alpha = 1 - inputs.settings.level
    sentences = []
    for metric in dict.fromkeys(row.metric for row in findings.rows):
        label = metric_display(metric).label
        best = findings.one("optimum", metric=metric)
        if best is None:
            note = next((row.note for row in findings.select("optimum", metric=metric)), "no case has it")
            sentences.append(f"{label}: no optimum ({note}).")
            continue
        edge = ", an end of the range" if best.note.startswith("at an end") else ""
        parts = [f"{label} is best at {best.value:g} ({best.low:g} to {best.high:g}){edge}"]
        shape = findings.one("p_u", metric=metric)
        if shape is not None:
            is_u = shape.value <= alpha
            parts.append(
                f"{'it has' if is_u else 'no sign of'} {shape.note.removeprefix('of ')} ({short_p(shape.value)})"
            )
        bend, p = (findings.one(name, metric=metric) for name in ("break", "p_break"))
        if bend is not None and p is not None and p.value <= alpha:
            parts.append(f"its slope changes at {short_interval(bend, f'; {short_p(p.value)}')}")
        past = findings.one("slope_past", metric=metric)
        if past is not None:
            parts.append(f"from {past.x:g} on it changes by {short_interval(past)} a unit")
        sentences.append("; ".join(parts) + ".")
    return sentences


ANALYSIS = Analysis(name="sweep", run=run, draw=draw_sweep, say=say, quantities=QUANTITIES, params=SweepParams)
