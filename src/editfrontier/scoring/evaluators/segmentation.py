"""Segmentation of scene objects by class: finds a dragged object again in an edited image (stands for SAM)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from editfrontier.scoring.networks.blocks import ConvNorm, ResidualBlock
from editfrontier.scoring.networks.common import NetworkEvaluator, load_module, read_config, scale
from editfrontier.scoring.shapes import Images

ARCHITECTURE = "segmentation"
DIVISOR = 8  # of the sides that the network takes
PRESENT = 0.1
"""A class counts as shown by a source when it has this share of the region's area."""
SPECK = 0.1
"""A connected part smaller than this share of the object's largest part is noise, not a part of the object."""


class SegmentationNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with residual blocks at 1/2, 1/4 and 1/8 of the image's sides.

    outputs: classes with the background. widths: channels of the three levels.
    """

    def __init__(self, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        high, middle, low = widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvNorm(12, high, 3), ResidualBlock(high, high, 1))
        self.down = ResidualBlock(high, middle, 2)
        self.bottom = nn.Sequential(ResidualBlock(middle, low, 2), ResidualBlock(low, low, 1))
        self.up = ResidualBlock(low + middle, middle, 1)
        self.top = ResidualBlock(middle + high, high, 1)
        self.head = nn.Sequential(nn.Conv2d(high, 4 * outputs, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """x: float [B, 3, H, W] in [-1, 1], sides divisible by 8 -> logits [B, outputs, H, W]."""
        high = self.stem(x)
        middle = self.down(high)
        low = self.bottom(middle)
        middle = self.up(torch.cat([_double(low), middle], 1))
        return self.head(self.top(torch.cat([_double(middle), high], 1)))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def build_segmentation(config: dict[str, Any]) -> SegmentationNet:
    """Return the network of a config with keys classes (without the background) and widths."""
    return SegmentationNet(1 + len(config["classes"]), config["widths"])


class SegmentationEvaluator(NetworkEvaluator):
    """Class of every pixel: 0 is the background, 1 + k the k-th of `classes`."""

    def __init__(
        self, network: nn.Module, classes: Sequence[str], device: str = "cpu", precision: str = "fp32"
    ) -> None:
        super().__init__(network, device, precision)
        self.classes = tuple(classes)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> SegmentationEvaluator:
        """Load a folder with config.json and model.safetensors; raise `UserError` if it is not one."""
        config = read_config(Path(path), ARCHITECTURE)
        network = load_module(build_segmentation(config), Path(path), device)
        return cls(network, config["classes"], device, precision)

    def probabilities(self, images: Images) -> Float[Tensor, "batch classes height width"]:
        """Return a distribution over the background and the classes at every pixel."""
        height, width = images.shape[-2:]

        def classify(x: Tensor) -> Tensor:
            padded = functional.pad(scale(x), (0, -width % DIVISOR, 0, -height % DIVISOR), mode="replicate")
            return self.network(padded).softmax(1)[..., :height, :width]

        return self.run(classify, images)

    def labels(self, images: Images) -> Int64[Tensor, "batch height width"]:
        """Return the most probable class at every pixel."""
        return self.probabilities(images).argmax(1)

    def find_object(
        self, sources: Images, regions: Bool[Tensor, "batch height width"], images: Images
    ) -> Bool[Tensor, "batch height width"]:
        """Find the object that a region shows in the source again in another image.

        The object's class is the one with the most probability within the region. An edit is not expected to make
        objects of classes that the source does not show, so a pixel that is no background belongs to the likeliest of
        the source's classes: an object that is upside down counts even if it looks like another class. Every part
        counts but small specks: an object that was copied instead of moved is found at both places.

        Args:
            sources: uint8 [B, 3, H, W].
            regions: bool [B, H, W], the object in its source, not empty.
            images: uint8 [B, 3, H, W].

        Returns:
            bool [B, H, W]; all False where the object is not there.
        """
        before, after = self.probabilities(sources), self.probabilities(images)
        chosen = (before[:, 1:] * regions[:, None]).sum((2, 3)).argmax(1)
        areas = functional.one_hot(before.argmax(1), before.shape[1])[..., 1:].sum((1, 2))
        shown = areas >= PRESENT * regions.sum((1, 2))[:, None]
        shown[torch.arange(len(chosen)), chosen] = True
        likeliest = after[:, 1:].masked_fill(~shown[:, :, None, None], -1.0).argmax(1)
        objects = (after[:, 0] < 0.5) & (likeliest == chosen[:, None, None])
        return torch.stack([without_specks(mask) for mask in objects])


def without_specks(mask: Tensor, share: float = SPECK) -> Tensor:
    """Drop the connected parts (8 neighbours) of bool [H, W] that are smaller than `share` of the largest."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.numpy().astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = statistics[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= share * areas.max())
    return torch.from_numpy(np.isin(parts, kept))
