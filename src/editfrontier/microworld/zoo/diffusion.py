"""The networks of the zoo's diffusion models, their loss, and the folders that diffusers loads.

One Stable-Diffusion-class model: a `UNet2DConditionModel` on 16x16x4 latents with cross attention to a small
`CLIPTextModel` that is trained with it. The editing models widen its first convolution, with zeros for the new
channels (Brooks et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editfrontier.microworld.zoo.provenance import save_pipeline_folder

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTokenizer

PIPELINES = {
    "text-to-image": "StableDiffusionPipeline",
    "inpainting": "StableDiffusionInpaintPipeline",
    "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
}


class TextConditioned(nn.Module):
    """UNet and text encoder as one module, which is trained, averaged and saved as a whole."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, sample: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict noise [B, 4, h, w] from sample [B, C, h, w], timesteps int64 [B] and tokens int64 [B, L]."""
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
        """Return the batch on a device."""
        return replace(self, **{name: part.to(device) for name, part in vars(self).items() if part is not None})


def build_scheduler() -> DDIMScheduler:
    """Return DDIM with Stable Diffusion's noise schedule (T = 1000, scaled linear .00085 to .012)."""
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
    """Build a model of the config's `unet` (channels, layers, attention, head_width), `text` (width, layers, heads)."""
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
    # PyTorch's fused attention has a slow backward pass on CPUs; the plain one halves the time of a step here.
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


def widen_input(source: Mapping[str, Tensor], target: nn.Module, name: str = "unet.conv_in.weight") -> None:
    """Load weights into a model whose weight `name` has more input channels; the new channels start at zero."""
    wide = torch.zeros_like(target.state_dict()[name])
    wide[:, : source[name].shape[1]] = source[name]
    target.load_state_dict({**source, name: wide})


def tokenise(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Return tokens int64 [B, L], padded to the longest length that the model takes, as diffusers' pipelines do."""
    encoded = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = encoded.input_ids
    return tokens


def min_snr_weight(alpha_bar: Tensor, gamma: float) -> Tensor:
    """Return the loss weight min(SNR, gamma) / SNR of noise prediction (Hang et al., 2023, eq. 9); alpha_bar [B]."""
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=gamma) / snr


def diffusion_loss(model: nn.Module, batch: DiffusionBatch, alphas: Tensor, gamma: float) -> Tensor:
    """Return the weighted squared error of the noise. alphas: cumulative products, [T]; gamma 0 = no weighting."""
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
    """Write a folder that `from_pretrained` of the pipeline of this kind loads, without a safety checker."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    unet: Any = model.unet
    unet.set_attn_processor(AttnProcessor2_0())
    networks = {"unet": unet, "text_encoder": model.text_encoder, "vae": vae}
    parts = {**networks, "tokenizer": tokenizer, "scheduler": build_scheduler()}
    absent = ("feature_extractor", "image_encoder", "safety_checker")
    save_pipeline_folder(folder, PIPELINES[kind], parts, absent, requires_safety_checker=False)
