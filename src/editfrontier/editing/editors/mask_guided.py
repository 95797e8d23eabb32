"""The paper's mask-guided editing (Algorithm 2), with every reading of its errata as a hyperparameter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import EditBatch, Editor, check_range, check_sampling

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class MaskGuidedParams:
    """Hyperparameters of mask-guided editing. E2 to E16 are errata of the paper (docs/errata.md).

    Attributes:
        strength: where the trajectory starts, in (0, 1]; 0.75 (E16: the paper gives none; blended latent diffusion in
            the PnPInversion benchmark skips the first quarter of 50 steps).
        guidance_scale: w, at least 1; 7.5 (the paper, section 4.2).
        guidance_scale_outside: w outside the mask, at least 0; None = the same as inside (the paper, section 3).
        guidance_schedule: how w goes over the steps: "constant" (the paper), "linear_up" or "cosine_up" from weak to
            strong, "linear_down" or "cosine_down" from strong to weak, all with the mean w, or "interval": w where the
            noise is in the interval below, no guidance elsewhere (the paper, section 6: left to future work).
        guidance_sigma_low, guidance_sigma_high: that interval, low < sqrt((1 - alpha_bar) / alpha_bar) <= high; 0.28
            and 5.42 (Kynkaanniemi et al., 2024, for Stable Diffusion XL).
        num_inference_steps: of the whole trajectory; 50 (the paper).
        eta: in [0, 1], noise of the DDIM step; 0 (E2).
        sampler: "ddim" (the paper, section 4.2), "ddpm" for ancestral sampling, or "printed" for the paper's own
            reverse step, which lacks a factor (E2).
        schedule: weight beta of the source over the trajectory: "cosine" from 1 to 0 (the paper's text, E3),
            "constant", "step" (1 for the first half of the steps), "printed" (Algorithm 2's formula, which rises) or
            "none".
        constant: beta of the constant schedule, in [0, 1]; 0.5 (Table 3).
        polarity: "hold" the source outside the mask and blend inside; "release" the inside and blend outside; "printed"
            blends inside and frees the outside (E4).
        mode: "per_step" (Algorithm 2), "cumulative" (beta is what remains of the source in total) or "x0" (the clean
            estimates are blended and the noise is derived again) (E15).
        source_latent: the source at the level of the latents: with the "shared" noise that the case started with (E6),
            with "independent" noise in every step, with the noise that the present latents "implied" if the source were
            what they hide (the other reading of DDIMStep(z_t, x_0, t), E6), or from the "inverted" trajectory of the
            source caption. "current" is no source at all but the latents before the step, as section 3 prints it (E5).
        dilation: unit of the shrinking mask dilation: "scaled" latent cells (E14), "cells", "pixels" or "none".
        composite: "soft" (the decoded latents, the paper) or "locked" (the source's pixels outside the feathered mask;
            E7).
        feather: pixels over which a locked composite fades out around the mask, at least 0; 2 (one 32nd of 64 pixels).
    """

    strength: float = 0.75
    guidance_scale: float = 7.5
    guidance_scale_outside: float | None = None
    guidance_schedule: Literal["constant", "linear_up", "linear_down", "cosine_up", "cosine_down", "interval"] = (
        "constant"
    )
    guidance_sigma_low: float = 0.28
    guidance_sigma_high: float = 5.42
    num_inference_steps: int = 50
    eta: float = 0.0
    sampler: Literal["ddim", "ddpm", "printed"] = "ddim"
    schedule: Literal["cosine", "constant", "step", "printed", "none"] = "cosine"
    constant: float = 0.5
    polarity: Literal["hold", "release", "printed"] = "hold"
    mode: Literal["per_step", "cumulative", "x0"] = "per_step"
    source_latent: Literal["shared", "independent", "implied", "inverted", "current"] = "shared"
    dilation: Literal["scaled", "cells", "pixels", "none"] = "scaled"
    composite: Literal["soft", "locked"] = "soft"
    feather: int = 2

    def __post_init__(self) -> None:
        check_sampling(self)
        check_range(self, "guidance_scale_outside", 0.0)
        check_range(self, "guidance_sigma_low", 0.0)
        check_range(self, "guidance_sigma_high", self.guidance_sigma_low)
        check_range(self, "constant", 0.0, 1.0)
        check_range(self, "feather", 0)
        if self.mode == "cumulative" and self.schedule == "printed":
            raise UserError(
                "hyperparameter 'mode': 'cumulative' needs a schedule that never rises, but 'printed' rises. "
                "Use mode 'per_step' with it."
            )


def edit(model: Any, batch: EditBatch, params: MaskGuidedParams) -> Float[Tensor, "batch 3 height width"]:
    """Edit a batch: two forwards a step with guidance, one without, none where the source replaces the result."""
    import torch

    from editfrontier.diffusion import blending, sampling

    assert batch.masks is not None
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        edited = sampling.decode(model, edit_latents(model, clean, batch, params))
    if params.composite == "soft":
        return edited
    return blending.paste(edited, batch.images, batch.masks, params.feather)


def edit_latents(model: Any, clean: Tensor, batch: EditBatch, params: MaskGuidedParams) -> Tensor:
    """Run the blended trajectory.

    Args:
        clean: [B, C, h, w] scaled latents of the sources.
        batch: masks, captions and generators; the noise that a case starts with is its generator's first draw.

    Returns:
        [B, C, h, w] scaled latents of the edits.
    """
    from editfrontier.diffusion import blending, guidance, sampling

    assert batch.masks is not None
    scheduler = sampling.make_scheduler(model.scheduler.config, "ddpm" if params.sampler == "ddpm" else "ddim")
    prediction = scheduler.config.prediction_type
    timesteps = sampling.image_to_image_timesteps(scheduler, params.num_inference_steps, params.strength)
    steps, size = len(timesteps), (clean.shape[-2], clean.shape[-1])
    weights = blending.step_weights(blending.source_schedule(params.schedule, steps, params.constant), params.mode)
    levels = [sampling.alpha_bar(scheduler, timestep) for timestep in [*timesteps, -1]]
    scales = guidance.step_scales(
        params.guidance_schedule,
        _guidance(params, blending.latent_mask(batch.masks, size)),
        levels[:-1],
        (params.guidance_sigma_low, params.guidance_sigma_high),
    )
    text = sampling.encode_text(model, batch.target_captions, any(map(guidance.needs_empty_prompt, scales)))
    text_alone = replace(text, empty=None)

    noise = sampling.case_noise(clean.shape, batch.generators, clean.device)
    trajectory = _inverted(model, clean, params, steps, batch) if params.source_latent == "inverted" else None
    latents = trajectory[0] if trajectory else sampling.add_noise(clean, noise, levels[0])
    for step, (timestep, weight) in enumerate(zip(timesteps, weights, strict=True), start=1):
        level, next_level = levels[step - 1 : step + 1]
        if params.source_latent == "current":
            source = latents
        elif step == steps:
            source = clean
        elif trajectory:
            source = trajectory[step]
        else:
            if params.source_latent == "independent":
                noise = sampling.case_noise(clean.shape, batch.generators, clean.device)
            elif params.source_latent == "implied":
                noise = _implied_noise(latents, clean, level)
            source = sampling.add_noise(clean, noise, next_level)
        if weight == 1.0 and params.polarity == "hold" and params.mode != "x0":
            latents = source
            continue
        cells = blending.editable_cells(batch.masks, size, step, steps, params.dilation)
        held, blended = blending.region_weights(cells, weight, params.polarity)
        scale = scales[step - 1]
        prompts = text if guidance.needs_empty_prompt(scale) else text_alone
        output = sampling.guided_output(model, latents, timestep, prompts, scale)
        if params.mode == "x0":
            estimate, _ = sampling.split_output(prediction, output, latents, level)
            estimate = blending.mix(clean, estimate, blended)
            # The noise has to follow from the new estimate; the old one would push away from the edit.
            output = sampling.join_output(prediction, estimate, _implied_noise(latents, estimate, level), level)
        if params.sampler == "printed":
            _, noise_estimate = sampling.split_output(prediction, output, latents, level)
            stepped = sampling.printed_step(noise_estimate, latents, level, next_level)
        else:
            stepped = sampling.denoise_step(
                scheduler, output, timestep, latents, eta=params.eta, generators=batch.generators
            )
        latents = blending.mix(source, stepped, held if params.mode == "x0" else held + blended)
    return latents


def _implied_noise(latents: Tensor, clean: Tensor, level: float) -> Tensor:
    """Return the noise that latents hold if `clean` is under it, at alpha_bar = `level`."""
    return (latents - level**0.5 * clean) / (1.0 - level) ** 0.5


def _guidance(params: MaskGuidedParams, cells: Tensor) -> float | Tensor:
    """Return the guidance scale, a map [B, 1, h, w] if it differs by region."""
    inside, outside = params.guidance_scale, params.guidance_scale_outside
    if outside is None or outside == inside:
        return inside
    return inside * cells + outside * (1.0 - cells)


def _inverted(model: Any, clean: Tensor, params: MaskGuidedParams, steps: int, batch: EditBatch) -> list[Tensor]:
    """Return the latents of the source's DDIM inversion at each of `steps` levels, then the clean ones."""
    from editfrontier.diffusion import sampling
    from editfrontier.editing.methods.source_inversion import invert_sources

    for case_id, caption in zip(batch.case_ids, batch.source_captions, strict=True):
        sampling.check_prompt(model.tokenizer, caption, f"case {case_id}, source_caption")
    total = params.num_inference_steps
    trajectory = invert_sources(model, clean, batch, "ddim", total, total - steps)
    # In one memory layout, computed or cached: convolutions round by it.
    return [latents.contiguous() for latents in trajectory.latents]


EDITOR = Editor(
    name="mask_guided",
    label="Mask-guided",
    colour="#0072B2",
    marker="o",
    params=MaskGuidedParams,
    edit=edit,
    needs=frozenset({"target_caption", "mask"}),
    model="text_to_image",
)
