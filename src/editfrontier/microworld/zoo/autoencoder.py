"""Training and scoring of the zoo's `AutoencoderKL`s: 64x64 RGB to 16x16 latents, no attention.

One has 4 channels, like Stable Diffusion's; the other, in the layout of FLUX, has 16, no 1x1 convolutions around the
latents, and a shift in addition to the scale.

Loss: L1 + MSE + L1 of image gradients (crisp edges) + a small KL term, as in the first stage of latent diffusion
(Rombach et al., 2022) without its discriminator, which images of flat shapes do not need.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.zoo.data import TrainingData, image_grid, rows_for_step, to_float, to_uint8
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, train

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

log = logging.getLogger(__name__)


def build_autoencoder(config: Mapping[str, Any]) -> AutoencoderKL:
    """Build a model of the config's `channels`, `layers` and `latent_channels`; 4x4 pixels make a latent."""
    from diffusers import AutoencoderKL

    levels = len(config["channels"])
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=config["latent_channels"],
        block_out_channels=tuple(config["channels"]),
        layers_per_block=config["layers"],
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=16,
        sample_size=64,
        mid_block_add_attention=False,
        force_upcast=False,
        use_quant_conv=config.get("quant_conv", True),
        use_post_quant_conv=config.get("quant_conv", True),
    )


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(output: Tensor, target: Tensor, gradient: float) -> Tensor:
    """Return L1 + MSE + `gradient` times the L1 of finite differences, in [-1, 1] units."""
    loss = (output - target).abs().mean() + (output - target).pow(2).mean()
    if gradient:
        pairs = zip(_gradients(output), _gradients(target), strict=True)
        loss = loss + gradient * torch.stack([(a - b).abs().mean() for a, b in pairs]).sum()
    return loss


def train_autoencoder(
    name: str, config: Mapping[str, Any], data: TrainingData, work: Path
) -> tuple[AutoencoderKL, TrainResult]:
    """Train the autoencoder `name` on `data`; return the model with averaged weights, and the result.

    scaling_factor is 1 / std of the latents; with `shift` in the config, shift_factor is their mean, otherwise None.
    """
    settings = TrainSettings(**config["train"])
    torch.manual_seed(stable_seed("train", name, "init", settings.seed))
    model = build_autoencoder(config)
    batch = int(config["batch"])

    def batch_fn(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = rows_for_step(len(data.images), batch, step, name, settings.seed)
        images = to_float(data.images[rows])
        flip = torch.rand(len(rows), generator=generator) < 0.5
        images[flip] = images[flip].flip(-1)
        noise = torch.randn(len(rows), config["latent_channels"], 16, 16, generator=generator)
        return images.to(settings.device), noise.to(settings.device)

    def loss_fn(model: Any, inputs: tuple[Tensor, Tensor]) -> Tensor:
        images, noise = inputs
        posterior = model.encode(images).latent_dist
        output = model.decode(posterior.mean + posterior.std * noise).sample
        kl = posterior.kl().mean() / noise[0].numel()
        return reconstruction_loss(output.float(), images, config["gradient"]) + config["kl"] * kl.float()

    shown = to_float(data.images[torch.linspace(0, len(data.images) - 1, 16).long()])

    def show(step: int, model: Any) -> None:
        with torch.no_grad():
            output = model.decode(model.encode(shown.to(settings.device)).latent_dist.mode()).sample.cpu()
        log.info("%s: step %d PSNR on 16 training images %.2f dB", name, step, psnr(output, shown).mean())
        image_grid(torch.cat([to_uint8(shown), to_uint8(output)]), 16, work / "samples" / f"{step:06d}.png")

    result = train(name, model, batch_fn, loss_fn, settings, work, [(200, show)])
    model.cpu()
    rows = torch.linspace(0, len(data.images) - 1, 2048).long().unique()
    latents = encode_images(model, data.images[rows])
    model.register_to_config(scaling_factor=round(float(1 / latents.std()), 6))
    if config.get("shift"):
        model.register_to_config(shift_factor=round(float(latents.mean()), 6))
    return model, result


@torch.no_grad()
def encode_images(model: AutoencoderKL, images: Tensor, batch: int = 64, *, bf16: bool = False) -> Tensor:
    """Encode uint8 [N, 3, 64, 64] to posterior means, unscaled, fp32 [N, C, 16, 16]."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        blocks = [model.encode(to_float(part).to(model.device)).latent_dist.mode() for part in images.split(batch)]
    return torch.cat([block.float().cpu() for block in blocks])


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Return the PSNR of each image, in dB, of [B, 3, H, W] in [-1, 1] after rounding to uint8."""
    error = (to_uint8(output).float() - to_uint8(target).float()).pow(2).mean((1, 2, 3)).clamp_min(1e-6)
    return 10 * torch.log10(255.0**2 / error)


@torch.no_grad()
def score_autoencoder(model: AutoencoderKL, images: Tensor, prefix: str = "") -> dict[str, float]:
    """Return mean PSNR (dB), SSIM and L1 (in [-1, 1] units) of the round trip of uint8 [N, 3, 64, 64]."""
    values: dict[str, list[float]] = {"psnr": [], "ssim": [], "l1": []}
    for block in images.split(64):
        source = to_float(block)
        output = model.decode(model.encode(source).latent_dist.mode()).sample.clamp(-1, 1)
        values["psnr"] += psnr(output, source).tolist()
        values["l1"] += (output - source).abs().mean((1, 2, 3)).tolist()
        for a, b in zip(to_uint8(output).numpy(), block.numpy(), strict=True):
            values["ssim"].append(float(structural_similarity(a, b, channel_axis=0, data_range=255)))
    return {prefix + name: round(float(np.mean(value)), 4) for name, value in values.items()}
