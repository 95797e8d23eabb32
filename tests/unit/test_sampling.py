"""Noise levels, guidance, text limits and the forward counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from editfrontier.base.errors import EditorError, UserError
from editfrontier.base.precision import choose_device
from editfrontier.diffusion import sampling
from tiny_pipelines import TOKENS, fresh_generators, tiny_batch, tiny_pipeline


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def test_scheduler_overrides_what_other_classes_leave_out() -> None:
    euler_ancestral = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": True}
    scheduler = sampling.make_scheduler(euler_ancestral)
    assert not scheduler.config.clip_sample
    assert not scheduler.config.set_alpha_to_one
    assert scheduler.config.prediction_type == "epsilon"
    assert sampling.image_to_image_timesteps(scheduler, 50, 0.5)[0] == 481
    assert sampling.alpha_bar(scheduler, 481) ** 0.5 == pytest.approx(0.550, abs=1e-3)
    assert sampling.alpha_bar(scheduler, -1) == pytest.approx(1 - 0.00085)
    with pytest.raises(UserError, match="Did you mean 'ddim'"):
        sampling.make_scheduler(euler_ancestral, "ddimm")


@pytest.mark.parametrize("strength", [0.02, 0.3, 0.58, 0.75, 1.0])
def test_timesteps_are_those_of_image_to_image(model: Any, strength: float) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    pipeline = sampling.as_pipeline(model, StableDiffusionImg2ImgPipeline)
    pipeline.scheduler.set_timesteps(50)
    expected, count = pipeline.get_timesteps(50, strength, "cpu")
    made = sampling.image_to_image_timesteps(sampling.make_scheduler(model.scheduler.config), 50, strength)
    assert made == expected.tolist()
    assert len(made) == count


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_estimates_recover_latents_and_noise(prediction: str) -> None:
    clean, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    noisy = sampling.add_noise(clean, noise, 0.3)
    output = sampling.join_output(prediction, clean, noise, 0.3)
    estimates = sampling.split_output(prediction, output, noisy, 0.3)
    assert torch.allclose(estimates[0], clean, atol=1e-5)
    assert torch.allclose(estimates[1], noise, atol=1e-5)


def test_noise_of_a_case_does_not_depend_on_its_batch() -> None:
    together = sampling.case_noise((3, 4, 8, 8), fresh_generators(3), torch.device("cpu"))
    alone = sampling.case_noise((1, 4, 8, 8), fresh_generators(3)[2:], torch.device("cpu"))
    assert torch.equal(together[2:], alone)


@pytest.mark.parametrize(("shape", "count"), [((4, 8, 8), 8), ((4, 8, 8), 3), ((1, 4, 8, 8), 2), ((), 1)])
def test_noise_without_the_size_of_the_batch_is_refused(shape: tuple[int, ...], count: int) -> None:
    """Eight cases of four channels would share their noise without a word, three would break."""
    with pytest.raises(EditorError, match=rf"case_noise: .* for {count} generators, expected \({count}, \.\.\.\)"):
        sampling.case_noise(shape, fresh_generators(count), torch.device("cpu"))


def test_guidance_is_one_call_with_two_forwards_and_one_forward_without(model: Any) -> None:
    counter = sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    latents = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        text = sampling.encode_text(model, ["hat", "old"], True)
        guided = sampling.guided_output(model, latents, 100, text, 3.0)
        assert counter.samples == 4
        plain = sampling.guided_output(model, latents, 100, sampling.TextEmbeddings(text.prompt, None), 1.0)
        assert counter.samples == 6
        assert text.empty is not None
        empty = sampling.guided_output(model, latents, 100, sampling.TextEmbeddings(text.empty, None), 1.0)
        by_map = sampling.guided_output(model, latents, 100, text, torch.full((2, 1, 8, 8), 3.0))
    handle.remove()
    assert torch.allclose(guided, empty + 3 * (plain - empty), atol=1e-5)
    assert torch.equal(by_map, guided)


def test_decoding_is_clamped_and_latents_are_scaled(model: Any) -> None:
    images = tiny_batch().images
    with torch.no_grad():
        latents = sampling.encode(model, images)
        assert torch.allclose(latents, model.vae.encode(images).latent_dist.mode() * 0.5)
        assert sampling.decode(model, latents * 1e4).abs().max() <= 1
        sampled = sampling.encode(model, images, "sample", fresh_generators())
        again = sampling.encode(model, images, "sample", fresh_generators())
    assert torch.equal(sampled, again)
    assert not torch.equal(sampled, latents)


def test_prompts_beyond_the_token_limit_are_refused(model: Any) -> None:
    sampling.check_prompt(model.tokenizer, "a" * (TOKENS - 2), "case x")
    with pytest.raises(UserError, match=r"case x, target_caption: 17 tokens, expected at most 16\. Shorten"):
        sampling.check_prompt(model.tokenizer, "a" * (TOKENS - 1), "case x, target_caption")
    with pytest.raises(UserError, match="is empty"):
        sampling.check_prompt(model.tokenizer, " ", "case x, target_caption")


def test_float32_is_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds() -> bool:
        return bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # as PyTorch starts
    choose_device("cpu")
    assert rounds()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device cuda:1: this machine has no usable CUDA device"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda:1") == "cuda:1" and not rounds()  # scores, analyses and masks
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    sampling.prepare_model(tiny_pipeline(), torch.device("cpu"))  # edits
    assert not rounds()


def test_denoiser_in_bfloat16_gives_float32_close_to_the_full_precision() -> None:
    full, half = tiny_pipeline(), tiny_pipeline()
    sampling.prepare_model(full, torch.device("cpu"))
    counter = sampling.prepare_model(half, torch.device("cpu"), "bfloat16")
    latents = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        text = sampling.encode_text(half, ["hat", "old"], True)
        low = sampling.guided_output(half, latents, 100, text, 2.0)
        high = sampling.guided_output(full, latents, 100, text, 2.0)
    assert half.unet.dtype == torch.bfloat16
    assert half.vae.dtype == torch.float32
    assert low.dtype == torch.float32
    assert 0 < (low - high).abs().max() < 0.1
    assert counter.samples == 4
    with pytest.raises(UserError, match="Did you mean 'bfloat16'"):
        sampling.prepare_model(half, torch.device("cpu"), "bfloat6")
