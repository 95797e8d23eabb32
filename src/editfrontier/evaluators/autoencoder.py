"""The autoencoder of latent diffusion as a judge: how far two images are apart where the editors work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editfrontier.errors import UserError
from editfrontier.evaluators.common import batched, check_images, check_precision, scale

BATCH = 64


class AutoencoderEvaluator:
    """Encodes images with an `AutoencoderKL` of diffusers."""

    def __init__(self, vae: Any, device: str = "cpu", precision: str = "fp32") -> None:
        self.vae, self.device = vae.to(device).eval().requires_grad_(False), device
        self.vae.to(memory_format=torch.channels_last)
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> AutoencoderEvaluator:
        """path: folder of an `AutoencoderKL`. Raises UserError if it is not one."""
        from diffusers import AutoencoderKL

        if not (Path(path) / "config.json").is_file():  # the hub would be asked for a name that is no folder
            raise UserError(
                f"{path}: holds no config.json, expected an autoencoder. Point the config at another folder"
            )
        try:
            return cls(
                AutoencoderKL.from_pretrained(path, use_safetensors=True, low_cpu_mem_usage=False), device, precision
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                f"{path}: no autoencoder of diffusers can be read there ({error}). "
                "Run `snakemake zoo`, or `git checkout` the folder"
            ) from error

    def latents(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> modes of their latents [B, C, h, w], less the shift, times the scaling factor."""
        check_images(images)
        shift, factor = float(self.vae.config.shift_factor or 0.0), self.vae.config.scaling_factor

        def encode(x: Tensor) -> Tensor:
            mode: Tensor = self.vae.encode(scale(x)).latent_dist.mode()
            return (mode - shift) * factor

        return batched(encode, images, device=self.device, bf16=self.bf16, batch=BATCH)
