"""Strength of an edit (C25): is the deviation from the source proportional to sqrt(1 - alpha_bar) at the start?"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.statistics import curves
from editfrontier.statistics.estimate import Estimate
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.sweeps import curve_findings, hyperparameters, read_curves, short_interval, swept_rows
from editfrontier.study.drawing.sweeps import STRENGTHS, draw_strength
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    from editfrontier.statistics.bootstrap import Array
    from editfrontier.study.designs.sweeps import Curve
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row


@dataclass(frozen=True)
class StrengthParams:
    """Parameters.

    Attributes:
        metric: the deviation from the source; the root mean squared difference by default.
        floor: editor among the controls whose deviation no edit can be below, the autoencoder alone.
    """

    metric: str = "l2_source"
    floor: str = "autoencoder_round_trip"


QUANTITIES = {
    "noise": "sqrt(1 - alpha_bar) at the timestep where an edit of strength x starts",
    "deviation": "mean deviation from the source at the noise x",
    "excess": "the same beyond the autoencoder's own: sqrt(deviation^2 - floor^2)",
    "floor": "mean deviation of the autoencoder alone",
    "exponent": "p of deviation = c noise^p; 1 = proportional",
    "intercept": "deviation of the fitted line at no noise; 0 = proportional",
    "slope": "slope of the fitted line",
    "r2": "share of the variance between strengths that the line explains",
    "ratio": "c of deviation = c noise",
    "r2_ratio": "share of that variance that proportionality explains; below 0 = worse than the mean",
}
_LAWS = ("exponent", "intercept", "slope", "r2", "ratio", "r2_ratio")


def run(inputs: Inputs, params: StrengthParams) -> Sequence[Finding]:
    """Fit the deviation over the noise at the start, with and without the autoencoder's own, and over the strength."""
    if len(inputs.experiments) != 1 or len(inputs.models) != 1:
        raise UserError(
            f"analysis '{inputs.name}': names {len(inputs.experiments)} experiments and {len(inputs.models)} models, "
            "expected one of each: the sweep, and the model whose schedule says how much noise a strength is."
        )
    ((experiment, table),), (folder,) = inputs.experiments.items(), inputs.models.values()
    rows, strengths = swept_rows(inputs, experiment, "strength")
    noise = np.array([start_noise(folder, row) for row in rows])
    findings = [
        Finding(quantity="noise", variant=row.variant, x=float(s), value=float(u))
        for row, s, u in zip(rows, strengths, noise, strict=True)
    ]
    floors = [row for row in table.rows if row.control and row.editor == params.floor]
    # Together, so that the floor is of the same cases and under the same resamples.
    (curve,) = read_curves(inputs, experiment, [*rows, *floors], [params.metric])
    kept = [i for i, row in enumerate(curve.rows) if row in rows]
    places = np.array([noise[rows.index(curve.rows[i])] for i in kept])
    findings += curve_findings(curve, "deviation", dict(zip(kept, places, strict=True)))
    point, resampled = curve.estimates.point[kept], curve.estimates.resampled[:, kept]
    measures: dict[str, tuple[Array, Array, Array]] = {"noise": (places, point, resampled)}
    ground = [i for i, row in enumerate(curve.rows) if row in floors]
    if ground and curve.n:
        findings += curve_findings(curve, "floor", {ground[0]: math.nan})
        beyond, beyond_resampled = (
            np.sqrt(np.maximum(means[..., kept] ** 2 - means[..., ground[:1]] ** 2, 0.0))
            for means in (curve.estimates.point, curve.estimates.resampled)
        )
        measures["excess"] = (places, beyond, beyond_resampled)
        low, high = np.quantile(beyond_resampled, inputs.settings.tails, axis=0)
        findings += [
            Finding(
                quantity="excess",
                variant=curve.rows[i].variant,
                metric=curve.metric,
                x=float(places[j]),
                **Estimate(float(beyond[j]), float(low[j]), float(high[j]), curve.n).fields(),
            )
            for j, i in enumerate(kept)
        ]
    measures["strength"] = (np.array([strengths[rows.index(curve.rows[i])] for i in kept]), point, resampled)
    for name, (x, values, spread) in measures.items():
        findings += _laws(inputs, curve, STRENGTHS[name], x, values, spread)
    return findings


def start_noise(folder: Path, row: Row) -> float:
    """Return sqrt(1 - alpha_bar) at the timestep T_s where a row's edits start.

    Args:
        folder: of the pipeline whose schedule it is; no weights are read.
        row: of an editor with the hyperparameters strength and num_inference_steps.

    Raises:
        UserError: the scheduler's config is missing or unreadable.
    """
    from editfrontier.diffusion import sampling

    file = folder / "scheduler" / "scheduler_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a readable scheduler config ({error}). Restore the model.") from None
    values = hyperparameters(row)
    scheduler = sampling.make_scheduler(config)
    start = sampling.image_to_image_timesteps(scheduler, values["num_inference_steps"], values["strength"])[0]
    return math.sqrt(1.0 - sampling.alpha_bar(scheduler, start))


def _laws(inputs: Inputs, curve: Curve, level: str, x: Array, point: Array, resampled: Array) -> list[Finding]:
    if len(x) < 3 or not curve.n:
        note = curve.note or f"strengths: {len(x)}, expected at least 3"
        return [
            Finding(quantity=name, metric=curve.metric, level=level, value=math.nan, n=curve.n, note=note)
            for name in _LAWS
        ]
    fitted, spread = curves.law(x, point), curves.law(x, resampled)
    findings = []
    for name in _LAWS:
        fit = curves.percentile_estimate(getattr(fitted, name), getattr(spread, name), inputs.settings.level, curve.n)
        note = "" if math.isfinite(fit.value) else "a deviation of 0 has no logarithm"
        findings.append(Finding(quantity=name, metric=curve.metric, level=level, note=note, **fit.fields()))
    return findings


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how near the exponent and the intercept are to a proportionality, and how much each law explains."""
    sentences = []
    for level in STRENGTHS.values():
        exponent, intercept = (findings.one(name, level=level) for name in ("exponent", "intercept"))
        line, through = (findings.one(name, level=level) for name in ("r2", "r2_ratio"))
        if exponent is None or intercept is None or line is None or through is None:
            notes = [row.note for row in findings.select("exponent", level=level)]
            sentences += [f"Deviation {level}: no law can be fitted ({note})." for note in notes[:1]]
            continue
        sentences.append(
            f"Deviation {level}: exponent {short_interval(exponent, '; proportional = 1')}, intercept "
            f"{short_interval(intercept)}; a line explains {100 * line.value:.0f}% of "
            f"the variance between strengths, a proportionality {100 * through.value:.0f}%."
        )
    return sentences


ANALYSIS = Analysis(name="strength", run=run, draw=draw_strength, say=say, quantities=QUANTITIES, params=StrengthParams)
