"""Evaluators that compute something simple and exact, for tests of the scoring pass."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional


def _project(images: Tensor, seed: int, size: int = 12) -> Tensor:
    small = functional.adaptive_avg_pool2d(images.float() / 255, 4).flatten(1)
    generator = torch.Generator().manual_seed(seed)
    return (small - 0.5) @ torch.randn(small.shape[1], size, generator=generator)


class FakeClip:
    def image(self, images: Tensor) -> Tensor:
        return functional.normalize(_project(images, 1), dim=1)

    def text(self, texts: list[str]) -> Tensor:
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
            rows.append(torch.randn(12, generator=torch.Generator().manual_seed(seed)))
        return functional.normalize(torch.stack(rows), dim=1)


class FakeIdentity:
    def embed(self, images: Tensor) -> Tensor:
        return functional.normalize(_project(images, 2), dim=1)


class FakeAttributes:
    """`bright`: the image's mean is above the middle; `red`: the first channel is the greatest."""

    names = ("bright", "red")

    def probabilities(self, images: Tensor) -> Tensor:
        mean = images.float().mean(dim=(2, 3))
        return torch.stack([(mean.mean(dim=1) > 127.5).float(), (mean.argmax(dim=1) == 0).float()], dim=1)


class FakeFeatures:
    def features(self, images: Tensor) -> Tensor:
        return _project(images, 3, 5)


class FakeLpips:
    """Mean absolute difference of the pixels, as the map."""

    def distance_map(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.float() - b.float()).abs().mean(dim=1) / 255

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return self.distance_map(a, b).mean(dim=(1, 2))


class FakeQuality:
    def quality(self, images: Tensor) -> Tensor:
        return 100 * (1 - self.artifact(images))

    def artifact(self, images: Tensor) -> Tensor:
        """Share of saturated pixels."""
        return ((images == 0) | (images == 255)).float().mean(dim=(1, 2, 3))


class FakeAutoencoder:
    """Latents are the means of blocks, from 0 to 1."""

    def latents(self, images: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(images.float() / 255, 4)


def fake_evaluators() -> dict[str, object]:
    return {
        "clip": FakeClip(), "identity": FakeIdentity(), "attributes": FakeAttributes(), "features": FakeFeatures(),
        "lpips": FakeLpips(), "quality": FakeQuality(), "autoencoder": FakeAutoencoder(),
    }  # fmt: skip
