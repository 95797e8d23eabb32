"""Repeated edits: how far k edits take an image from the original, and whether that is k times what one does.

Theorem 2 of the paper: if no edit moves an image by more than epsilon, k edits move it by at most k epsilon. The
theorem asks for a norm, which the root mean square of pixels and of latents is (over a constant); for the other
deviations the same line is drawn as a yardstick. Its epsilon bounds every edit, also edits of images that were edited
before, which only pixels let us measure here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.data.cases import read_image
from editfrontier.scoring.metrics import METRICS as REGISTRY
from editfrontier.statistics.bootstrap import Estimates
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.chain_retention import retention, retention_by_attribute
from editfrontier.study.designs.chains import (
    DEVIATIONS,
    chain_data,
    deviation,
    growth,
    mean_of,
    only_estimate,
    said_of_counts,
    slopes,
    step_counts,
)
from editfrontier.study.drawing.drift import draw_drift
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    from editfrontier.statistics.bootstrap import Array
    from editfrontier.study.designs.chains import ChainData
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row

METRICS = ("id_sim", "clip_score", "success", "lpips_bg_masked", "quality", "l2_source", "l2_latent")
LEVELS = {
    "largest edit": "the largest change that any edit made to the image it was given",
    "largest first edit": "the largest change that a first edit made",
    "mean first edit": "the mean change that a first edit made",
}


@dataclass(frozen=True)
class DriftParams:
    """What is drawn.

    Attributes:
        panels: metrics of the figure's panels.
        epsilon: level of the line k epsilon, one of `LEVELS`; where a metric does not have it, "largest first edit".
    """

    panels: tuple[str, ...] = ("id_sim", "clip_score", "lpips_bg_masked", "quality", "l2_source", "l2_latent")
    epsilon: str = "mean first edit"

    def __post_init__(self) -> None:
        if self.epsilon not in LEVELS:
            near = did_you_mean(self.epsilon, LEVELS)
            raise UserError(f"parameter 'epsilon': '{self.epsilon}', expected one of {', '.join(LEVELS)}.{near}")


def run(inputs: Inputs, params: DriftParams) -> Sequence[Finding]:
    """Return the drift of every variant: slopes, exponents, the bound of theorem 2, and means after k edits."""
    data = chain_data(inputs, inputs.only_experiment("on a task that has chains")[0])
    weights = inputs.weights(data.scores.clusters, "chains", data.scores.task)
    rows = list({row.variant: row for row in inputs.rows}.values())
    findings: list[Finding] = []
    growing: dict[str, list[Array]] = {}
    used: dict[tuple[str, str], list[Array]] = {}
    for row in rows:
        findings += step_counts(inputs, data, row.variant)
        for metric in METRICS:
            findings += _curve(inputs, data, row, metric, weights)
        for metric in DEVIATIONS:
            findings += _deviation(inputs, data, row, metric, weights, growing, used)
        findings += retention(inputs, data, row, weights)
    for metric, parts in growing.items():
        findings.append(_exponent(inputs, data, parts, {"metric": metric}, weights))
    for (metric, level), parts in used.items():
        findings += _bound(inputs, data, parts, {"metric": metric, "level": level}, weights)
    findings += retention_by_attribute(inputs, data, rows, weights)
    # What answers the question first, and of that what speaks of all editors; the curves behind it.
    order = list(ANALYSIS.quantities)
    return sorted(findings, key=lambda finding: (order.index(finding.quantity), finding.variant != ""))


# Parts of the findings ------------------------------------------------------------------------------------------------


def _curve(inputs: Inputs, data: ChainData, row: Row, metric: str, weights: Array) -> list[Finding]:
    """The metric itself after k edits, its change since the first one, and its slope."""
    values = data.values(row.variant, metric)
    rate = REGISTRY[metric].binary
    about: dict[str, Any] = {"variant": row.variant, "metric": metric}
    if not np.isfinite(values).any():
        note = "no case has a value" if metric in data.scores.metrics else "no case of any editor has a value"
        return [Finding(quantity="mean", **about, x=1, value=math.nan, note=note)]
    findings = []
    for k in range(1, data.steps + 1):
        mean = mean_of(values[:, k - 1], data.cluster, weights, inputs.settings, rate)
        findings.append(Finding(quantity="mean", **about, x=k, **mean.fields()))
    for k in sorted({2, data.steps}) if data.steps > 1 else ():
        change = mean_of(values[:, k - 1] - values[:, 0], data.cluster, weights, inputs.settings)
        findings.append(Finding(quantity="change", **about, x=k, **change.fields()))
    slope = mean_of(slopes(values), data.cluster, weights, inputs.settings)
    note = "" if data.steps > 1 else "a chain of one step has no slope"
    return [*findings, Finding(quantity="slope", **about, **slope.fields(), note=note)]


def _deviation(
    inputs: Inputs,
    data: ChainData,
    row: Row,
    metric: str,
    weights: Array,
    growing: dict[str, list[Array]],
    used: dict[tuple[str, str], list[Array]],
) -> list[Finding]:
    """The exponent of the growth, and for each epsilon how the deviation compares with k epsilon.

    What all editors together are made of is added to `growing` (metric -> deviations) and `used` (metric, level ->
    shares of k epsilon).
    """
    values = deviation(data, row.variant, metric)
    if not np.isfinite(values).any():
        return []
    about: dict[str, Any] = {"variant": row.variant, "metric": metric}
    findings = [_exponent(inputs, data, [values], about, weights)]
    if not row.control:
        growing.setdefault(metric, []).append(values)
    count = int(np.isfinite(values[:, 0]).sum())
    for level, epsilon in _epsilons(inputs, data, row.variant, metric, values).items():
        note = "" if epsilon > 0 else "no edit changed anything, so that nothing can be compared with it"
        findings.append(Finding(quantity="epsilon", **about, level=level, value=epsilon, n=count, note=note))
        if epsilon > 0:
            share = values / (np.arange(1.0, data.steps + 1) * epsilon)
            findings += _bound(inputs, data, [share], {**about, "level": level}, weights)
            if not row.control:
                used.setdefault((metric, level), []).append(share)
    return findings


def _epsilons(inputs: Inputs, data: ChainData, variant: str, metric: str, values: Array) -> dict[str, float]:
    """The deviation of a single edit, by the levels that the metric has."""
    first = values[:, 0][np.isfinite(values[:, 0])]
    epsilons = {"largest edit": _largest_edit(inputs, data, variant)} if metric == "l2_source" else {}
    return epsilons | (
        {"largest first edit": float(first.max()), "mean first edit": float(first.mean())} if len(first) else {}
    )


def _exponent(
    inputs: Inputs, data: ChainData, parts: Sequence[Array], about: Mapping[str, Any], weights: Array
) -> Finding:
    """The exponent p of k^p; of several editors the mean of theirs, those without one left out."""
    if data.steps < 2:
        return Finding(quantity="exponent", **about, value=math.nan, note="a chain of one step has no growth")
    complete = [np.where(np.isfinite(part).all(1, keepdims=True), part, np.nan) for part in parts]
    each = [(part, growth(part, data.cluster, weights)) for part in complete]
    each = [(part, estimates) for part, estimates in each if np.isfinite(estimates.point).all()]
    if not each:
        note = "the mean deviation is not positive after every edit, or no chain is complete"
        return Finding(quantity="exponent", **about, value=math.nan, note=note)
    fields = ("point", "resampled", "jackknife")
    mean = Estimates(*(np.mean([getattr(estimates, name) for _, estimates in each], axis=0) for name in fields))
    chains = int(sum(np.isfinite(part).all(1).sum() for part, _ in each))
    exponent = only_estimate(mean, inputs.settings, chains)
    note = growth_word(exponent.low, exponent.high)
    return Finding(quantity="exponent", **about, **exponent.fields(), note=note)


def growth_word(low: float, high: float) -> str:
    """Say how deviation grows, from the interval of the exponent."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    margin = 1e-9  # an interval of no width is not off by rounding
    if high < 1 - margin:
        return "slower than linear"
    return "faster than linear" if low > 1 + margin else "linear within the interval"


def _largest_edit(inputs: Inputs, data: ChainData, variant: str) -> float:
    """The largest root mean squared difference of any edited image and the image that its editor was given."""
    images, folder = inputs.images(data.scores.task, variant), inputs.folder(data.scores.task)
    largest = math.nan
    for chain in data.chains:
        before = folder / chain[0].image
        for case in chain:
            if case.case_id not in images:
                break
            after = images[case.case_id]
            first, second = (read_image(path).astype(np.float64) / 255 for path in (before, after))
            largest = float(np.fmax(largest, np.sqrt(((first - second) ** 2).mean())))
            before = after
    return largest


def _bound(
    inputs: Inputs, data: ChainData, parts: Sequence[Array], about: Mapping[str, Any], weights: Array
) -> list[Finding]:
    """Shares of chains and steps within k epsilon, and how much of it is reached at the end; epsilon counts as known.

    parts: deviation over k epsilon [C, K] of one or several variants, each with its own epsilon.
    """
    used, cluster = np.concatenate(list(parts)), np.tile(data.cluster, len(parts))
    # Where a chain stands exactly on the line, rounding must not decide. The first edit has nothing to prove.
    below = np.where(np.isfinite(used), used <= 1 + 1e-9, np.nan)[:, 1:]
    count = np.isfinite(below).sum(1)
    kept = np.where(count > 0, np.nansum(below, axis=1) / np.maximum(count, 1), np.nan)
    values = {"holds": kept, "chains_hold": np.where(count > 0, kept == 1, np.nan)}
    findings = [
        Finding(quantity=name, **about, **mean_of(column, cluster, weights, inputs.settings, rate=True).fields())
        for name, column in values.items()
    ]
    last = mean_of(used[:, -1], cluster, weights, inputs.settings)
    return [*findings, Finding(quantity="tightness", **about, x=data.steps, **last.fields())]


# Figure and sentences -------------------------------------------------------------------------------------------------


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how identity falls, how deviation grows, how often k epsilon bounds it, and what was not run."""
    sentences = []
    editors = [row.variant for row in inputs.rows if not row.control]
    falls = []
    for variant in dict.fromkeys(editors):
        first, second = (findings.one("mean", variant=variant, metric="id_sim", x=k) for k in (1, 2))
        slope = findings.one("slope", variant=variant, metric="id_sim")
        if first and second and slope:
            text = f"{inputs.labels[variant]}: {first.value:.3f} after one edit, {second.value:.3f} after two, "
            text += f"{slope.value:+.3f} per further edit [{slope.low:+.3f}, {slope.high:+.3f}]"
            falls.append((slope.value, text))
    if falls:
        sentences.append(f"Identity similarity falls fastest with {min(falls)[1]}.")
    last = max((finding.x for finding in findings.select("mean", metric="id_sim")), default=math.nan)
    ends = [
        (finding.value, inputs.labels[variant])
        for variant in dict.fromkeys(editors)
        if (finding := findings.one("mean", variant=variant, metric="id_sim", x=last))
    ]
    if len(ends) > 1:
        (low, worst), (high, best) = min(ends), max(ends)
        sentences.append(
            f"After {last:g} edits it is highest with {best} ({high:.3f}) and lowest with {worst} ({low:.3f})."
        )
    pooled = findings.one("exponent", variant="", metric="l2_source")
    if pooled:
        sentences.append(
            f"Over all editors the deviation in pixels grows as k to the power {pooled.value:.2f} "
            f"[{pooled.low:.2f}, {pooled.high:.2f}]: {pooled.note}."
        )
    for level in ("largest first edit", "mean first edit"):
        held = findings.one("chains_hold", variant="", metric="l2_source", level=level)
        used = findings.one("tightness", variant="", metric="l2_source", level=level)
        if held and used:
            sentences.append(
                f"With epsilon as an editor's {level}, {held.value:.0%} of {held.n} chains stay within k epsilon "
                f"at every k, and reach {used.value:.0%} of it after the last edit."
            )
    return sentences + said_of_counts(findings)


ANALYSIS = Analysis(
    name="drift",
    run=run,
    draw=draw_drift,
    say=say,
    quantities={
        "exponent": "p in deviation ~ k^p, fitted to the mean deviation (1 - ID sim for identity); 1 is linear",
        "chains_hold": "share of chains whose deviation is at most k epsilon after every edit from the second on",
        "holds": "share of all steps from the second on whose deviation is at most k epsilon",
        "tightness": "mean of deviation / (x epsilon) after the last edit, with the epsilon that the level names",
        "slope": "mean change of the metric per further edit, by least squares within each chain from k = 1 on",
        "change": "paired change of the metric from the first to the x-th edit",
        "failed": "steps that failed",
        "not_run": "steps that were not run because an earlier step of their chain failed",
        "epsilon": "deviation of one edit: " + "; ".join(f"{level}: {text}" for level, text in LEVELS.items()),
        "retained": "share of the attributes that are present and not to be changed that the classifier sees after x "
        "edits; the level names a single one, over all editors",
        "invented": "share of the attributes absent and not to be changed that the classifier sees after x edits",
        "mean": "mean of the metric after x edits",
    },
    params=DriftParams,
)
