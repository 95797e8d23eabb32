"""UltraEdit: the loop, the guidance, the latent convention and the mask, on tiny models of the published layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.editing.editor import EditBatch, get_editor, make_params
from editfrontier.editing.methods import ultraedit_sampling
from editfrontier.models.loading import load_pipeline

SIZE = 64
STEPS = 3
TOLERANCE = 1e-4  # of the other equivalences; rounding alone makes 2e-5


@pytest.fixture(scope="module")
def models(hub_model: Callable[[str], Any]) -> dict[str, Any]:
    return {"ultraedit": hub_model("ultraedit_freeform"), "ultraedit_mask": hub_model("ultraedit_mask")}


def batch_of(*cases: int) -> EditBatch:
    """A batch of numbered cases, each the same in any batch."""
    images, masks = [], torch.zeros(len(cases), 1, SIZE, SIZE)
    for place, case in enumerate(cases):
        images.append(torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(case)) * 2 - 1)
        masks[place, :, 8 : 24 + 8 * case, 16:40] = 1.0
    return EditBatch(
        case_ids=[f"case-{case}" for case in cases],
        images=torch.stack(images),
        masks=masks,
        source_captions=["a face"] * len(cases),
        target_captions=["a face with a hat"] * len(cases),
        instructions=[["add a hat", "remove the beard", "make it old"][case] for case in cases],
        generators=[torch.Generator().manual_seed(100 + case) for case in cases],
    )


def run(models: dict[str, Any], name: str, batch: EditBatch, **overrides: Any) -> Tensor:
    editor = get_editor(name)
    result = editor.edit(models[name], batch, make_params(editor, {"num_inference_steps": STEPS, **overrides}))
    assert isinstance(result, Tensor)
    return result


@contextmanager
def calls_of(network: torch.nn.Module) -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []
    handle = network.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    yield seen
    handle.remove()


@torch.no_grad()
def reference(model: Any, batch: EditBatch, masked: bool, w_text: float, w_image: float) -> Tensor:
    """The sampler written out: three calls a step, guidance as InstructPix2Pix states it."""

    def mode(images: Tensor) -> Tensor:
        return model.vae.encode(images).latent_dist.mean

    read = mode(batch.images)
    if masked:
        assert batch.masks is not None
        read = torch.cat([read, mode(batch.masks.repeat(1, 3, 1, 1) * 2 - 1)], dim=1)
    prompt, empty, pooled, pooled_empty = model.encode_prompt(
        batch.instructions, None, None, max_sequence_length=ultraedit_sampling.text_limit(model)
    )
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    scheduler.set_timesteps(STEPS)
    latents = torch.cat([torch.randn(1, 16, SIZE // 8, SIZE // 8, generator=g) for g in batch.generators])

    def velocity(text: Tensor, pooled_text: Tensor, seen: Tensor, timestep: Tensor) -> Tensor:
        return model.transformer(
            torch.cat([latents, seen], dim=1), text, pooled_text, timestep.repeat(len(latents)), return_dict=False
        )[0]

    for timestep in scheduler.timesteps:
        both = velocity(prompt, pooled, read, timestep)
        image = velocity(empty, pooled_empty, read, timestep)
        none = velocity(empty, pooled_empty, torch.zeros_like(read), timestep)
        guided = none + w_text * (both - image) + w_image * (image - none)
        latents = scheduler.step(guided, timestep, latents).prev_sample
    return model.vae.decode(latents / model.vae.config.scaling_factor).sample.clamp(-1, 1)


@pytest.mark.parametrize("name", ["ultraedit", "ultraedit_mask"])
@pytest.mark.parametrize(("w_text", "w_image"), [(7.5, 1.5), (12.5, 1.0), (1.0, 1.0), (2.0, 2.0)])
def test_it_is_the_sampler_written_out(models: dict[str, Any], name: str, w_text: float, w_image: float) -> None:
    made = run(models, name, batch_of(0, 1), guidance_scale=w_text, image_guidance_scale=w_image)
    expected = reference(models[name], batch_of(0, 1), name == "ultraedit_mask", w_text, w_image)
    assert (made - expected).abs().max() < TOLERANCE
    assert made.std() > 0.05


@pytest.mark.parametrize(("w_text", "w_image", "forwards"), [(7.5, 1.5, 3), (7.5, 1.0, 2), (2.0, 2.0, 2), (1, 1, 1)])
def test_forwards_are_three_a_step_and_fewer_where_a_weight_is_zero(
    models: dict[str, Any], w_text: float, w_image: float, forwards: int
) -> None:
    counter = sampling.ForwardCounter()
    handle = counter.attach(models["ultraedit"].transformer)
    run(models, "ultraedit", batch_of(0, 1), guidance_scale=w_text, image_guidance_scale=w_image)
    handle.remove()
    assert counter.samples == 2 * STEPS * forwards


def test_the_batch_is_text_and_image_then_image_then_nothing(models: dict[str, Any]) -> None:
    for name, parts in (("ultraedit", 1), ("ultraedit_mask", 2)):
        with calls_of(models[name].transformer) as seen:
            run(models, name, batch_of(0, 1))
        assert len(seen) == STEPS
        for call in seen:
            both, image, none = call["hidden_states"].chunk(3)
            assert torch.equal(both, image)
            assert torch.equal(none[:, :16], image[:, :16])
            assert none.shape[1] == 16 * (1 + parts)
            assert none[:, 16:].abs().max() == 0 < image[:, 16:].abs().max()
            prompt, empty, still_empty = call["encoder_hidden_states"].chunk(3)
            assert torch.equal(empty, still_empty) and not torch.equal(prompt, empty)
            assert prompt.shape[1] == 77 + ultraedit_sampling.text_limit(models[name]) == 77 + 256


def test_guidance_by_the_image_draws_on_the_image_and_by_the_text_on_the_text(models: dict[str, Any]) -> None:
    def change(**other: Any) -> dict[str, float]:
        """How far another input moves the result, for each kind of guidance."""
        moved = {}
        for kind, scales in {"none": (1.0, 1.0), "image": (1.0, 4.0), "text": (4.0, 1.0)}.items():
            weights = {"guidance_scale": scales[0], "image_guidance_scale": scales[1]}
            here = run(models, "ultraedit", batch_of(0), **weights)
            there = run(models, "ultraedit", replace(batch_of(0), **other), **weights)
            moved[kind] = float((there - here).abs().mean())
        return moved

    by_image, by_text = change(images=batch_of(1).images), change(instructions=["make it old"])
    assert by_image["image"] > 1.2 * by_image["none"]
    assert by_text["text"] > 1.2 * by_text["none"]


def test_latents_are_scaled_but_never_shifted(models: dict[str, Any]) -> None:
    """A transformer that knows the clean latents, mode times scale, leads to the autoencoder's round trip."""
    model, batch = models["ultraedit"], batch_of(0, 1)
    vae = model.vae
    assert vae.config.shift_factor and vae.config.scaling_factor != 1.0
    with torch.no_grad():
        mode = vae.encode(batch.images).latent_dist.mean
        round_trip = vae.decode(mode).sample.clamp(-1, 1)
    read: list[Tensor] = []

    def knows(hidden_states: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:
        read.append(hidden_states[:2, 16:])
        sigma = timestep[:, None, None, None] / 1000
        clean = (mode * vae.config.scaling_factor).repeat(3, 1, 1, 1)
        return ((hidden_states[:, :16] - clean) / sigma,)

    own = model.transformer.forward
    model.transformer.forward = knows
    try:
        made = run(models, "ultraedit", batch)
    finally:
        model.transformer.forward = own
    assert (made - round_trip).abs().max() < TOLERANCE
    assert (read[0] - mode).abs().max() < TOLERANCE  # what it reads of the source is not even scaled


def test_the_mask_is_read_and_everything_is_a_white_one(models: dict[str, Any]) -> None:
    masked = run(models, "ultraedit_mask", batch_of(0, 1))
    white = replace(batch_of(0, 1), masks=torch.ones(2, 1, SIZE, SIZE))
    everywhere = run(models, "ultraedit_mask", batch_of(0, 1), region="everything")
    assert torch.equal(everywhere, run(models, "ultraedit_mask", white))
    assert (masked - everywhere).abs().max() > 1e-3
    with calls_of(models["ultraedit_mask"].transformer) as seen, torch.no_grad():
        run(models, "ultraedit_mask", batch_of(0, 1), region="everything")
        expected = models["ultraedit_mask"].vae.encode(torch.ones(2, 3, SIZE, SIZE)).latent_dist.mean
    assert (seen[0]["hidden_states"][:2, 32:] - expected).abs().max() < TOLERANCE  # white = editable


@pytest.mark.parametrize("name", ["ultraedit", "ultraedit_mask"])
def test_a_case_is_the_same_in_any_batch(models: dict[str, Any], name: str) -> None:
    together = run(models, name, batch_of(0, 1, 2))
    assert (run(models, name, batch_of(2, 2, 0)) - together[[2, 2, 0]]).abs().max() < TOLERANCE
    assert (run(models, name, batch_of(1)) - together[1:2]).abs().max() < TOLERANCE


def test_times_keep_their_digits_in_half_precision(hub_folder: Callable[[str], Path]) -> None:
    model = load_pipeline("ultraedit_freeform", hub_folder("ultraedit_freeform"))
    sampling.prepare_model(model, torch.device("cpu"), "bfloat16")
    with calls_of(model.transformer) as seen:
        made = run({"ultraedit": model}, "ultraedit", batch_of(0))
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    scheduler.set_timesteps(STEPS)
    assert [float(call["timestep"][0]) for call in seen] == scheduler.timesteps.tolist()
    assert {call["hidden_states"].dtype for call in seen} == {torch.bfloat16}
    assert made.dtype == torch.float32 and made.isfinite().all()


def test_bad_input_is_named(models: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"in_channels is 32, expected 48 for UltraEdit with a mask"):
        run({"ultraedit_mask": models["ultraedit"]}, "ultraedit_mask", batch_of(0))
    with pytest.raises(UserError, match=r"in_channels is 48, expected 32 for UltraEdit without a mask"):
        run({"ultraedit": models["ultraedit_mask"]}, "ultraedit", batch_of(0))
    with pytest.raises(UserError, match=r"instruction: \d+ tokens, expected at most 256\. Shorten"):
        run(models, "ultraedit", replace(batch_of(0), instructions=["hat " * 100]))
    with pytest.raises(UserError, match=r"'image_guidance_scale': 0.5, expected at least 1"):
        run(models, "ultraedit", batch_of(0), image_guidance_scale=0.5)
    assert get_editor("ultraedit_mask").needs == {"instruction", "mask"}
