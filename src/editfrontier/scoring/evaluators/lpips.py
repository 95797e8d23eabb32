"""LPIPS (Zhang et al. 2018) with the `lpips` package's own class and weights from a local folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from editfrontier.scoring.networks.common import (
    NetworkEvaluator,
    Unfilled,
    fill_module,
    load_module,
    read_checkpoint,
    read_config,
    scale,
)
from editfrontier.scoring.shapes import Images, Maps, Values

ARCHITECTURE = "lpips"
PUBLISHED = "lpips_torchvision"
"""The published LPIPS: torchvision's trunk from a file, and the linear heads that the package `lpips` brings."""
BATCH = 32  # the maps of larger batches do not fit into the caches of a CPU


def build_lpips(config: dict[str, Any], trainable: bool = False, heads: bool = False) -> nn.Module:
    """`lpips.LPIPS` with a random trunk (never downloads) of config key `net`; weights are loaded afterwards.

    heads: whether to take the linear heads of the package; without it they are random too.
    """
    import lpips

    with warnings.catch_warnings():
        # lpips asks torchvision for its trunk by an argument that torchvision has renamed.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        return lpips.LPIPS(
            net=config["net"],
            pretrained=heads,
            pnet_rand=True,
            pnet_tune=trainable,
            use_dropout=True,
            spatial=True,
            verbose=False,
        )


def load_published(config: dict[str, Any], folder: Path) -> nn.Module:
    """LPIPS with the heads of the package and the trunk of torchvision's file `config["trunk"]` in a folder.

    The trunk goes in by itself: `lpips.LPIPS(model_path=...)` takes a file of heads, and accepts the file of
    a trunk without a message and without an effect.
    """
    with Unfilled():  # the package fills the heads
        network = build_lpips(config, heads=True)
    path = folder / str(config.get("trunk"))
    layers = {k.removeprefix("features."): v for k, v in read_checkpoint(path).items() if k.startswith("features.")}
    trunk: Any = network.net
    slices = {name.split(".", 1)[1]: name for name in trunk.state_dict()}  # a layer's number -> its name in a slice
    # The heads read no layer after the last slice; torchvision's file has one more of some networks.
    fill_module(trunk, {slices[name]: value for name, value in layers.items() if name in slices}, path)
    return network


def resize(images: Tensor, size: int | None) -> Tensor:
    """Bilinear resize of float [B, 3, H, W]; SqueezeNet's strides leave a 3x3 map of 64 pixels, 5x5 of 96.

    size: None = the images as they are, as the published LPIPS takes them.
    """
    if size is None or (images.shape[-1] == size and images.shape[-2] == size):
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)


class LpipsEvaluator(NetworkEvaluator):
    """Perceptual distance, 0 for identical images. Images are resized to `input_size` before the trunk."""

    def __init__(
        self, network: nn.Module, input_size: int | None, device: str = "cpu", precision: str = "fp32"
    ) -> None:
        super().__init__(network, device, precision)
        self.input_size = input_size

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> LpipsEvaluator:
        """Load config.json and model.safetensors or torchvision's trunk; raise `UserError` for any other folder."""
        config = read_config(Path(path), ARCHITECTURE, PUBLISHED)
        if config["architecture"] == PUBLISHED:
            network = load_published(config, Path(path)).to(device)
            return cls(network, config.get("input_size"), device, precision)
        return cls(load_module(build_lpips(config), Path(path), device), config["input_size"], device, precision)

    def distance_map(self, a: Images, b: Images) -> Maps:
        """Return the distance at each pixel, not negative; its mean is the distance of the images."""
        if a.shape != b.shape:
            raise ValueError(f"expected two batches of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        height, width = a.shape[-2:]

        def measure(x: Tensor, y: Tensor) -> Tensor:
            distances = self.network(resize(scale(x), self.input_size), resize(scale(y), self.input_size))
            return functional.interpolate(distances.float(), (height, width), mode="area")[:, 0]

        return self.run(measure, a, b, batch=BATCH)

    def distance(self, a: Images, b: Images) -> Values:
        """Return the distance of each pair of images, not negative."""
        return self.distance_map(a, b).mean((1, 2))


def nonnegative_heads(network: nn.Module) -> None:
    """Clamp the linear heads at zero in place, as the LPIPS authors do after each step of their training."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("lin"):
                parameter.clamp_(min=0)
