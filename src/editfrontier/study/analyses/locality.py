"""Locality (C28): do edits of two images that agree outside the mask agree there, and how far do differences leak?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.params import at_least
from editfrontier.editing.editor import get_editor, make_params
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs import theory_cases as study
from editfrontier.study.designs.theory_cases import batches, mean_findings, number, percent
from editfrontier.study.drawing.intervals import Point, Series, draw_intervals, handles
from editfrontier.study.drawing.panels import drawn, legend_below, panels, title
from editfrontier.study.drawing.theme import BLUE, DASHED, DOTTED, GREEN, SOFT_INK, SOLID, VERMILION
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from editfrontier.editing.editor import EditBatch
    from editfrontier.study.designs.theory_cases import Chosen
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs


@dataclass(frozen=True)
class LocalityParams:
    """Parameters.

    Attributes:
        cases: pairs of images, each edited with the same noise.
        inside: content of the second image of a pair inside the mask: the pixels of "other", another source image, or
            of the "true_edit".
        num_inference_steps: of the editors; 50 (the paper).
        edges: distances from the mask in pixels at which rings begin; the last one is the end of the last ring.
        share: part of a response or of the leakage that a radius holds, in (0, 1).
        batch_size: images whose receptive field is taken at once.
        timesteps: of the U-Net whose receptive field is measured.
    """

    cases: int = 10
    inside: Literal["other", "true_edit"] = "other"
    num_inference_steps: int = 50
    edges: tuple[float, ...] = (1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 17, 21, 25, 33)
    share: float = 0.95
    timesteps: tuple[int, ...] = (101, 501, 901)
    batch_size: int = 16

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise UserError("parameter 'edges': expected at least two distances that rise. Correct the list.")
        at_least(self, batch_size=1)
        if not 0 < self.share < 1:
            raise UserError(f"parameter 'share': {self.share}, expected in (0, 1). Correct the value.")


EDITORS = {"text_to_image": "mask_guided", "inpainting": "sd_inpaint"}
"""Kind of a model -> the editor that takes masks on it."""


def run(inputs: Inputs, params: LocalityParams) -> Sequence[Finding]:
    """Edit pairs with each editor, soft and locked, and measure receptive fields of the text-to-image model."""
    import torch

    kinds = study.model_kinds(inputs, EDITORS)
    device = torch.device(inputs.device)
    chosen = study.choose_cases(inputs, params.cases, ["mask", "target_caption", params.inside])
    findings: list[Finding] = []
    for kind in kinds:
        model = study.load(inputs, kind, device)
        findings += _leakage(inputs, params, model, EDITORS[kind], kind == kinds[0], chosen, device)
        if kind == "text_to_image":
            findings += _fields(inputs, params, model, chosen, device)
    return [*findings, study.left_out(chosen)]


def make_pairs(batch: EditBatch, inside: str) -> Tensor:
    """Return the second images [B, 3, H, W]: the batch's pixels outside the mask, other pixels inside it."""
    others = batch.true_edits if inside == "true_edit" else batch.others
    assert batch.masks is not None
    assert others is not None
    return others.where(batch.masks.bool(), batch.images)


def _leakage(
    inputs: Inputs, params: LocalityParams, model: Any, name: str, with_autoencoder: bool, chosen: Chosen, device: Any
) -> list[Finding]:
    """Return the differences of one editor's pairs, for its soft output and for the locked composite of the same."""
    import torch

    from editfrontier.diffusion import blending, sampling
    from editfrontier.editing.inputs import make_batch
    from editfrontier.editing.records import EditSpec

    editor = get_editor(name)
    settings = make_params(editor, {"num_inference_steps": params.num_inference_steps})
    spec = EditSpec(editor=name, variant=name, seed=inputs.seed)
    outputs, batches = [], []
    for second in (False, True):
        batch = make_batch(chosen.inputs, spec, device)  # generators begin anew, so that both draw the same noise
        if second:
            batch.images = make_pairs(batch, params.inside)
        output = editor.edit(model, batch, settings)
        outputs.append(output if isinstance(output, torch.Tensor) else output.images)
        batches.append(batch)
    masks = batches[0].masks
    assert masks is not None
    sources = [batch.images for batch in batches]
    findings = _profiles(inputs, params, f"{name}/soft", sources, outputs, masks, settings.feather, chosen.clusters)
    # The editor's `composite: locked` is this paste of its soft output.
    locked = [blending.paste(*pair, masks, settings.feather) for pair in zip(outputs, sources, strict=True)]
    findings += _profiles(inputs, params, f"{name}/locked", sources, locked, masks, settings.feather, chosen.clusters)
    if with_autoencoder:
        with torch.no_grad():
            back = [sampling.decode(model, sampling.encode(model, source)) for source in sources]
        findings += _profiles(inputs, params, "autoencoder", sources, back, masks, settings.feather, chosen.clusters)
    return findings


def _profiles(
    inputs: Inputs,
    params: LocalityParams,
    level: str,
    sources: Sequence[Tensor],
    outputs: Sequence[Tensor],
    masks: Tensor,
    feather: int,
    clusters: Sequence[str],
) -> list[Finding]:
    from editfrontier.data.pixels import to_arrays
    from editfrontier.study.theory import receptive

    def difference(a: Tensor, b: Tensor) -> Any:
        return ((a.double() - b.double()).abs().mean(1) / 2).cpu().numpy()  # of the full range

    pair, change = difference(outputs[0], outputs[1]), difference(outputs[0], sources[0])
    eight_bit = np.stack([(a != b).any(-1) for a, b in zip(*map(to_arrays, outputs), strict=True)])
    columns: dict[str, list[Any]] = {}
    for mask, leak, moved, differs in zip(masks[:, 0].cpu().numpy() > 0.5, pair, change, eight_bit, strict=True):
        distances = receptive.mask_distances(mask)
        outside, beyond = distances > 0, distances > feather
        values = {
            "leakage": receptive.distance_profile(leak, distances, params.edges),
            "change": receptive.distance_profile(moved, distances, params.edges),
            "leakage_inside": leak[mask].mean(),
            "leakage_outside": leak[outside].mean() if outside.any() else np.nan,
            "leakage_radius": receptive.holding_radius(leak[outside], distances[outside], params.share),
            "reach": receptive.support_radius(differs & outside, distances),
            "differing_outside": differs[outside].mean() if outside.any() else np.nan,
            "agrees": float(not differs[outside].any()),
            "agrees_beyond_feather": float(not differs[beyond].any()),
        }
        for key, value in values.items():
            columns.setdefault(key, []).append(value)
    middles = [(low + high - 1) / 2 for low, high in zip(params.edges, params.edges[1:], strict=False)]
    findings: list[Finding] = []
    for key, column in columns.items():
        xs = middles if key in ("leakage", "change") else None
        table, rate = np.array(column, dtype=np.float64), key.startswith("agrees")
        findings += mean_findings(inputs, key, table, clusters, xs, level=level, rate=rate)
    return findings


def _fields(inputs: Inputs, params: LocalityParams, model: Any, chosen: Chosen, device: Any) -> list[Finding]:
    """Return receptive fields of encoder, decoder, both, and the U-Net, of a place in the middle."""
    import torch

    from editfrontier.data.pixels import to_images
    from editfrontier.diffusion import sampling
    from editfrontier.study.theory import maps

    images = to_images([entry.image for entry in chosen.inputs]).to(device)
    encode, decode = maps.encoder(model), maps.decoder(model)
    with torch.no_grad():
        clean = torch.cat([encode(images[rows]) for rows in study.batches(len(images), params.batch_size)])
        text = sampling.encode_text(model, [entry.case.target_caption for entry in chosen.inputs], False)
    cell = images.shape[-1] // clean.shape[-1]
    noise = study.noise(inputs, chosen, clean.shape[1:], device, "locality")
    scheduler = sampling.make_scheduler(model.scheduler.config)
    # name -> function of values and rows of the cases, where it is taken, pixels of a unit of its output, of its input
    parts: dict[str, tuple[Any, Tensor, int, int]] = {
        "encoder": (lambda values, rows: encode(values), images, cell, 1),
        "decoder": (lambda values, rows: decode(values), clean, 1, cell),
        "autoencoder": (lambda values, rows: decode(encode(values)), images, 1, 1),
    }
    for timestep in params.timesteps:
        level = sampling.alpha_bar(scheduler, timestep)
        noisy = sampling.add_noise(clean, noise, level)

        def denoise(latents: Tensor, rows: slice, timestep: int = timestep, level: float = level) -> Tensor:
            return maps.noise_estimate(model, latents, timestep, level, text.prompt[rows])

        parts[f"unet, t = {timestep}"] = (denoise, noisy, cell, cell)
    findings = []
    for name, (function, points, output_unit, input_unit) in parts.items():
        findings += _field(inputs, params, name, function, points, output_unit, input_unit, model, chosen.clusters)
    return findings


def _field(
    inputs: Inputs,
    params: LocalityParams,
    name: str,
    function: Any,
    points: Tensor,
    output_unit: int,
    input_unit: int,
    model: Any,
    clusters: Sequence[str],
) -> list[Finding]:
    """Return the receptive field of one function (values, rows of the cases), around the middle of its output."""
    import torch

    from editfrontier.study.theory import receptive

    def measured(inputs_: Tensor) -> tuple[Any, Any]:
        size = (inputs_.shape[-2], inputs_.shape[-1])
        middle = (size[0] * input_unit // 2 // output_unit, size[1] * input_unit // 2 // output_unit)
        apart = receptive.unit_distances(middle, output_unit, size, input_unit)
        parts = [(partial(function, rows=rows), inputs_[rows]) for rows in batches(len(inputs_), params.batch_size)]
        return np.concatenate([receptive.response(*part, middle).cpu().numpy() for part in parts]), apart

    network = model.unet if name.startswith("unet") else model.vae
    live, apart = measured(points)
    with receptive.frozen_statistics(network):
        frozen, _ = measured(points)
        if attends := receptive.has_attention(network):
            kernels = float(apart.max())
        else:
            # Kernels reach beyond an image of this size, so that their radius is read on a larger canvas.
            canvas = torch.randn(1, points.shape[1], *(3 * side for side in points.shape[-2:]), device=points.device)
            kernels = receptive.support_radius(*(part.squeeze() for part in measured(canvas)))
    findings: list[Finding] = []
    for metric, power in (("amplitude", 1), ("energy", 2)):
        for quantity, responses in (("effective_radius", live), ("effective_radius_frozen", frozen)):
            radii = [receptive.holding_radius(response**power, apart, params.share) for response in responses]
            findings += mean_findings(inputs, quantity, radii, clusters, level=name, metric=metric)
    alike = receptive.holding_radius(np.ones_like(apart), apart, params.share)
    note = "attention reaches the whole image, so that it bounds nothing" if attends else ""
    if kernels > apart.max():
        note = "wider than the image, so that it bounds nothing at this size"
    reached = [float((response > 0).mean()) for response in live]
    return [
        *findings,
        Finding(quantity="uniform_radius", level=name, value=alike),
        *mean_findings(inputs, "support_share", reached, clusters, level=name),
        Finding(quantity="kernel_radius", level=name, value=kernels, note=note),
    ]


LABELS = {
    "mask_guided/soft": ("Mask-guided, soft", BLUE, SOLID),
    "mask_guided/locked": ("Mask-guided, locked", BLUE, DOTTED),
    "sd_inpaint/soft": ("Inpainting, soft", VERMILION, SOLID),
    "sd_inpaint/locked": ("Inpainting, locked", VERMILION, DOTTED),
    "autoencoder": ("Autoencoder alone", SOFT_INK, DASHED),
}


def draw(findings: Findings, inputs: Inputs, params: LocalityParams) -> Figure:
    """Draw the difference of the pairs' edits, and the change of the source, over the distance from the mask."""
    figure, grid = panels(2, (3.8, 3.4), sharey=True)
    shown: list[Series] = []
    for place, (axes, quantity, heading) in enumerate(
        ((grid[0], "leakage", "Two images that agree outside the mask"), (grid[1], "change", "Edit against its source"))
    ):
        series = []
        for level, (label, colour, dashes) in LABELS.items():
            # Zeros have no place on a logarithmic axis; where a curve ends, nothing differs beyond.
            rows = [row for row in findings.select(quantity, level=level) if row.value > 0]
            points = [Point(row.x, row.value, max(row.low, row.value / 10), row.high) for row in rows]
            if points:
                series.append(Series(points, Style(colour, "o", False), label, dashes))
        axes.set_yscale("log")
        draw_intervals(axes, series, band=True, width=1.1, size=3)
        axes.axhline(0.5 / 255, color="#BBBBBB", linewidth=0.8, label="half a step of 8 bits")
        axes.set_xlabel("distance from the mask [px]")
        title(axes, heading, place)
        shown += series
    for metric, style, part in (("energy", "-", "squared response"), ("amplitude", "--", "response")):
        row = findings.one("effective_radius", level="autoencoder", metric=metric)
        if row is not None:
            label = f"autoencoder: {params.share:.0%} of the {part}"
            grid[0].axvline(row.value, color=GREEN, linestyle=style, linewidth=1.0, label=label)
    grid[0].set_ylabel("mean absolute difference, of the full range")
    legend_below(figure, [*handles(shown, 2.5), *drawn(grid)], columns=3)
    return figure


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say in how many pairs the guarantee held, how far differences reached, and how wide receptive fields are."""
    sentences = []
    for level, (label, _, _) in LABELS.items():
        agrees = findings.one("agrees", level=level)
        if agrees is None:
            continue
        beyond = findings.one("agrees_beyond_feather", level=level)
        inside, outside = (findings.one(f"leakage_{part}", level=level) for part in ("inside", "outside"))
        sentences.append(
            f"{label}: edits of images that agree outside the mask agreed there to 8 bits in {percent(agrees)} of "
            f"{agrees.n} pairs, and more than the feather away from it in {percent(beyond)}. They differed by "
            f"{percent(outside)} of the range outside and {percent(inside)} inside."
            + (" It reads nothing inside the mask." if inside is not None and inside.value == 0 else "")
        )
    soft, alone = (findings.one("leakage_outside", level=level) for level in ("mask_guided/soft", "autoencoder"))
    if soft is not None and alone is not None and soft.value > 0:
        sentences.append(
            f"Passing the two images through the autoencoder alone leaks {alone.value / soft.value:.0%} as much "
            "outside the mask as editing them by the soft method does."
        )
    for level in ("autoencoder", "decoder"):
        energy, amplitude = (
            findings.one("effective_radius", level=level, metric=metric) for metric in ("energy", "amplitude")
        )
        if energy is not None:
            sentences.append(
                f"Receptive field of the {level}: most of the squared response lies within {number(energy)} px and "
                f"most of the response within {number(amplitude)} px; kernels reach "
                f"{number(findings.one('kernel_radius', level=level))} px, and group normalisation connects "
                f"{percent(findings.one('support_share', level=level))} of the image with each place."
            )
    unets = [row for row in findings.select("effective_radius", metric="energy") if row.level.startswith("unet")]
    if unets:
        radii = ", ".join(f"{number(row)} px ({row.level.removeprefix('unet, ')})" for row in unets)
        sentences.append(
            f"The U-Net's field is the whole image by attention; most of its squared response lies within {radii}."
        )
    return sentences


ANALYSIS = Analysis(
    name="locality",
    run=run,
    draw=draw,
    say=say,
    quantities={
        "leakage": "mean absolute difference of the pair's edits at a distance from the mask, of the full range",
        "change": "mean absolute difference of an edit from its source at a distance from the mask, of the full range",
        "leakage_inside": "mean absolute difference of the pair's edits inside the mask, of the full range",
        "leakage_outside": "mean absolute difference of the pair's edits outside the mask, of the full range",
        "leakage_radius": "distance from the mask within which most of the leakage lies [px]",
        "reach": "distance of the farthest pixel that differs at 8 bits [px]",
        "differing_outside": "share of pixels outside the mask that differ at 8 bits",
        "agrees": "share of pairs that agree outside the mask at 8 bits",
        "agrees_beyond_feather": "share of pairs that agree at 8 bits beyond the feather of a locked composite",
        "effective_radius": "distance within which most of a network's response (or squared response) lies [px]",
        "effective_radius_frozen": "the same with the statistics of group normalisation held fixed [px]",
        "uniform_radius": "the same if all places of the input counted alike [px]",
        "support_share": "share of the image on which a place of the output depends at all",
        "kernel_radius": "greatest distance that kernels reach, whatever the size of the image [px]",
        "left_out": "cases that could not be used",
    },
    params=LocalityParams,
)
