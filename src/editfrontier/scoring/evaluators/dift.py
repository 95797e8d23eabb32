"""Diffusion features (DIFT; Tang et al., NeurIPS 2023): features of a UNet at each pixel, to find points again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.diffusion import sampling
from editfrontier.diffusion.features import block_features
from editfrontier.models.loading import load_pipeline
from editfrontier.scoring.networks.common import check_images
from editfrontier.scoring.shapes import Images

TIMESTEP = 261
ENSEMBLE = 8
BLOCK = 1
"""Timestep, number of noises and index of the up block, as DragBench and DragFlow use them on Stable Diffusion 2.1.

In a UNet of three levels this block's output has the latents' resolution instead of half of it. The block before it
would keep half, but hardly tells the true result of a drag from the source there (MD1 6.8 and 7.5 pixels, with this one
2.0 and 7.5, on 54 rendered drags)."""
BATCH = 16
Resize = Literal["smooth", "nearest", "none"]
"""How images get to the side that the model was trained at: bilinear and antialiased, by nearest neighbour, or not."""


class DiftEvaluator:
    """Features of a text-to-image model, averaged over noises that are the same for every image."""

    def __init__(self, pipeline: Any, device: str = "cpu", ensemble: int = ENSEMBLE) -> None:
        self.pipeline, self.device, self.ensemble = pipeline.to(device), device, ensemble
        self.block = min(BLOCK, len(pipeline.unet.up_blocks) - 1)
        scheduler = sampling.make_scheduler(pipeline.scheduler.config)
        self.level = sampling.alpha_bar(scheduler, TIMESTEP)
        self.side = pipeline.unet.config.sample_size * sampling.size_factor(pipeline)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> DiftEvaluator:
        """path: folder of a text-to-image pipeline. Raises UserError if it is not one."""
        return cls(load_pipeline("text_to_image", Path(path), device), device)

    @torch.no_grad()
    def features(
        self, images: Images, captions: Sequence[str], role: str, resize: Resize = "smooth"
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Return features of images.

        Args:
            images: uint8 [B, 3, H, W].
            captions: one an image.
            role: names the noises. Two images that are compared have different ones, because features hold a trace of
                the noise, which would match every point with its own place.
            resize: how the images get to `side`, or "none" to give them to the network at their own size.

        Returns:
            [B, C, h, w] float32 on the CPU; row i depends on image and caption i alone.
        """
        check_images(images)
        parts = []
        for start in range(0, len(images), BATCH):
            chosen = images[start : start + BATCH].to(self.device).float() / 127.5 - 1.0
            clean = sampling.encode(self.pipeline, self._resized(chosen, resize))
            text = sampling.encode_text(self.pipeline, captions[start : start + BATCH], False)
            draws = [self._once(clean, text, role, number) for number in range(self.ensemble)]
            parts.append(torch.stack(draws).mean(0).cpu())
        return torch.cat(parts)

    def _resized(self, images: Tensor, resize: Resize) -> Tensor:
        size = (self.side, self.side)
        if resize == "none" or images.shape[-2:] == size:
            return images
        if resize == "nearest":
            return functional.interpolate(images, size, mode="nearest")
        return functional.interpolate(images, size, mode="bilinear", antialias=True)

    def _once(self, clean: Tensor, text: sampling.TextEmbeddings, role: str, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(stable_seed("dift", role, number))
        noise = torch.randn(clean.shape[1:], generator=generator).to(clean.device)
        noisy = sampling.add_noise(clean, noise, self.level)
        taps = {f"up_blocks.{self.block}": lambda output: output}
        (features,) = block_features(
            self.pipeline.unet, taps, lambda: sampling.guided_output(self.pipeline, noisy, TIMESTEP, text, 1.0)
        )
        return features
