"""Inception-style features for the set metrics FID and KID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from editfrontier.scoring.networks.blocks import InceptionNet
from editfrontier.scoring.networks.common import batched, check_images, check_precision, load_module, read_config, scale
from editfrontier.scoring.shapes import Embeddings, Images

ARCHITECTURE = "features"


def build_features(config: dict[str, Any]) -> InceptionNet:
    """Network of a config with keys width and features."""
    return InceptionNet(config["width"], config["features"])


class FeatureEvaluator:
    """Pooled features, as pool3 of Inception v3 in FID (Heusel et al. 2017)."""

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> FeatureEvaluator:
        """path: model folder with config.json and model.safetensors. Raises UserError if it is not one."""
        config = read_config(Path(path), ARCHITECTURE)
        return cls(load_module(build_features(config), Path(path), device), device, precision)

    def features(self, images: Images) -> Embeddings:
        """Return features that are not negative."""
        check_images(images)
        return batched(lambda x: self.network(scale(x)), images, device=self.device, bf16=self.bf16)
