"""The autoencoder of latent diffusion as a judge: how far two images are apart where the editors work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.scoring.networks.common import NetworkEvaluator, scale
from editfrontier.scoring.shapes import Images

BATCH = 64


class AutoencoderEvaluator(NetworkEvaluator):
    """Encodes images with an `AutoencoderKL` of diffusers."""

    def __init__(self, vae: Any, device: str = "cpu", precision: str = "fp32") -> None:
        vae = vae.to(device).eval().requires_grad_(False).to(memory_format=torch.channels_last)
        super().__init__(vae, device, precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> AutoencoderEvaluator:
        """Load the folder of an `AutoencoderKL`; raise `UserError` if it is not one."""
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

    def latents(self, images: Images) -> Float[Tensor, "batch channels rows columns"]:
        """Return the modes of the latents of images, less the shift, times the scaling factor.

        Args:
            images: uint8 [B, 3, H, W]; they are resized to the side that the autoencoder was trained at, so that images
                of all sizes have latents of one size.

        Returns:
            [B, C, h, w] float32 on the CPU.
        """
        side = self.network.config.sample_size
        shift, factor = float(self.network.config.shift_factor or 0.0), self.network.config.scaling_factor

        def encode(x: Tensor) -> Tensor:
            pixels = scale(x)
            if pixels.shape[2:] != (side, side):
                pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            mode: Tensor = self.network.encode(pixels).latent_dist.mode()
            return (mode - shift) * factor

        return self.run(encode, images, batch=BATCH)
