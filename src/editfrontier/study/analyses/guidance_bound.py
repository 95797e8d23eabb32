"""Theorem 3 (C29, C30): does its bound hold for what guidance changes, and which steps make the change?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.params import at_least
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs import theory_cases as study
from editfrontier.study.designs.theory_cases import mean_findings, number, percent, several_means
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles, line_of
from editfrontier.study.drawing.panels import panels, title
from editfrontier.study.drawing.theme import BLUE, DASHED, GREEN, INK, SOLID, VERMILION, shades
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs


@dataclass(frozen=True)
class GuidanceBoundParams:
    """Parameters.

    Attributes:
        cases: source images whose target captions are sampled.
        steps: T of DDIM; 50 (the paper).
        scales: guidance scales w.
        half_scale: w at which guidance is also given in one half of the steps only, 0 for not at all.
        batch_size: cases at once.
    """

    cases: int = 10
    steps: int = 50
    scales: tuple[float, ...] = (1.0, 3.0, 7.5, 12.0)
    half_scale: float = 7.5
    batch_size: int = 16

    def __post_init__(self) -> None:
        at_least(self, steps=2)
        if not self.scales:
            raise UserError("parameter 'scales': is empty, expected at least one guidance scale. Add one.")


HALVES = ("noisy", "clean")


def run(inputs: Inputs, params: GuidanceBoundParams) -> Sequence[Finding]:
    """Sample with each w and without guidance from the same noise, and compare the latents with the bound.

    The trajectory without guidance uses the empty prompt (w = 0): the proof's update departs from it by w Delta.
    """
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.study.theory import maps
    from editfrontier.study.theory.lipschitz import norms

    device = torch.device(inputs.device)
    chosen = study.choose_cases(inputs, params.cases, ["target_caption"])
    model = study.load(inputs, "text_to_image", device)
    levels = maps.noise_levels(model, params.steps)[2]
    side = model.unet.config.sample_size
    start = study.noise(inputs, chosen, (model.unet.config.in_channels, side, side), device, "guidance_bound")
    captions = [entry.case.target_caption for entry in chosen.inputs]
    for entry, caption in zip(chosen.inputs, captions, strict=True):
        sampling.check_prompt(model.tokenizer, caption, f"case {entry.case.case_id}, target_caption")
    runs: dict[str, list[tuple[Tensor, Any]]] = {}
    half = params.steps // 2
    for rows in study.batches(len(chosen), params.batch_size):
        with torch.no_grad():
            text = sampling.encode_text(model, captions[rows], True)
        for scale in (0.0, *params.scales):
            schedule = [scale] * params.steps
            runs.setdefault(f"{scale:g}", []).append(_sample(model, start[rows], schedule, text, scale > 0))
        if params.half_scale > 0:
            for name, first in zip(HALVES, (True, False), strict=True):
                schedule = [params.half_scale * float((step < half) == first) for step in range(params.steps)]
                runs.setdefault(name, []).append(_sample(model, start[rows], schedule, text, False))
    finals = {name: torch.cat([latents for latents, _ in parts]) for name, parts in runs.items()}
    deviations = {name: norms(latents - finals["0"]).cpu().numpy() for name, latents in finals.items()}
    findings: list[Finding] = []
    for scale in params.scales:
        directions = np.concatenate([kept for _, kept in runs[f"{scale:g}"]], axis=1)
        findings += _scale_findings(inputs, scale, directions, deviations[f"{scale:g}"], levels, chosen.clusters)
    findings += _terms(levels)
    for name in HALVES if params.half_scale > 0 else ():
        findings += study.mean_findings(
            inputs, "half_deviation", deviations[name], chosen.clusters, level=name, x=params.half_scale
        )
    return [*findings, study.left_out(chosen)]


def _sample(model: Any, start: Tensor, schedule: Sequence[float], text: Any, keep: bool) -> tuple[Tensor, Any]:
    """Sample by DDIM with w of each step; return the final latents and, if wanted, the directions [T, B, C, h, w]."""
    import torch

    from editfrontier.diffusion.sampling import TextEmbeddings
    from editfrontier.inversion.diffusion import ddim_step
    from editfrontier.study.theory import maps

    _, timesteps, levels = maps.noise_levels(model, len(schedule))
    latents, kept = start, []
    texts = TextEmbeddings(torch.cat([text.empty, text.prompt]), None)
    with torch.no_grad():
        for step, (timestep, scale) in enumerate(zip(timesteps, schedule, strict=True)):
            level = levels[step]
            if scale == 0.0:
                estimate = maps.noise_estimate(model, latents, timestep, level, text.empty)
            else:
                pair = maps.noise_estimate(model, torch.cat([latents] * 2), timestep, level, texts.prompt)
                empty, prompt = pair.chunk(2)
                estimate = empty + scale * (prompt - empty)
                if keep:
                    kept.append((prompt - empty).cpu().numpy())
            latents = ddim_step("epsilon", estimate, latents, level, levels[step + 1])
    return latents, np.stack(kept) if kept else None


def _scale_findings(
    inputs: Inputs, scale: float, directions: Any, deviation: Any, levels: Sequence[float], clusters: Sequence[str]
) -> list[Finding]:
    from editfrontier.study.theory import guidance

    steps = len(directions)
    lengths = np.linalg.norm(directions.reshape(*directions.shape[:2], -1).astype(np.float64), axis=2)
    largest = lengths.max(axis=0)
    overall = {"deviation": deviation, "largest_direction": largest}
    findings = several_means(inputs, overall, clusters, x=scale)
    for reading in guidance.READINGS:
        terms = guidance.step_terms(levels, reading)
        for factor, averaged in (("plain", False), ("averaged", True)):
            bound = guidance.guidance_bound(scale, largest, terms, averaged)
            where: dict[str, Any] = {"level": f"{reading}/{factor}", "x": scale}
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = deviation / bound
            everywhere = guidance.guidance_bound(scale, largest.max(), terms, averaged)
            expected = deviation / everywhere if everywhere > 0 else np.full_like(deviation, np.nan)
            columns = {"bound": bound, "tightness": ratio, "expected_tightness": expected}
            findings += several_means(inputs, columns, clusters, **where)
            violated = np.where(np.isfinite(ratio), deviation > bound, np.nan)
            findings += mean_findings(inputs, "violated", violated, clusters, rate=True, **where)
        weighted = guidance.shares(terms[:, None] * lengths)
        half = steps // 2
        findings += mean_findings(
            inputs, "clean_half_share", weighted[half:].sum(axis=0), clusters, level=f"{reading}/measured", x=scale
        )
        findings += mean_findings(
            inputs, "alignment", guidance.alignment(directions, terms), clusters, level=reading, x=scale
        )
    label = f"w = {scale:g}"
    return findings + mean_findings(
        inputs, "direction_norm", lengths.T, clusters, [float(step) for step in range(1, steps + 1)], level=label
    )


def _terms(levels: Sequence[float]) -> list[Finding]:
    """Return the terms of the sum, which follow from the noise schedule alone and so have no interval."""
    from editfrontier.study.theory import guidance

    findings, steps = [], len(levels) - 1
    for reading in guidance.READINGS:
        terms = guidance.step_terms(levels, reading)
        shares = guidance.shares(terms)
        findings += [
            Finding(quantity=quantity, level=reading, x=float(step), value=float(value))
            for quantity, values in (("term", terms), ("term_share", shares))
            for step, value in enumerate(values, start=1)
        ]
        share = float(shares[steps // 2 :].sum())
        findings.append(Finding(quantity="clean_half_share", level=f"{reading}/terms", value=share))
        findings.append(Finding(quantity="terms_sum", level=reading, value=float(terms.sum())))
    return findings


NAMES = {"single": "alpha of one step", "cumulative": "cumulative alpha (E1)", "ddim": "DDIM step, exact"}


COLOURS = {"single": VERMILION, "cumulative": BLUE, "ddim": GREEN}


def draw(findings: Findings, inputs: Inputs, params: GuidanceBoundParams) -> Figure:
    """Draw deviation and bounds over w; over the steps, the terms of the sum and the norm of the guidance direction."""
    figure, (left, middle, right) = panels(3, (3.2, 3.2))
    measured = [line_of(findings.select("deviation"), INK, "measured", marker="o")]
    for factor, dashes, words in (("plain", SOLID, ""), ("averaged", DASHED, ", 1/√T")):
        for reading, colour in COLOURS.items():
            rows = findings.select("bound", level=f"{reading}/{factor}")
            bound = [Point(row.x, row.value) for row in rows]
            measured.append(Series(bound, Style(colour, "", False), NAMES[reading] + words, dashes))
    terms = [
        line_of(findings.select("term_share", level=reading), colour, NAMES[reading])
        for reading, colour in COLOURS.items()
    ]
    scales = [f"w = {scale:g}" for scale in params.scales]
    norms = [
        line_of(findings.select("direction_norm", level=scale), shade, scale)
        for scale, shade in zip(scales, shades(len(scales)), strict=True)
    ]
    contents = (
        (left, measured, "Deviation and bounds"),
        (middle, terms, "Terms of the sum"),
        (right, norms, "Norm of the guidance direction"),
    )
    for place, (axes, series, heading) in enumerate(contents):
        axes.set_yscale("linear" if axes is right else "log")
        draw_intervals(axes, series, band=axes is right, width=1.1, size=5)
        title(axes, heading, place)
        under = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2} if axes is left else {"loc": "best"}
        axes.legend(handles=handles(series, 4), fontsize=6.5, handlelength=1.8, **under)
        axes.set_xlabel("guidance scale w" if axes is left else "step, from noise (left) to image (right)")
    left.set_ylabel("L2 deviation of the final latents")
    middle.set_ylabel("share of the sum")
    right.set_ylabel(r"$\|\epsilon(c) - \epsilon(\emptyset)\|$", parse_math=True)
    return figure


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how often each form of the bound was violated, and where its sum comes from."""
    sentences = []
    for level in dict.fromkeys(row.level for row in findings.select("violated")):
        reading, factor = level.split("/")
        rates = [f"{percent(row)} of cases at w = {row.x:g}" for row in findings.select("violated", level=level)]
        form = "with the factor 1/sqrt(T)" if factor == "averaged" else "without the factor 1/sqrt(T)"
        sentences.append(f"The bound {form} ({NAMES[reading]}) was violated in {', '.join(rates)}.")
    for reading in NAMES:
        share = findings.one("clean_half_share", level=f"{reading}/terms")
        if share is not None:
            sentences.append(
                f"Steps of the half nearer to the image make {share.value:.1%} of the sum ({NAMES[reading]})."
            )
    halves = [findings.select("half_deviation", level=name) for name in HALVES]
    if all(halves):
        noisy, clean = (rows[0] for rows in halves)
        sentences.append(
            f"Guidance of w = {noisy.x:g} in the noisier half of the steps alone moved the final latents by "
            f"{number(noisy)}, in the half nearer to the image by {number(clean)}."
        )
    return sentences


ANALYSIS = Analysis(
    name="guidance_bound",
    run=run,
    draw=draw,
    say=say,
    quantities={
        "deviation": "L2 distance of the final latents with guidance w from those without",
        "largest_direction": "largest norm of the guidance direction over the steps (G)",
        "bound": "bound of Theorem 3",
        "tightness": "deviation over its bound",
        "expected_tightness": "mean deviation over the bound with the largest G of all cases; above 1 is a violation",
        "violated": "share of cases whose deviation exceeds the bound",
        "alignment": "norm of the weighted sum of directions over the sum of their norms",
        "direction_norm": "norm of the guidance direction at a step, mean over cases",
        "term": "term of the sum at a step",
        "term_share": "share of a step in the sum",
        "terms_sum": "sum of the terms",
        "clean_half_share": "share of the steps nearer to the image: of the terms, or of terms times measured norms",
        "half_deviation": "deviation with guidance in one half of the steps alone",
        "left_out": "cases that could not be used",
    },
    params=GuidanceBoundParams,
)
