"""Theorem 1 (C26): is the error of a reconstruction at most a Lipschitz constant times the error of its latents?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.params import at_least
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs import theory_cases as study
from editfrontier.study.designs.theory_cases import mean_findings, number, percent, several_means
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles, of_finding
from editfrontier.study.drawing.panels import panels, title
from editfrontier.study.drawing.theme import BLUE, DASHED, GREEN, GREY, INK, PINK, SOLID, VERMILION
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from editfrontier.study.designs.theory_cases import Chosen
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs


@dataclass(frozen=True)
class LipschitzParams:
    """Parameters.

    Attributes:
        cases: source images that are inverted.
        whole_cases: of them, cases whose whole sampler is differentiated, which costs more.
        ddim_steps: of the inversions on the diffusion model.
        flow_steps: of the inversions by FireFlow on the flow model.
        whole_ddim_steps, whole_flow_steps: of the whole samplers.
        iterations: most power iterations.
        tolerance: relative change of the constant at which the iteration ends.
        batch_size: cases that go through the decoder at once, with the graph of the derivative.
        whole_batch_size: cases whose whole sampler is differentiated at once.
        gradient_checkpointing: compute the networks' blocks again on the way back, without which a graph of FLUX.1
            fills more than a card of 80 GB.
    """

    cases: int = 10
    whole_cases: int = 4
    ddim_steps: tuple[int, ...] = (10, 50)
    flow_steps: tuple[int, ...] = (8, 16)
    whole_ddim_steps: int = 10
    whole_flow_steps: int = 8
    iterations: int = 20
    tolerance: float = 0.01
    batch_size: int = 16
    whole_batch_size: int = 16
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        at_least(self, batch_size=1, whole_batch_size=1)


KINDS = {"text_to_image": "ddim", "flux": "fireflow"}
"""Kind of a model -> how its images are inverted."""


def run(inputs: Inputs, params: LipschitzParams) -> Sequence[Finding]:
    """Measure both readings of the theorem's map on every model of the entry.

    decoder: z_0 -> image, with the latents that inversion and sampling give back in place of the latents of the source.
    whole: z_T -> image, the paper's own map, at noise whose image is known because the model made it.
    """
    import torch

    kinds = study.model_kinds(inputs, KINDS)
    chosen = study.choose_cases(inputs, params.cases, ["source_caption"])
    findings: list[Finding] = []
    for kind in kinds:
        findings += _model(inputs, params, kind, chosen, torch.device(inputs.device))
    return [*findings, study.left_out(chosen)]


def _model(inputs: Inputs, params: LipschitzParams, kind: str, chosen: Chosen, device: Any) -> list[Finding]:
    import torch

    from editfrontier import inversion
    from editfrontier.data.pixels import to_images
    from editfrontier.study.theory import maps
    from editfrontier.study.theory.lipschitz import in_parts, local_lipschitz

    model = study.load(inputs, kind, device, gradient_checkpointing=params.gradient_checkpointing)
    method = KINDS[kind]
    captions = [entry.case.source_caption for entry in chosen.inputs]
    images = to_images([entry.image for entry in chosen.inputs]).to(device)
    decode = maps.decoder(model)

    def decoded(latents: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([decode(latents[rows]) for rows in study.batches(len(latents), params.batch_size)])

    with torch.no_grad():
        parts = study.batches(len(images), params.batch_size)
        clean = torch.cat([maps.encoder(model)(images[rows]) for rows in parts])
    limits: dict[str, Any] = {"iterations": params.iterations, "tolerance": params.tolerance}
    text = inversion.embed(model, captions)
    local = in_parts(clean, params.batch_size, lambda points, _: local_lipschitz(decode, points, **limits))
    findings = _constants(inputs, f"{method}/decoder", math.nan, local, chosen.clusters)
    for steps in params.ddim_steps if method == "ddim" else params.flow_steps:
        trajectory = inversion.invert(model, clean, method, steps, text)
        rebuilt = inversion.reconstruct(model, trajectory, method, steps, text)
        pair = decoded(clean), decoded(rebuilt)
        findings += _bound(inputs, f"{method}/decoder", steps, local, (clean, rebuilt), pair, chosen.clusters)

    few = min(params.whole_cases, len(chosen))
    if few < 1:
        return findings
    steps = params.whole_ddim_steps if method == "ddim" else params.whole_flow_steps
    text = inversion.embed(model, captions[:few])
    trajectory = inversion.invert(model, clean[:few], method, steps, text)
    truth = trajectory.latents[0]

    def whole(points: Tensor, rows: slice) -> Any:
        part = inversion.embed(model, captions[:few][rows])
        sample_part = maps.sampler(model, method, steps, part, trajectory.times)
        return local_lipschitz(lambda latents: decode(sample_part(latents)), points, **limits)

    local = in_parts(truth, params.whole_batch_size, whole)
    sample = maps.sampler(model, method, steps, text, trajectory.times)
    with torch.no_grad():
        generated = sample(truth)
        approximate = inversion.invert(model, generated, method, steps, text).latents[0]
        back = sample(approximate)
    pair = decoded(generated), decoded(back)
    clusters = chosen.clusters[:few]
    findings += _constants(inputs, f"{method}/whole", steps, local, clusters)
    return [*findings, *_bound(inputs, f"{method}/whole", steps, local, (truth, approximate), pair, clusters)]


def _constants(inputs: Inputs, level: str, x: float, local: Any, clusters: Sequence[str]) -> list[Finding]:
    values, done = local.values.cpu().numpy(), local.converged.double().cpu().numpy()
    note = f"{local.iterations} power iterations"
    return [
        *mean_findings(inputs, "lipschitz", values, clusters, level=level, x=x, note=note),
        Finding(quantity="lipschitz_largest", level=level, x=x, value=float(values.max()), n=len(values)),
        *mean_findings(inputs, "converged", done, clusters, level=level, x=x, rate=True, note=note),
    ]


def _bound(
    inputs: Inputs,
    level: str,
    steps: int,
    local: Any,
    latents: tuple[Tensor, Tensor],
    images: tuple[Tensor, Tensor],
    clusters: Sequence[str],
) -> list[Finding]:
    """Return findings on the bound for one kind of inversion error."""
    from editfrontier.study.theory.lipschitz import error_bound, norms, secants

    error, image_error = (norms(pair[0] - pair[1]).cpu() for pair in (latents, images))
    values = local.values.cpu()
    bound, widest = error_bound(values, error), error_bound(values.max(), error)
    where: dict[str, Any] = {"level": level, "x": float(steps)}
    # An error of 0 meets the bound, but says nothing of its tightness.
    tightness = np.where(bound > 0, image_error / bound.clamp_min(1e-300), np.nan)
    means: dict[str, Any] = {
        "latent_error": error,
        "image_error": image_error,
        "bound": bound,
        "secant": secants(*latents, *images).cpu(),
        "tightness": tightness,
    }
    rates = {"holds_local": image_error <= bound, "holds_largest": image_error <= widest}
    findings = [
        *several_means(inputs, means, clusters, **where),
        *several_means(inputs, rates, clusters, rate=True, **where),
    ]
    pairs = zip(error.tolist(), image_error.tolist(), clusters, strict=True)
    series = f"{level}, {steps} steps"
    return findings + [
        Finding(quantity="case", level=series, x=x, value=value, n=1, note=f"source {name}") for x, value, name in pairs
    ]


def draw(findings: Findings, inputs: Inputs, params: LipschitzParams) -> Figure:
    """Draw image errors over latent errors with the lines of the bound, one panel a map."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    levels = list(dict.fromkeys(row.level for row in findings.select("lipschitz")))
    figure, grid = panels(len(levels), (2.5, 2.9))
    for axes, level in zip(grid, levels, strict=False):
        steps = [row.x for row in findings.select("tightness", level=level)]
        series = []
        for colour, count in zip((BLUE, VERMILION, GREEN, PINK), steps, strict=False):
            cases = findings.select("case", level=f"{level}, {count:g} steps")
            points = [of_finding(row) for row in cases if row.x > 0 and row.value > 0]
            series.append(Series(points, Style(colour, "o", False), f"{count:g} steps"))
        if ends := [point.place for cloud in series for point in cloud.points]:
            for name, colour, dashes, words in (
                ("lipschitz", INK, SOLID, "mean local L"),
                ("lipschitz_largest", GREY, DASHED, "largest local L"),
            ):
                slope = findings.select(name, level=level)[0].value
                line = [Point(x, slope * x) for x in (min(ends) / 1.3, max(ends) * 1.3)]
                series.append(Series(line, Style(colour, "", False), words, dashes))
            axes.set(xscale="log", yscale="log")
        draw_intervals(axes, series, width=1.0, size=4.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        title(axes, MAPS[level])
        axes.set_xlabel(r"latent error $\|\tilde z - z\|$", parse_math=True)
        axes.legend(handles=handles(series, 4), loc="best", fontsize=6.5, handlelength=1.6)
    grid[0].set_ylabel(r"image error $\|\hat x_0 - x_0\|$", parse_math=True)
    return figure


MAPS = {
    "ddim/decoder": "Decoder, diffusion model",
    "ddim/whole": "DDIM and decoder",
    "fireflow/decoder": "Decoder, flow model",
    "fireflow/whole": "FireFlow and decoder",
}


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how often the bound held, and how much of it was used."""
    sentences = []
    for row in findings.select("lipschitz"):
        level = row.level
        steps = findings.select("tightness", level=level)
        parts = [f"{percent(tight)} after {tight.x:g} steps" for tight in steps]
        held, widest = (findings.select(name, level=level) for name in ("holds_local", "holds_largest"))
        rates = ", ".join(dict.fromkeys(percent(rate) for rate in held))
        wide = ", ".join(dict.fromkeys(percent(rate) for rate in widest))
        sentences.append(
            f"{MAPS[level]}: local Lipschitz constant {number(row)}. The image error was at most that constant times "
            f"the latent error in {rates} of {row.n} cases, with the largest constant of the sample in {wide}; of the "
            f"bound it used {', '.join(parts)}."
        )
    unfinished = [row for row in findings.select("converged") if row.value < 1.0]
    for row in unfinished:
        sentences.append(
            f"{MAPS[row.level]}: the power iteration converged for {row.value:.0%} of the points within the cap; "
            "other constants may be greater than the value given."
        )
    return sentences


ANALYSIS = Analysis(
    name="lipschitz",
    run=run,
    draw=draw,
    say=say,
    quantities={
        "lipschitz": "local Lipschitz constant of the map, mean over images",
        "lipschitz_largest": "largest local Lipschitz constant of the images",
        "converged": "share of power iterations that converged",
        "latent_error": "L2 error of the latents",
        "image_error": "L2 error of the image, of values in [-1, 1]",
        "bound": "bound of Theorem 1 with the image's own local constant",
        "secant": "image error over latent error",
        "tightness": "image error over its bound",
        "holds_local": "share of cases within the bound with the image's own local constant",
        "holds_largest": "share of cases within the bound with the largest local constant",
        "case": "image error of one case, over its latent error",
        "left_out": "cases that could not be used",
    },
    params=LipschitzParams,
)
