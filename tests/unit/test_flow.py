"""The flow core against diffusers' own pipeline, and attention control, on a tiny random FLUX."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion import attention, flow, sampling
from tiny_flux import tiny_flux


@pytest.fixture(scope="module")
def model() -> Any:
    """Autoencoder f=4 with a shift, 8x8x4 latents of 32x32 images, 16 tokens of 16 channels, no text encoders."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.25,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0, base_image_seq_len=4)
    pipeline = FluxPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer.eval(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def text(batch: int, length: int = 5) -> flow.FlowText:
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randn(batch, length, 12, generator=generator)
    return flow.FlowText(prompt, torch.randn(batch, 6, generator=generator), torch.zeros(length, 3))


@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_euler_steps_along_the_times_equal_the_pipeline(model: Any, guidance: float) -> None:
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    words = text(2)
    with torch.no_grad():
        expected = model(
            prompt_embeds=words.prompt,
            pooled_prompt_embeds=words.pooled,
            height=32,
            width=32,
            num_inference_steps=6,
            guidance_scale=guidance,
            latents=flow.pack(noise),
            output_type="latent",
        ).images
        latents, times = noise, flow.flow_times(model, (8, 8), 6)
        for time, following in pairwise(times):
            latents = latents + (following - time) * flow.velocity(model, latents, time, words, guidance)
    assert torch.allclose(flow.pack(latents), expected, atol=1e-5)
    assert not torch.allclose(latents, noise, atol=1e-2)


def test_times_fall_from_one_to_zero_and_shift_with_the_number_of_tokens(model: Any) -> None:
    few, many = (flow.flow_times(model, (side, side), 8) for side in (8, 32))
    assert few[0] == 1.0
    assert few[-1] == 0.0
    assert all(a > b for a, b in pairwise(few))
    assert all(a < b for a, b in zip(few[1:-1], many[1:-1], strict=True))  # more tokens, more steps at noise
    with pytest.raises(UserError, match="num_inference_steps"):
        flow.flow_times(model, (8, 8), 0)


def test_packing_is_undone_by_unpacking() -> None:
    latents = torch.randn(2, 4, 6, 8)
    tokens = flow.pack(latents)
    assert tokens.shape == (2, 12, 16)
    assert torch.equal(flow.unpack(tokens, (6, 8)), latents)


def test_guidance_may_differ_by_sample(model: Any) -> None:
    noise = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        both = flow.velocity(model, noise, 0.7, text(2), torch.tensor([1.0, 4.0]))
        each = [flow.velocity(model, noise, 0.7, text(2), guidance)[i] for i, guidance in enumerate((1.0, 4.0))]
    assert torch.allclose(both, torch.stack(each), atol=1e-5)


def test_latents_honour_the_shift(model: Any) -> None:
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        raw = model.vae.encode(images).latent_dist.mode()
        latents = sampling.encode(model, images)
        assert torch.allclose(latents, (raw - 0.25) * 0.5, atol=1e-6)
        assert torch.allclose(sampling.decode(model, latents), model.vae.decode(raw).sample.clamp(-1, 1), atol=1e-5)


def test_the_denoiser_is_counted_and_asks_for_sides_of_whole_tokens(model: Any) -> None:
    counter = sampling.prepare_model(model, torch.device("cpu"))
    flow.velocity(model, torch.randn(3, 4, 8, 8), 0.5, text(3))
    assert counter.samples == 3
    assert sampling.size_factor(model) == 8
    assert sampling.denoiser(model) is model.transformer


@pytest.mark.parametrize("guidance", [3.3, None])
def test_times_keep_their_digits_in_bfloat16(guidance: float | None) -> None:
    low = tiny_flux()
    if guidance is None:  # as of FLUX.1-schnell
        low.transformer = FluxTransformer2DModel.from_config({**low.transformer.config, "guidance_embeds": False})
    sampling.prepare_model(low, torch.device("cpu"), "bfloat16")
    asked: list[Tensor] = []
    embedding = low.transformer.time_text_embed
    embedding.time_proj.register_forward_pre_hook(lambda module, args: asked.append(args[0]))
    text = flow.encode_flow_text(low, ["a face", "a hat"])
    found = flow.velocity(low, torch.randn(2, 4, 8, 8), 0.8765, text, 1.0 if guidance is None else guidance)
    assert found.dtype == torch.float32
    expected = [876.5] if guidance is None else [876.5, 1000 * guidance]
    assert [one.tolist() for one in asked] == [pytest.approx([value] * 2, rel=1e-6) for value in expected]


def test_processors_are_swapped_for_a_while(model: Any) -> None:
    layers = attention.self_attention(model.transformer)
    assert len(layers) == 4
    before = {name: layer.processor for name, layer in layers.items()}
    calls: list[str] = []

    def make(name: str, layer: Any, processor: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return processor(*args, **kwargs)

        return noted

    noise, words = torch.randn(1, 4, 8, 8), text(1)
    plain = flow.velocity(model, noise, 0.5, words)
    with attention.controlled(layers, make) as count:
        assert count == 4
        assert torch.equal(flow.velocity(model, noise, 0.5, words), plain)
    assert calls == list(layers)
    assert {name: layer.processor for name, layer in layers.items()} == before


def test_control_of_nothing_and_unknown_blocks_are_errors(model: Any) -> None:
    with pytest.raises(UserError, match="there is no layer to control"), attention.controlled({}, lambda *_: None):
        pass
    assert set(attention.named_blocks(model.transformer, ["transformer_blocks.1"])) == {"transformer_blocks.1"}
    with pytest.raises(UserError, match=r"no block 'transformer_blocks.7'.*Choose a block"):
        attention.named_blocks(model.transformer, ["transformer_blocks.7"])
