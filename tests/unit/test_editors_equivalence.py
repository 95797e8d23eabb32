"""Special cases of our editors equal diffusers' pipelines, to 1e-4 in [-1, 1], on random networks in float32."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
)
from torch import Tensor

from editfrontier.diffusion import branches, sampling
from editfrontier.editing.editor import EditBatch, get_editor, make_params
from tiny_pipelines import SIZE, fresh_generators, tiny_batch, tiny_pipeline

TOLERANCE = 1e-4
STEPS = 20


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def run(name: str, model: Any, batch: EditBatch, **overrides: Any) -> Tensor:
    editor = get_editor(name)
    if "num_inference_steps" in editor.params.__dataclass_fields__:
        overrides = {"num_inference_steps": STEPS, **overrides}
    return editor.edit(
        model, replace(batch, generators=fresh_generators(len(batch.images))), make_params(editor, overrides)
    )


def whole(batch: EditBatch, value: float) -> EditBatch:
    assert batch.masks is not None
    return replace(batch, masks=torch.full_like(batch.masks, value))


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def img2img(model: Any, batch: EditBatch, image: Tensor, strength: float, guidance: float = 7.5) -> Tensor:
    """diffusers itself, with its own scheduler object and its own decoding to [0, 1]."""
    pipeline = StableDiffusionImg2ImgPipeline(**model.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        prompt=batch.target_captions,
        image=image,
        strength=strength,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=fresh_generators(len(batch.images)),
        output_type="pt",
    )
    return output.images * 2 - 1


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_mask_of_everything_without_blending_is_image_to_image(model: Any, guidance: float) -> None:
    batch = whole(tiny_batch(), 1.0)
    # The pipeline is given the latents: from images it would draw a posterior sample where we take the mode.
    expected = img2img(model, batch, sampling.encode(model, batch.images), 0.5, guidance)
    made = run("mask_guided", model, batch, schedule="none", strength=0.5, guidance_scale=guidance)
    assert difference(made, expected) < TOLERANCE
    assert difference(made, run("autoencoder_round_trip", model, batch)) > 0.05


def test_sdedit_is_image_to_image_from_images(model: Any) -> None:
    batch = tiny_batch()
    expected = img2img(model, batch, batch.images / 2 + 0.5, 0.5)
    assert difference(run("sdedit", model, batch, posterior="sample"), expected) < TOLERANCE
    latents = img2img(model, batch, sampling.encode(model, batch.images), 0.5)
    assert difference(run("sdedit", model, batch), latents) < TOLERANCE


def test_without_blending_it_is_inpainting_with_a_four_channel_denoiser(model: Any) -> None:
    batch = tiny_batch()
    pipeline = StableDiffusionInpaintPipeline(**model.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    source = sampling.encode(model, batch.images)
    output = pipeline(
        prompt=batch.target_captions,
        image=source,
        mask_image=batch.masks,
        masked_image_latents=torch.zeros_like(source),  # only a 9-channel denoiser reads them
        height=SIZE,
        width=SIZE,
        strength=0.75,
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        generator=fresh_generators(),
        output_type="pt",
    )
    made = run("mask_guided", model, batch, schedule="none", dilation="none")
    assert difference(made, output.images * 2 - 1) < TOLERANCE


def test_sd_inpaint_and_instruct_pix2pix_are_the_pipelines() -> None:
    batch = tiny_batch()
    inpainting = tiny_pipeline("inpainting")
    source = sampling.encode(inpainting, batch.images)
    assert batch.masks is not None
    expected = inpainting(
        prompt=batch.target_captions,
        image=source,
        mask_image=batch.masks,
        masked_image_latents=sampling.encode(inpainting, batch.images * (1 - batch.masks)),
        height=SIZE,
        width=SIZE,
        num_inference_steps=STEPS,
        generator=fresh_generators(),
        output_type="pt",
        strength=1.0,
    ).images
    assert difference(run("sd_inpaint", inpainting, batch), expected * 2 - 1) < TOLERANCE

    instructed = tiny_pipeline("instruct_pix2pix")
    assert isinstance(instructed, StableDiffusionInstructPix2PixPipeline)
    expected = instructed(
        prompt=batch.instructions,
        image=batch.images / 2 + 0.5,
        num_inference_steps=STEPS,
        generator=fresh_generators(),
        output_type="pt",
    ).images
    assert difference(run("instruct_pix2pix", instructed, batch), expected * 2 - 1) < TOLERANCE


@pytest.mark.parametrize(
    ("guidance", "image_guidance", "forwards"), [(7.5, 1.5, 3), (1.0, 1.5, 3), (7.5, 1.0, 2), (2.0, 2.0, 2), (1, 1, 1)]
)
def test_instruct_pix2pix_makes_no_forward_that_its_guidance_weighs_by_zero(
    guidance: float, image_guidance: float, forwards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edits are those of all three; a batch of other size may round otherwise."""
    model, counter = tiny_pipeline("instruct_pix2pix"), sampling.ForwardCounter()
    counter.attach(model.unet)
    settings = {"guidance_scale": guidance, "image_guidance_scale": image_guidance}
    made = run("instruct_pix2pix", model, tiny_batch(), **settings)
    assert counter.samples == 2 * STEPS * forwards
    monkeypatch.setattr(branches, "only", lambda *_: nullcontext())
    assert difference(run("instruct_pix2pix", model, tiny_batch(), **settings), made) < TOLERANCE
    assert counter.samples == 2 * STEPS * (forwards + 3)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step", "none"])
@pytest.mark.parametrize("mode", ["per_step", "cumulative", "x0"])
def test_empty_mask_gives_the_autoencoder_round_trip(model: Any, schedule: str, mode: str) -> None:
    batch = whole(tiny_batch(), 0.0)
    made = run("mask_guided", model, batch, schedule=schedule, mode=mode)
    assert difference(made, run("autoencoder_round_trip", model, batch)) < TOLERANCE


@pytest.mark.parametrize("mode", ["per_step", "cumulative", "x0"])
def test_step_schedule_is_sdedit_at_half_the_strength(model: Any, mode: str) -> None:
    batch = whole(tiny_batch(), 1.0)
    made = run("mask_guided", model, batch, schedule="step", strength=0.8, mode=mode)
    assert difference(made, run("sdedit", model, batch, strength=0.4)) < TOLERANCE


def test_ancestral_sampling_matches_the_pipeline_with_a_ddpm_scheduler(model: Any) -> None:
    batch = whole(tiny_batch(), 1.0)
    made = run("mask_guided", model, batch, schedule="none", strength=0.5, sampler="ddpm")
    assert difference(made, run("sdedit", model, batch, sampler="ddpm")) < TOLERANCE
    assert difference(made, run("sdedit", model, batch)) > 0.01
    noisy = run("mask_guided", model, batch, schedule="none", strength=0.5, eta=1.0)
    assert difference(noisy, run("sdedit", model, batch, eta=1.0)) < TOLERANCE


def test_guidance_outside_acts_outside_only(model: Any) -> None:
    batch = tiny_batch()
    same = run("mask_guided", model, batch, schedule="none", polarity="release")
    assert (
        difference(
            run("mask_guided", model, batch, schedule="none", polarity="release", guidance_scale_outside=7.5), same
        )
        == 0
    )
    assert (
        difference(
            run("mask_guided", model, batch, schedule="none", polarity="release", guidance_scale_outside=1.0), same
        )
        > 1e-3
    )
