"""Sampling of UltraEdit (Zhao et al., NeurIPS 2024): Stable Diffusion 3 that also reads an image, and maybe a mask.

These weights have a latent convention of their own. Noisy latents are the autoencoder's mode times the scaling factor,
without the shift of Stable Diffusion 3; the latents of the image and of the mask are the bare mode. Decoding divides by
the scaling factor only. The community pipeline of diffusers shifts, which is another model's convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.diffusion.guidance import instruction_weights

LONGEST_TEXT = 256
"""Tokens that T5 is asked for at most; a model with a shorter `tokenizer_3.model_max_length` gets that."""


@dataclass(frozen=True)
class Branch:
    """One of the three predictions that guidance combines: its weight, and whether it sees instruction and image."""

    weight: float
    text: bool
    image: bool


def branches(guidance: float, image_guidance: float) -> list[Branch]:
    """Return the predictions that guidance needs, which have a weight other than 0, in the order of a batch."""
    text_and_image, image_alone, nothing = instruction_weights(guidance, image_guidance)
    every = [
        Branch(text_and_image, text=True, image=True),
        Branch(image_alone, text=False, image=True),
        Branch(nothing, text=False, image=False),
    ]
    return [branch for branch in every if branch.weight != 0.0]


def raw_latents(model: Any, images: Tensor) -> Tensor:
    """Encode images [B, 3, H, W] in [-1, 1] to the mode of their latents [B, C, h, w], neither shifted nor scaled."""
    return model.vae.encode(images.to(model.vae.dtype)).latent_dist.mode().float()


def decode_unshifted(model: Any, latents: Tensor) -> Tensor:
    """Decode latents [B, C, h, w], scaled but not shifted, to images [B, 3, H, W] clamped to [-1, 1], float32."""
    scaled = (latents / model.vae.config.scaling_factor).to(model.vae.dtype)
    return model.vae.decode(scaled, return_dict=False)[0].float().clamp(-1.0, 1.0)


def text_limit(model: Any) -> int:
    """Return how many tokens of an instruction the model's T5 reads."""
    return min(int(model.tokenizer_3.model_max_length), LONGEST_TEXT)


def conditions(model: Any, images: Tensor, masks: Tensor | None) -> Tensor:
    """Return what the transformer reads in addition to the noisy latents, [B, C, h, w]; with a mask [B, 2 C, h, w].

    Args:
        model: a Stable Diffusion 3 pipeline with a transformer of 32 or, with a mask, 48 channels.
        images: [B, 3, H, W] in [-1, 1].
        masks: [B, 1, H, W] in {0, 1}, 1 = editable; encoded as a black and white image.

    Raises:
        UserError: the transformer takes another number of channels.
    """
    latents = [raw_latents(model, images)]
    if masks is not None:
        latents.append(raw_latents(model, (2.0 * masks - 1.0).expand(-1, 3, -1, -1)))
    channels, expected = model.transformer.config.in_channels, (1 + len(latents)) * latents[0].shape[1]
    if channels != expected:
        raise UserError(
            f"transformer/config.json: in_channels is {channels}, expected {expected} for UltraEdit "
            f"{'with' if masks is not None else 'without'} a mask. Use the model of the other editor."
        )
    return torch.cat(latents, dim=1)


def encode_instructions(model: Any, instructions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embed instructions: (prompt [B, L, D], empty prompt, pooled prompt [B, P], pooled empty prompt), float32.

    Raises:
        UserError: an instruction is longer than what T5 reads.
    """
    limit = text_limit(model)
    for instruction in instructions:
        used = len(model.tokenizer_3(instruction, verbose=False).input_ids)
        if used > limit:
            raise UserError(f"instruction: {used} tokens, expected at most {limit}. Shorten the text.")
    texts = list(instructions)
    prompt, empty, pooled, pooled_empty = model.encode_prompt(
        texts, None, None, device=model.transformer.device, max_sequence_length=limit
    )
    return prompt.float(), empty.float(), pooled.float(), pooled_empty.float()


def sample(
    model: Any,
    condition: Tensor,
    instructions: Sequence[str],
    generators: Sequence[torch.Generator],
    steps: int,
    guidance: float,
    image_guidance: float,
) -> Tensor:
    """Sample edited latents from pure noise by Euler steps of the model's own flow-matching schedule.

    Args:
        generators: one a case; its first draw is the noise.
        guidance: w_T.
        image_guidance: w_I.

    Returns:
        [B, C, h, w] latents for `decode_unshifted`.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    device, predictions = condition.device, branches(guidance, image_guidance)
    prompt, empty, pooled, pooled_empty = encode_instructions(model, instructions)
    states = torch.cat([prompt if branch.text else empty for branch in predictions])
    pooled_states = torch.cat([pooled if branch.text else pooled_empty for branch in predictions])
    read = torch.cat([condition if branch.image else torch.zeros_like(condition) for branch in predictions])

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(steps, device=device)
    shape = (len(condition), model.transformer.config.out_channels, *condition.shape[-2:])
    latents = sampling.case_noise(shape, generators, device)
    for timestep in scheduler.timesteps:
        velocity = model.transformer(
            hidden_states=torch.cat([torch.cat([latents] * len(predictions)), read], dim=1),
            timestep=timestep.expand(len(read)),
            encoder_hidden_states=states,
            pooled_projections=pooled_states,
            return_dict=False,
        )[0].float()
        parts = velocity.chunk(len(predictions))
        guided = torch.stack([branch.weight * part for branch, part in zip(predictions, parts, strict=True)]).sum(0)
        latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
    return latents
