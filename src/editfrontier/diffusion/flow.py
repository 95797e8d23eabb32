"""The sampling core of rectified-flow models in the layout of FLUX: times, text, packing, velocity.

A flow model predicts the velocity noise - clean along x_t = (1 - t) clean + t noise, for times t from 1 (noise) to 0.
Latents are [B, C, h, w] float32 everywhere; only this module packs them into the transformer's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editfrontier.base.errors import UserError

LONGEST_TEXT = 512
"""Most tokens for FLUX.1-dev's T5; a model with a shorter `tokenizer_2.model_max_length` gets that."""


@dataclass(frozen=True)
class FlowText:
    """Embeddings of prompts: tokens [B, L, D], pooled [B, P], position ids [L, 3]."""

    prompt: Tensor
    pooled: Tensor
    ids: Tensor

    def repeat(self, times: int) -> FlowText:
        """Repeat the embeddings of the whole batch, for branches that run side by side."""
        return FlowText(self.prompt.repeat(times, 1, 1), self.pooled.repeat(times, 1), self.ids)


def flow_times(model: Any, size: tuple[int, int], steps: int) -> list[float]:
    """Return the steps + 1 times of a trajectory, from 1 to 0, spaced as in `FluxPipeline`.

    Equal steps are shifted towards noise by exp(mu) / (exp(mu) + 1 / t - 1), where mu grows linearly with the number of
    image tokens (dynamic shift).

    Args:
        model: a pipeline with a `FlowMatchEulerDiscreteScheduler`.
        size: height and width of the latents; one token is 2 x 2 of them.
        steps: number of steps, at least 1.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    if steps < 1:
        raise UserError(f"hyperparameter 'num_inference_steps': {steps}, expected at least 1. Correct the value.")
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(model.scheduler.config)
    mu = None
    if scheduler.config.use_dynamic_shifting:
        spacing = (("base_image_seq_len", 256), ("max_image_seq_len", 4096), ("base_shift", 0.5), ("max_shift", 1.15))
        tokens = (size[0] // 2) * (size[1] // 2)
        mu = calculate_shift(tokens, *(scheduler.config.get(key, default) for key, default in spacing))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), mu=mu)
    return [float(sigma) for sigma in scheduler.sigmas]


def text_limit(model: Any) -> int:
    """Return the number of tokens of a prompt that the model's T5 reads."""
    return min(int(model.tokenizer_2.model_max_length), LONGEST_TEXT)


def encode_flow_text(model: Any, prompts: Sequence[str], max_length: int | None = None) -> FlowText:
    """Embed prompts as `FluxPipeline` does.

    Args:
        model: a FLUX pipeline.
        prompts: one a case.
        max_length: tokens of the T5 prompt; None = `text_limit`.
    """
    prompt, pooled, ids = model.encode_prompt(
        list(prompts), None, device=model.transformer.device, max_sequence_length=max_length or text_limit(model)
    )
    return FlowText(prompt.float(), pooled.float(), ids.float())


def pack(latents: Tensor) -> Tensor:
    """Turn latents [B, C, h, w] into tokens [B, h/2 * w/2, 4 C]."""
    from diffusers import FluxPipeline

    return FluxPipeline._pack_latents(latents, *latents.shape)


def unpack(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn tokens [B, h/2 * w/2, 4 C] into latents [B, C, h, w] of the given height and width."""
    from diffusers import FluxPipeline

    return FluxPipeline._unpack_latents(tokens, *size, vae_scale_factor=1)


def velocity(
    model: Any,
    latents: Tensor,
    time: float,
    text: FlowText,
    guidance: float | Tensor = 1.0,
    joint_attention_kwargs: dict[str, Any] | None = None,
) -> Tensor:
    """Run the transformer: the velocity dx/dt [B, C, h, w] at one time.

    Args:
        model: a FLUX pipeline.
        latents: [B, C, h, w].
        time: t in [0, 1]; 1 is pure noise.
        text: embeddings of B prompts.
        guidance: embedded (distilled) guidance scale, a number or one for each sample [B]; models without it ignore it.
        joint_attention_kwargs: arguments of the attention processors.
    """
    from diffusers import FluxPipeline

    batch, _, height, width = latents.shape
    place: dict[str, Any] = {"device": latents.device, "dtype": torch.float32}
    scale = None
    if model.transformer.config.guidance_embeds:
        scale = torch.as_tensor(guidance, **place).expand(batch)
    output = model.transformer(
        hidden_states=pack(latents),
        timestep=torch.full((batch,), time, **place),
        guidance=scale,
        pooled_projections=text.pooled,
        encoder_hidden_states=text.prompt,
        txt_ids=text.ids,
        img_ids=FluxPipeline._prepare_latent_image_ids(batch, height // 2, width // 2, **place),
        joint_attention_kwargs=joint_attention_kwargs,
        return_dict=False,
    )[0]
    return unpack(output, (height, width))
