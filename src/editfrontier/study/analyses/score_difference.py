"""Section 6.1: does the time-integrated difference of scores govern how far an edit departs from its source?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.params import at_least
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs import theory_cases as study
from editfrontier.study.designs.theory_cases import mean_findings, number, percent, several_means
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles
from editfrontier.study.drawing.panels import legend_below, panels, title
from editfrontier.study.drawing.theme import BLUE, DASHED, GREEN, GREY, INK, SOLID, VERMILION
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from editfrontier.study.designs.theory_cases import Chosen
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.theory.gronwall import Divergence
    from editfrontier.study.theory.maps import Field


@dataclass(frozen=True)
class ScoreDifferenceParams:
    """Parameters.

    Attributes:
        cases: source images.
        steps: of the trajectories, both ways; first order on both models.
        local_cases: of them, cases whose field is differentiated for local Lipschitz constants; 0 for none.
        local_batch_size: cases whose field is differentiated at once.
        local_steps: steps at which that is done, spread over the trajectory; linear in between.
        iterations: most power iterations at a step; each starts from the directions of the step before.
        tolerance: relative change of the constant at which the iteration ends.
        gradient_checkpointing: compute the networks' blocks again on the way back, which takes a tenth of the memory.
    """

    cases: int = 10
    steps: int = 20
    local_cases: int = 3
    local_steps: int = 6
    local_batch_size: int = 16
    iterations: int = 10
    tolerance: float = 0.02
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        at_least(self, steps=2, local_batch_size=1)
        if self.local_cases and not 2 <= self.local_steps <= self.steps:
            raise UserError(
                f"parameter 'local_steps': {self.local_steps}, expected 2 to {self.steps}, the number of steps. "
                "Correct the value."
            )


FLOWS = {
    "diffusion/source": "diffusion model, source to target caption",
    "diffusion/empty": "diffusion model, no caption to target caption",
    "flow/source": "flow model, source to target caption",
}
KINDS = {"text_to_image": "diffusion", "flux": "flow"}


def run(inputs: Inputs, params: ScoreDifferenceParams) -> Sequence[Finding]:
    """Follow the fields of two captions from the inverted source, and bound how far they part."""
    import torch

    kinds = study.model_kinds(inputs, KINDS)
    chosen = study.choose_cases(inputs, params.cases, ["source_caption", "target_caption"])
    device = torch.device(inputs.device)
    findings: list[Finding] = []
    for kind in kinds:
        model = study.load(inputs, kind, device, gradient_checkpointing=params.gradient_checkpointing)
        for level in FLOWS:
            if level.startswith(KINDS[kind]):
                findings += _flow(inputs, params, model, level, chosen, device)
    return [*findings, study.left_out(chosen)]


def _flow(
    inputs: Inputs, params: ScoreDifferenceParams, model: Any, level: str, chosen: Chosen, device: Any
) -> list[Finding]:
    from editfrontier.study.theory import gronwall

    source, target, start, times = _fields(params, model, level, chosen, device, len(chosen))
    parted = gronwall.diverge(source, target, start, times)
    factors = {"secant": gronwall.lipschitz_factors(parted.widths, parted.secants), "transition": parted.growths}
    findings = _findings(inputs, level, parted, factors, chosen.clusters)
    few = min(params.local_cases, len(chosen))
    if few:
        constants, done = _local_constants(params, model, level, chosen, device, parted, times)
        kept = parted.first(few)
        local = {"local": gronwall.lipschitz_factors(parted.widths, constants)}
        findings += _findings(inputs, level, kept, local, chosen.clusters[:few])
        note = f"{len(done)} steps, warm started"
        findings.append(
            Finding(quantity="converged", level=level, value=float(np.mean(done)), n=int(np.size(done)), note=note)
        )
    return findings


def _fields(
    params: ScoreDifferenceParams, model: Any, level: str, chosen: Chosen, device: Any, count: int
) -> tuple[Field, Field, Tensor, list[float]]:
    """Return the fields of the two captions, the inverted sources and the times, for the first `count` cases."""
    import torch

    from editfrontier import inversion
    from editfrontier.data.pixels import to_images
    from editfrontier.study.theory import maps

    cases = [entry.case for entry in chosen.inputs[:count]]
    first = [case.source_caption if level.endswith("/source") else "" for case in cases]
    with torch.no_grad():
        clean = maps.encoder(model)(to_images([entry.image for entry in chosen.inputs[:count]]).to(device))
    texts: list[Any] = [inversion.embed(model, prompts) for prompts in (first, [case.target_caption for case in cases])]
    if level.startswith("flow"):
        size = (clean.shape[-2], clean.shape[-1])
        fields = [maps.flow_field(model, size, params.steps, text) for text in texts]
        trajectory = inversion.invert(model, clean, "euler", params.steps, texts[0])
        return fields[0][0], fields[1][0], trajectory.latents[0], fields[0][1]
    fields = [maps.diffusion_field(model, params.steps, text.prompt) for text in texts]
    trajectory = inversion.invert(model, clean, "ddim", params.steps, texts[0])
    level_at_start = maps.noise_levels(model, params.steps)[2][0]
    return fields[0][0], fields[1][0], trajectory.latents[0] / level_at_start**0.5, fields[0][1]


def _local_constants(
    params: ScoreDifferenceParams,
    model: Any,
    level: str,
    chosen: Chosen,
    device: Any,
    parted: Divergence,
    times: list[float],
) -> tuple[Any, list[float]]:
    """Return local Lipschitz constants of the target's field on the source's path [K, b], and which converged."""
    from editfrontier.study.theory import gronwall
    from editfrontier.study.theory.lipschitz import in_parts, local_lipschitz

    few = min(params.local_cases, len(chosen))
    steps = np.unique(np.linspace(0, params.steps - 1, params.local_steps).round().astype(int))
    values, done = [], []
    directions: Tensor | None = None

    def at(step: int, points: Tensor, rows: slice) -> Any:
        field = _target_field(params, model, level, chosen, rows, times, parted)
        return local_lipschitz(
            partial(field, step=step),
            points,
            iterations=params.iterations,
            tolerance=params.tolerance,
            start=None if directions is None else directions[rows],
        )

    for step in steps:
        local = in_parts(parted.states[step][:few], params.local_batch_size, partial(at, int(step)))
        directions = local.directions
        values.append(local.values.cpu().numpy())
        done.append(float(local.converged.double().mean()))
    return gronwall.between_steps(np.stack(values), steps, params.steps), done


def _target_field(
    params: ScoreDifferenceParams,
    model: Any,
    level: str,
    chosen: Chosen,
    rows: slice,
    times: list[float],
    parted: Divergence,
) -> Field:
    from editfrontier import inversion
    from editfrontier.study.theory import maps

    text: Any = inversion.embed(model, [entry.case.target_caption for entry in chosen.inputs[rows]])
    if level.startswith("flow"):
        size = (parted.states[0].shape[-2], parted.states[0].shape[-1])
        return maps.flow_field(model, size, params.steps, text)[0]
    return maps.diffusion_field(model, params.steps, text.prompt)[0]


def _findings(
    inputs: Inputs, level: str, parted: Divergence, factors: dict[str, Any], clusters: Sequence[str]
) -> list[Finding]:
    from editfrontier.study.theory import gronwall

    deviation = parted.deviations[-1]
    integral = gronwall.score_integral(parted.widths, parted.differences)
    findings: list[Finding] = []
    done = [float(step) for step in range(1, len(parted.deviations))]
    if "secant" in factors:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = deviation / integral[-1]
        means = {"deviation": deviation, "score_integral": integral[-1], "deviation_over_integral": ratio}
        findings += several_means(inputs, means, clusters, level=level)
        exceeded = np.where(np.isfinite(ratio), deviation > integral[-1], np.nan)
        findings += mean_findings(inputs, "exceeds_integral", exceeded, clusters, level=level, rate=True)
        findings += _correlation(inputs, level, deviation, integral[-1], clusters)
        with np.errstate(divide="ignore"):
            for quantity, curves in (("log10_deviation_at", parted.deviations), ("log10_integral_at", integral)):
                findings += mean_findings(inputs, quantity, np.log10(curves[1:]).T, clusters, done, level=level)
    for kind, factor in factors.items():
        bounds = gronwall.gronwall_bound(parted.widths, parted.differences, factor)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs, tightness = np.log10(bounds), deviation / bounds[-1]
        where: dict[str, Any] = {"level": level, "metric": kind}
        findings += several_means(inputs, {"log10_bound": logs[-1], "tightness": tightness}, clusters, **where)
        # A bound that holds by construction meets the deviation where nothing is lost, up to rounding.
        held = np.where(np.isfinite(tightness), deviation <= bounds[-1] * (1 + 1e-5), np.nan)
        findings += mean_findings(inputs, "holds", held, clusters, rate=True, **where)
        findings += mean_findings(inputs, "log10_bound_at", logs[1:].T, clusters, done, **where)
        if kind != "transition":
            exponent = np.log(factor).sum(axis=0)
            findings += mean_findings(inputs, "growth_exponent", exponent, clusters, **where)
    return findings


def _correlation(inputs: Inputs, level: str, deviation: Any, integral: Any, clusters: Sequence[str]) -> list[Finding]:
    """Return the rank correlation over cases: whether the integral tells large deviations from small ones."""
    from scipy.stats import rankdata

    # One case a source image, so that resampling cases is resampling clusters.
    n = len(deviation)
    if n < 4 or np.ptp(deviation) == 0 or np.ptp(integral) == 0:
        note = "fewer than four cases, or no differences among them"
        return [Finding(quantity="rank_correlation", level=level, value=math.nan, n=n, note=note)]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    weights = inputs.weights(len(numbers))
    values = []
    for row in weights.astype(int):
        picked = np.repeat(np.arange(n), row[[numbers[name] for name in clusters]])
        a, b = rankdata(deviation[picked]), rankdata(integral[picked])
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            values.append(np.corrcoef(a, b)[0, 1])
    tail = (1 - inputs.settings.level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    value = float(np.corrcoef(rankdata(deviation), rankdata(integral))[0, 1])
    return [Finding(quantity="rank_correlation", level=level, value=value, low=float(low), high=float(high), n=n)]


BOUNDS = {
    "transition": ("Gronwall, measured growth of each step", GREEN),
    "secant": ("Gronwall, secant constants", BLUE),
    "local": ("Gronwall, local constants", VERMILION),
}


def draw(findings: Findings, inputs: Inputs, params: ScoreDifferenceParams) -> Figure:
    """Draw deviation, score-difference integral and bounds along the trajectory, a panel for each pair of fields."""
    from matplotlib.ticker import MaxNLocator

    levels = list(dict.fromkeys(row.level for row in findings.select("deviation")))
    figure, grid = panels(len(levels), (3.3, 3.3))
    shown: list[Series] = []
    for axes, level in zip(grid, levels, strict=False):
        lines = [
            (findings.select("log10_deviation_at", level=level), "measured deviation", INK, SOLID),
            (findings.select("log10_integral_at", level=level), "score-difference integral", GREY, DASHED),
        ]
        for kind, (label, colour) in BOUNDS.items():
            rows = [row for row in findings.select("log10_bound_at", level=level, metric=kind) if row.n]
            label += f" ({rows[-1].n} cases)" if rows else ""
            lines.append((rows, label, colour, SOLID))
        series = [
            Series([Point(row.x, 10**row.value) for row in rows if row.n], Style(colour, "", False), label, dashes)
            for rows, label, colour, dashes in lines
        ]
        axes.set_yscale("log")
        draw_intervals(axes, series)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step, from noise (left) to image (right)")
        title(axes, FLOWS[level].capitalize(), fontsize=7)
        shown = shown or series
    grid[0].set_ylabel("L2 distance of the two paths, geometric mean")
    legend_below(figure, handles(shown), columns=3)
    return figure


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how the deviation compares with the integral, and what Gronwall's inequality makes of it."""
    sentences = []
    for row in findings.select("deviation"):
        level = row.level
        sentences.append(
            f"On the {FLOWS[level]}: the paths ended {number(row)} apart, where the fields' difference along the "
            f"source's path integrates to {number(findings.one('score_integral', level=level))}; the deviation "
            f"exceeded the integral in {percent(findings.one('exceeds_integral', level=level))} of cases, and their "
            f"rank correlation over cases is {number(findings.one('rank_correlation', level=level), 2)}."
        )
        for kind, name in (("secant", "secants between the two paths"), ("local", "power iteration on the first path")):
            tight = findings.one("tightness", level=level, metric=kind)
            if tight is not None:
                held = percent(findings.one("holds", level=level, metric=kind))
                surely = ", as it must" if kind == "secant" else ""
                sentences.append(
                    f"Gronwall's bound on it with Lipschitz constants from {name} held in {held} of {tight.n} "
                    f"cases{surely}; the deviation used {percent(tight)} of it."
                )
    return sentences


ANALYSIS = Analysis(
    name="score_difference",
    run=run,
    draw=draw,
    say=say,
    quantities={
        "deviation": "L2 distance at which the paths of the two captions end",
        "score_integral": "difference of the two fields along the source's path, integrated over time",
        "deviation_over_integral": "deviation over the integral",
        "exceeds_integral": "share of cases whose deviation exceeds the integral",
        "rank_correlation": "rank correlation of deviation and integral over cases",
        "log10_bound": "decimal logarithm of Gronwall's bound, mean over cases",
        "tightness": "deviation over Gronwall's bound",
        "holds": "share of cases within Gronwall's bound",
        "growth_exponent": "natural logarithm of the product of 1 + h L over the steps",
        "converged": "share of power iterations that converged",
        "log10_deviation_at": "decimal logarithm of the distance of the paths after a step, mean over cases",
        "log10_integral_at": "decimal logarithm of the integral after a step, mean over cases",
        "log10_bound_at": "decimal logarithm of the bound after a step, mean over cases",
        "left_out": "cases that could not be used",
    },
    params=ScoreDifferenceParams,
)
