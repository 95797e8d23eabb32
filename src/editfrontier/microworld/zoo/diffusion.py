"""The networks of the zoo's diffusion models, their loss, and the folders that diffusers loads.

One Stable-Diffusion-class model: a `UNet2DConditionModel` on 16x16x4 latents with cross attention to a small
`CLIPTextModel` that is trained with it. The editing models widen its first convolution, with zeros for the new
channels (Brooks et al., 2023).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editfrontier.microworld.zoo.provenance import half_precision
from editfrontier.microworld.zoo.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTokenizer

PIPELINES = {
    "text-to-image": "StableDiffusionPipeline",
    "inpainting": "StableDiffusionInpaintPipeline",
    "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
}


class TextConditioned(nn.Module):
    """UNet and text encoder as one module, so that both are trained, averaged and saved together."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, sample: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Noise prediction [B, 4, h, w] for sample [B, C, h, w], timesteps int64 [B] and tokens int64 [B, L]."""
        context = self.text_encoder(tokens)[0]
        output: Tensor = self.unet(sample, timesteps, encoder_hidden_states=context).sample
        return output


@dataclass
class DiffusionBatch:
    """One training batch; `extra` holds the channels beside the noisy latents (mask, image latents) or is None."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    tokens: Tensor
    extra: Tensor | None = None

    def to(self, device: torch.device | str) -> DiffusionBatch:
        """The batch on a device."""
        extra = None if self.extra is None else self.extra.to(device)
        latents, noise, timesteps, tokens = (
            part.to(device) for part in (self.latents, self.noise, self.timesteps, self.tokens)
        )
        return DiffusionBatch(latents, noise, timesteps, tokens, extra)


def build_scheduler() -> DDIMScheduler:
    """DDIM with Stable Diffusion's noise schedule (T = 1000, scaled linear .00085 to .012)."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type="epsilon",
    )


def build_model(config: Mapping[str, Any], tokenizer: CLIPTokenizer, in_channels: int = 4) -> TextConditioned:
    """A new model of the config's `unet` (channels, layers, attention, head_width) and `text` (width, layers,
    heads)."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextConfig, CLIPTextModel

    unet, text = config["unet"], config["text"]
    attends: Sequence[bool] = unet["attention"]
    model = UNet2DConditionModel(
        sample_size=16,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=tuple(unet["channels"]),
        layers_per_block=unet["layers"],
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        cross_attention_dim=text["width"],
        attention_head_dim=tuple(max(1, width // unet["head_width"]) for width in unet["channels"]),
        norm_num_groups=16,
    )
    # PyTorch's fused attention has a slow backward pass on CPUs; the plain one halves the time of a step at these
    # sizes.
    model.set_attn_processor(AttnProcessor())
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text["width"],
            intermediate_size=4 * text["width"],
            projection_dim=text["width"],
            num_hidden_layers=text["layers"],
            num_attention_heads=text["heads"],
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return TextConditioned(model, encoder)


def widen_input(source: Mapping[str, Tensor], target: TextConditioned) -> None:
    """Load the weights of a 4-channel model into one with more input channels; the new channels start at zero."""
    state = {name: value.clone() for name, value in source.items()}
    name = "unet.conv_in.weight"
    old = state[name]
    wide = torch.zeros_like(target.state_dict()[name])
    wide[:, : old.shape[1]] = old
    state[name] = wide
    target.load_state_dict(state)


def tokenise(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Texts -> int64 [B, L], padded to the longest length that the model takes, as diffusers' pipelines do."""
    encoded = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = encoded.input_ids
    return tokens


def min_snr_weight(alpha_bar: Tensor, gamma: float) -> Tensor:
    """Loss weight min(SNR, gamma) / SNR of noise prediction (Hang et al., 2023, eq. 9); alpha_bar is cumulative,
    [B]."""
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / snr


def diffusion_loss(model: nn.Module, batch: DiffusionBatch, alphas: Tensor, gamma: float) -> Tensor:
    """Weighted squared error of the predicted noise. alphas: cumulative products, [T]; gamma 0 = no weighting."""
    alpha_bar = alphas.to(batch.latents.device)[batch.timesteps]
    level = alpha_bar.view(-1, 1, 1, 1)
    sample = level.sqrt() * batch.latents + (1 - level).sqrt() * batch.noise
    if batch.extra is not None:
        sample = torch.cat([sample, batch.extra], dim=1)
    error = (model(sample, batch.timesteps, batch.tokens).float() - batch.noise).pow(2).mean((1, 2, 3))
    if gamma:
        error = error * min_snr_weight(alpha_bar, gamma)
    return error.mean()


def save_pipeline(
    kind: str, model: TextConditioned, vae: AutoencoderKL, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write a folder that `from_pretrained` of the pipeline of this kind loads: fp16 safetensors, no safety checker."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    folder.mkdir(parents=True, exist_ok=True)
    unet: Any = model.unet
    encoder: Any = model.text_encoder
    unet.set_attn_processor(AttnProcessor2_0())
    for part, name in ((unet, "unet"), (encoder, "text_encoder"), (vae, "vae")):
        with half_precision(part):
            part.save_pretrained(str(folder / name), safe_serialization=True)
    save_tokenizer(tokenizer, folder / "tokenizer")
    build_scheduler().save_pretrained(str(folder / "scheduler"))
    from diffusers import __version__

    index = {
        "_class_name": PIPELINES[kind],
        "_diffusers_version": __version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
