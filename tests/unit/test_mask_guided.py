"""What the readings of Algorithm 2 do, on random networks: where the edit goes, its variance, and its forwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier.diffusion import blending, sampling
from editfrontier.editing.editor import EditBatch, get_editor, make_params
from editfrontier.editing.editors.mask_guided import edit_latents
from tiny_pipelines import SIZE, fresh_generators, tiny_batch, tiny_pipeline

STEPS = 12
MADE = 9  # int(12 * 0.75)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def latents_of(model: Any, batch: EditBatch, **overrides: Any) -> tuple[Tensor, Tensor, int]:
    """(source latents, edited latents, forwards per case)."""
    params = make_params(get_editor("mask_guided"), {"num_inference_steps": STEPS, **overrides})
    counter = sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        fresh = replace(batch, generators=fresh_generators(len(batch.images)))
        edited = edit_latents(model, clean, fresh, params)
    handle.remove()
    return clean, edited, counter.samples // len(batch.images)


def change(clean: Tensor, edited: Tensor, cells: Tensor) -> tuple[float, float]:
    """Mean absolute change (inside, outside) of a mask of cells."""
    moved = (edited - clean).abs().mean(1, keepdim=True)
    return float((moved * cells).sum() / cells.sum()), float((moved * (1 - cells)).sum() / (1 - cells).sum())


def cells_of(batch: EditBatch) -> Tensor:
    assert batch.masks is not None
    return blending.latent_mask(batch.masks, (SIZE // 4, SIZE // 4))


def test_hold_keeps_the_source_latents_exactly_outside_the_dilated_mask(model: Any) -> None:
    batch = tiny_batch()
    for overrides in ({}, {"mode": "x0"}, {"source_latent": "independent"}, {"source_latent": "inverted"}):
        clean, edited, _ = latents_of(model, batch, **overrides)
        outside = (blending.dilate(cells_of(batch), 1) == 0).expand_as(clean)
        assert torch.equal(edited[outside], clean[outside])
        assert change(clean, edited, cells_of(batch))[0] > 1e-3


def test_release_frees_the_inside_and_changes_the_outside(model: Any) -> None:
    batch = tiny_batch()
    clean, edited, _ = latents_of(model, batch, polarity="release", dilation="none")
    inside, outside = change(clean, edited, cells_of(batch))
    clean, held, _ = latents_of(model, batch, dilation="none")
    assert inside > change(clean, held, cells_of(batch))[0]
    assert outside > 1e-3


def test_as_printed_it_edits_the_complement_of_the_mask(model: Any) -> None:
    batch = tiny_batch()
    clean, edited, _ = latents_of(model, batch, polarity="printed", schedule="printed", dilation="none")
    inside, outside = change(clean, edited, cells_of(batch))
    assert inside < 0.05 * outside


def test_constant_half_leaves_almost_nothing_per_step_and_a_plain_average_cumulatively(model: Any) -> None:
    batch = tiny_batch()
    moved = {
        mode: change(*latents_of(model, batch, schedule="constant", mode=mode)[:2], cells_of(batch))[0]
        for mode in ("per_step", "cumulative")
    }
    free = change(*latents_of(model, batch, schedule="none")[:2], cells_of(batch))[0]
    assert moved["per_step"] < moved["cumulative"]
    assert moved["cumulative"] == pytest.approx(free / 2, rel=1e-3)


def test_shared_noise_keeps_the_variance_that_independent_noise_loses() -> None:
    """One mixing step at weight 1/2, without a network: E6."""
    clean, level = torch.zeros(4, 4, 64, 64), 0.2
    draws = [torch.randn(clean.shape, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    start, other = (sampling.add_noise(clean, noise, level) for noise in draws)
    half = torch.full((4, 1, 64, 64), 0.5)
    assert blending.mix(start, start, half).std() == pytest.approx(start.std().item(), rel=1e-6)
    assert blending.mix(other, start, half).std() / start.std() == pytest.approx(0.5**0.5, rel=0.02)


def test_the_printed_step_takes_too_little_noise_away() -> None:
    """E2: where the noise is known, DDIM returns the clean latents exactly and the printed step leaves noise behind."""
    clean, noise = torch.ones(1, 4, 64, 64), torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    levels = [0.2, 0.4, 0.7, 0.9, 0.999]
    latents = sampling.add_noise(clean, noise, levels[0])
    for level, next_level in pairwise(levels):
        latents = sampling.printed_step(noise, latents, level, next_level)
    exact = sampling.add_noise(clean, noise, levels[-1])
    assert latents.mean().item() == pytest.approx(exact.mean().item(), abs=0.05)
    assert latents.std() > 3 * exact.std()


def test_implied_noise_is_the_shared_noise_where_nothing_was_edited(model: Any) -> None:
    """E6: both readings of DDIMStep(z_t, x_0, t) agree outside the mask and part inside it."""
    batch = tiny_batch()
    _, shared, _ = latents_of(model, batch, dilation="none")
    clean, implied, _ = latents_of(model, batch, dilation="none", source_latent="implied")
    outside = (cells_of(batch) == 0).expand_as(clean)
    assert torch.equal(shared[outside], implied[outside])
    assert not torch.allclose(shared[~outside], implied[~outside], atol=1e-3)


def test_section_3_as_printed_leaves_the_mask_as_noise(model: Any) -> None:
    """E5: z <- (1 - M) z_{t-1} + M z_t never denoises what lies in the mask."""
    batch = tiny_batch()
    printed = {"polarity": "printed", "schedule": "constant", "constant": 1.0, "source_latent": "current"}
    clean, edited, _ = latents_of(model, batch, dilation="none", **printed)
    noise = sampling.case_noise(clean.shape, fresh_generators(len(clean)), clean.device)
    scheduler = sampling.make_scheduler(model.scheduler.config)
    first = sampling.image_to_image_timesteps(scheduler, STEPS, 0.75)[0]
    start = sampling.add_noise(clean, noise, sampling.alpha_bar(scheduler, first))
    inside = (cells_of(batch) == 1).expand_as(clean)
    assert torch.equal(edited[inside], start[inside])


@pytest.mark.parametrize("mode", ["per_step", "cumulative", "x0"])
def test_latents_keep_the_standard_deviation_of_their_level(mode: str) -> None:
    """With a denoiser that knows the noise, every mix of shared noise stays at the source's own noise level."""
    model = tiny_pipeline()
    batch = tiny_batch()
    noise = sampling.case_noise((2, 4, 8, 8), fresh_generators(), torch.device("cpu"))
    seen: list[tuple[int, Tensor]] = []

    def oracle(noisy: Tensor, timestep: int, encoder_hidden_states: Tensor, return_dict: bool) -> tuple[Tensor]:
        seen.append((timestep, noisy[:2]))
        return (torch.cat([noise, noise]),)

    model.unet.forward = oracle
    clean = latents_of(model, batch, mode=mode, schedule="cosine")[0]
    scheduler = sampling.make_scheduler(model.scheduler.config)
    for timestep, noisy in seen:
        expected = sampling.add_noise(clean, noise, sampling.alpha_bar(scheduler, timestep))
        assert noisy.std().item() == pytest.approx(expected.std().item(), rel=1e-3)
    assert len(seen) == MADE


def test_forwards_are_two_per_step_with_guidance_and_one_without(model: Any) -> None:
    batch = tiny_batch()
    assert latents_of(model, batch)[2] == 2 * MADE
    assert latents_of(model, batch, guidance_scale=1.0)[2] == MADE
    assert latents_of(model, batch, guidance_scale=1.0, guidance_scale_outside=3.0)[2] == 2 * MADE
    assert latents_of(model, batch, source_latent="inverted")[2] == 3 * MADE
    # Held steps come out as the source whatever the network says: it is not asked.
    assert latents_of(model, batch, schedule="step")[2] == 2 * (MADE - MADE // 2)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("sdedit", "text_to_image", 2 * 6),
        ("sd_inpaint", "inpainting", 2 * STEPS),
        ("instruct_pix2pix", "instruct_pix2pix", 3 * STEPS),
    ],
)
def test_forwards_of_the_pipelines(name: str, kind: str, expected: int) -> None:
    model, batch, editor = tiny_pipeline(kind), tiny_batch(), get_editor(name)
    counter = sampling.prepare_model(model, torch.device("cpu"))
    editor.edit(model, batch, make_params(editor, {"num_inference_steps": STEPS}))
    assert counter.samples == expected * 2
    if name == "instruct_pix2pix":  # where diffusers would drop the guidance by the image as well
        editor.edit(model, batch, make_params(editor, {"num_inference_steps": STEPS, "guidance_scale": 1.0}))
        assert counter.samples == 2 * expected * 2


def test_locked_keeps_the_pixels_beyond_the_feather(model: Any) -> None:
    batch, editor = tiny_batch(), get_editor("mask_guided")
    assert batch.masks is not None
    overrides = {"num_inference_steps": STEPS}
    soft = editor.edit(model, replace(batch, generators=fresh_generators()), make_params(editor, overrides))
    locked = editor.edit(
        model, replace(batch, generators=fresh_generators()), make_params(editor, {**overrides, "composite": "locked"})
    )
    far = (blending.dilate(batch.masks, 2) == 0).expand_as(soft)
    assert torch.equal(locked[far], batch.images[far])
    assert not torch.equal(soft[far], batch.images[far])
    inside = (batch.masks == 1).expand_as(soft)
    assert torch.equal(locked[inside], soft[inside])


def test_a_thin_mask_is_edited() -> None:
    model, batch = tiny_pipeline("inpainting"), tiny_batch()
    assert batch.masks is not None
    thin = torch.zeros_like(batch.masks)
    thin[..., 5, 2:30] = 1
    editor = get_editor("sd_inpaint")
    params = make_params(editor, {"num_inference_steps": 2})
    seen: list[Tensor] = []
    model.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    editor.edit(model, replace(batch, masks=thin), params)
    assert seen[0][:, 4].sum() == 4 * 8  # four samples (with guidance) of a row of eight cells
