"""Repeated edits: how far k edits take an image from the original, and whether that is k times what one does.

Theorem 2 of the paper: if no edit moves an image by more than epsilon, k edits move it by at most k epsilon. The
theorem asks for a norm, which the root mean square of pixels and of latents is (over a constant); for the other
deviations the same line is drawn as a yardstick. Its epsilon bounds every edit, also those of images that were edited
before, which only pixels let us measure here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.analyses import Analysis, Finding

if TYPE_CHECKING:
    from editfrontier.analyses.findings import Findings
    from editfrontier.analyses.inputs import Inputs
    from editfrontier.bootstrap import Array
    from editfrontier.chain_data import ChainData
    from editfrontier.results import Row

METRICS = ("id_sim", "clip_score", "success", "lpips_bg_masked", "quality", "l2_source", "l2_latent")
DEVIATIONS = {"id_sim": "1 - ID sim", "lpips_bg_masked": "", "l2_source": "", "l2_latent": ""}
"""Metrics that say how far an image is from the original, with what is taken instead of the metric itself."""
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
        from editfrontier.errors import UserError, did_you_mean

        if self.epsilon not in LEVELS:
            near = did_you_mean(self.epsilon, LEVELS)
            raise UserError(f"parameter 'epsilon': '{self.epsilon}', expected one of {', '.join(LEVELS)}.{near}")


def run(inputs: Inputs, params: DriftParams) -> Sequence[Finding]:
    """Return the drift of every variant: means after k edits, slopes, exponents, and the bound of theorem 2."""
    from editfrontier.chain_data import chain_data, only_experiment
    from editfrontier.chain_retention import retention, retention_by_attribute

    data = chain_data(inputs, only_experiment(inputs))
    weights = inputs.weights(data.scores.clusters, "chains", data.scores.task)
    rows = list({row.variant: row for row in inputs.rows}.values())
    found: list[Finding] = []
    pooled: dict[str, list[Array]] = {}
    for row in rows:
        found += _counts(inputs, data, row)
        for metric in METRICS:
            found += _curve(inputs, data, row, metric, weights)
            if metric in DEVIATIONS:
                found += _deviation(inputs, data, row, metric, weights)
                if not row.control:
                    pooled.setdefault(metric, []).append(deviation(data, row.variant, metric))
        found += retention(inputs, data, row, weights)
    for metric, parts in pooled.items():
        found += _pooled(inputs, data, metric, parts, weights)
    return [*found, *retention_by_attribute(inputs, data, rows, weights)]


def deviation(data: ChainData, variant: str, metric: str) -> Array:
    """Return how far each chain is from its original [C, K] in a metric of `DEVIATIONS`, 0 for the original itself."""
    values = data.values(variant, metric)
    return 1.0 - values if metric == "id_sim" else values


# Parts of the findings ------------------------------------------------------------------------------------------------


def _counts(inputs: Inputs, data: ChainData, row: Row) -> list[Finding]:
    from editfrontier.chain_data import statuses

    held = list(statuses(inputs.root, data.scores.task, [row.variant])[row.variant].values())
    return [
        Finding(quantity=name, variant=row.variant, value=held.count(status), n=len(held))
        for name, status in (("failed", "failed"), ("not_run", "not run"))
    ]


def _curve(inputs: Inputs, data: ChainData, row: Row, metric: str, weights: Array) -> list[Finding]:
    """The metric itself after k edits, its change since the first one, and its slope."""
    import numpy as np

    from editfrontier.chain_data import mean_of, slopes
    from editfrontier.metrics.registry import METRICS as REGISTRY

    values = data.values(row.variant, metric)
    rate = REGISTRY[metric].binary
    about: dict[str, Any] = {"variant": row.variant, "metric": metric}
    if not np.isfinite(values).any():
        note = "no case has a value" if metric in data.scores.metrics else "no case of any editor has a value"
        return [Finding(quantity="mean", **about, x=1, value=math.nan, note=note)]
    found = []
    for k in range(1, data.steps + 1):
        mean = mean_of(values[:, k - 1], data.cluster, weights, inputs.settings, rate)
        found.append(Finding(quantity="mean", **about, x=k, **mean.fields()))
    for k in range(2, data.steps + 1):
        change = mean_of(values[:, k - 1] - values[:, 0], data.cluster, weights, inputs.settings)
        found.append(Finding(quantity="change", **about, x=k, **change.fields()))
    slope = mean_of(slopes(values), data.cluster, weights, inputs.settings)
    note = "" if data.steps > 1 else "a chain of one step has no slope"
    return [*found, Finding(quantity="slope", **about, **slope.fields(), note=note)]


def _deviation(inputs: Inputs, data: ChainData, row: Row, metric: str, weights: Array) -> list[Finding]:
    """The exponent of the growth, and for each epsilon how the deviation compares with k epsilon."""
    import numpy as np

    values = deviation(data, row.variant, metric)
    if not np.isfinite(values).any():
        return []
    found = [_exponent(inputs, data, [values], row.variant, metric, weights)]
    first = values[:, 0][np.isfinite(values[:, 0])]
    epsilons = {}
    if metric == "l2_source":
        epsilons["largest edit"] = _largest_edit(inputs, data, row.variant)
    if len(first):
        epsilons |= {"largest first edit": float(first.max()), "mean first edit": float(first.mean())}
    for level, epsilon in epsilons.items():
        found += _bound(
            inputs, data, values, epsilon, {"variant": row.variant, "metric": metric, "level": level}, weights
        )
    return found


def _exponent(
    inputs: Inputs, data: ChainData, parts: Sequence[Array], variant: str, metric: str, weights: Array
) -> Finding:
    """The exponent p of k^p; of several editors the mean of theirs, those without one left out."""
    import numpy as np

    from editfrontier.bootstrap import Estimates
    from editfrontier.chain_data import growth, interval_of

    about: dict[str, Any] = {"quantity": "exponent", "variant": variant, "metric": metric}
    if data.steps < 2:
        return Finding(**about, value=math.nan, note="a chain of one step has no growth")
    each = [one for part in parts if np.isfinite((one := growth(part, data.cluster, weights)).point).all()]
    if not each:
        return Finding(**about, value=math.nan, note="the mean deviation is not positive after every edit")
    fields = ("point", "resampled", "jackknife")
    mean = Estimates(*(np.mean([getattr(one, name) for one in each], axis=0) for name in fields))
    value, low, high = interval_of(mean, inputs.settings)
    chains = int(sum(np.isfinite(part).any(1).sum() for part in parts))
    return Finding(**about, value=value, ci_low=low, ci_high=high, n=chains, note=growth_word(low, high))


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
    import numpy as np

    from editfrontier.cases import read_image

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
    inputs: Inputs, data: ChainData, values: Array, epsilon: float, about: Mapping[str, Any], weights: Array
) -> list[Finding]:
    """Epsilon, the share of chains below k epsilon, and how much of k epsilon is reached; epsilon counts as known."""
    import numpy as np

    from editfrontier.chain_data import mean_of

    steps = np.arange(1.0, data.steps + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        used = np.where(epsilon > 0, values / (steps * epsilon), np.nan)
    note = "" if epsilon > 0 else "no first edit changed anything, so that nothing can be compared with it"
    found = [Finding(quantity="epsilon", **about, value=epsilon, n=int(np.isfinite(values[:, 0]).sum()), note=note)]
    # Where a chain stands exactly on the line, rounding must not decide.
    below = np.where(np.isfinite(used), used <= 1 + 1e-9, np.nan)
    for k in range(1, data.steps + 1):
        share = mean_of(used[:, k - 1], data.cluster, weights, inputs.settings)
        found.append(Finding(quantity="tightness", **about, x=k, **share.fields(), note=note))
    for k in range(2, data.steps + 1):
        held = mean_of(below[:, k - 1], data.cluster, weights, inputs.settings, rate=True)
        found.append(Finding(quantity="holds", **about, x=k, **held.fields(), note=note))
    always = _always(below[:, 1:])
    chains = mean_of(always, data.cluster, weights, inputs.settings, rate=True)
    return [*found, Finding(quantity="chains_hold", **about, **chains.fields(), note=note)]


def _always(below: Array) -> Array:
    """Whether each chain [C] stays below at every step that it has, NaN without any."""
    import numpy as np

    known = np.isfinite(below).any(1)
    return np.where(known, np.where(np.isfinite(below), below, 1.0).min(1, initial=1.0), np.nan)


def _pooled(inputs: Inputs, data: ChainData, metric: str, parts: Sequence[Array], weights: Array) -> list[Finding]:
    """All editors together: the mean exponent, and the share of chains that stay below each editor's own k epsilon."""
    import numpy as np

    from editfrontier.chain_data import mean_of

    present = [part for part in parts if np.isfinite(part).any()]
    if not present:
        return []
    found = [_exponent(inputs, data, present, "", metric, weights)]
    steps = np.arange(1.0, data.steps + 1)
    for level, reduce in (("largest first edit", np.nanmax), ("mean first edit", np.nanmean)):
        scaled = []
        for part in present:
            epsilon = reduce(part[:, 0]) if np.isfinite(part[:, 0]).any() else math.nan
            if epsilon > 0:
                scaled.append(part / (steps * epsilon))
        if not scaled:
            continue
        used = np.concatenate(scaled)
        cluster = np.tile(data.cluster, len(scaled))
        below = np.where(np.isfinite(used), used <= 1 + 1e-9, np.nan)
        about: dict[str, Any] = {"metric": metric, "level": level}
        for k in range(2, data.steps + 1):
            held = mean_of(below[:, k - 1], cluster, weights, inputs.settings, rate=True)
            found.append(Finding(quantity="holds", **about, x=k, **held.fields()))
        chains = mean_of(_always(below[:, 1:]), cluster, weights, inputs.settings, rate=True)
        last = mean_of(used[:, -1], cluster, weights, inputs.settings)
        found.append(Finding(quantity="chains_hold", **about, **chains.fields()))
        found.append(Finding(quantity="tightness", **about, x=data.steps, **last.fields()))
    return found


# Figure and sentences -------------------------------------------------------------------------------------------------


def draw(findings: Findings, inputs: Inputs, params: DriftParams, stem: Path) -> None:
    """Draw a panel for each metric: a line an editor with its interval, and for deviations the line k epsilon."""
    from editfrontier.drift_figure import draw_drift

    draw_drift(findings, inputs, params.panels, params.epsilon, stem)


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how identity falls, how deviation grows, how often k epsilon bounds it, and what was not run."""
    sentences = []
    editors = [row.variant for row in inputs.rows if not row.control]
    falls = []
    for variant in dict.fromkeys(editors):
        one, two = (findings.one("mean", variant=variant, metric="id_sim", x=k) for k in (1, 2))
        slope = findings.one("slope", variant=variant, metric="id_sim")
        if one and two and slope:
            text = f"{inputs.labels[variant]}: {one.value:.3f} after one edit, {two.value:.3f} after two, "
            text += f"{slope.value:+.3f} per further edit [{slope.ci_low:+.3f}, {slope.ci_high:+.3f}]"
            falls.append((slope.value, text))
    if falls:
        sentences.append(
            "Identity similarity, the steepest fall first. " + "; ".join(t for _, t in sorted(falls)) + "."
        )
    pooled = findings.one("exponent", variant="", metric="l2_source")
    if pooled:
        sentences.append(
            f"Over all editors the deviation in pixels grows as k to the power {pooled.value:.2f} "
            f"[{pooled.ci_low:.2f}, {pooled.ci_high:.2f}]: {pooled.note}."
        )
    for level in ("largest first edit", "mean first edit"):
        held = findings.one("chains_hold", variant="", metric="l2_source", level=level)
        used = findings.one("tightness", variant="", metric="l2_source", level=level)
        if held and used:
            sentences.append(
                f"With epsilon as an editor's {level}, {held.value:.0%} of {held.n} chains stay within k epsilon "
                f"at every k, and reach {used.value:.0%} of it after the last edit."
            )
    lost = {name: int(sum(f.value for f in findings.select(name))) for name in ("failed", "not_run")}
    if any(lost.values()):
        sentences.append(f"{lost['failed']} steps failed, and {lost['not_run']} after them were not run.")
    return sentences


ANALYSIS = Analysis(
    name="drift",
    run=run,
    draw=draw,
    say=say,
    quantities={
        "mean": "mean of the metric after x edits",
        "change": "paired change of the metric from the first to the x-th edit",
        "slope": "mean change of the metric per further edit, by least squares within each chain from k = 1 on",
        "exponent": "p in deviation ~ k^p, fitted to the mean deviation (1 - ID sim for identity); 1 is linear",
        "epsilon": "deviation of one edit: " + "; ".join(f"{level}: {text}" for level, text in LEVELS.items()),
        "tightness": "mean of deviation / (x epsilon) after x edits, with the epsilon that the level names",
        "holds": "share of chains whose deviation after x edits is at most x epsilon",
        "chains_hold": "share of chains whose deviation is at most k epsilon after every k from 2 on",
        "retained": "share of the attributes that are present and not to be changed that the classifier sees after x "
        "edits; the level names a single one, over all editors",
        "invented": "share of the attributes absent and not to be changed that the classifier sees after x edits",
        "failed": "steps that failed",
        "not_run": "steps that were not run because an earlier step of their chain failed",
    },
    params=DriftParams,
)
