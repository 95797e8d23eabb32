"""Attribute classifier, which judges whether an edit succeeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from editfrontier.scoring.networks.blocks import ResidualNet
from editfrontier.scoring.networks.common import NetworkEvaluator, load_module, read_config, scale
from editfrontier.scoring.shapes import Images

ARCHITECTURE = "attributes"


def build_attributes(config: dict[str, Any]) -> ResidualNet:
    """Return the network of a config with keys names, widths, blocks, pooling."""
    return ResidualNet(len(config["names"]), config["widths"], config["blocks"], config["pooling"])


class AttributeEvaluator(NetworkEvaluator):
    """Independent binary attributes. 0.5 is the calibrated threshold: the last layer's bias holds the calibration."""

    def __init__(
        self, network: nn.Module, names: tuple[str, ...], device: str = "cpu", precision: str = "fp32"
    ) -> None:
        super().__init__(network, device, precision)
        self.names = names

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> AttributeEvaluator:
        """Load a folder with config.json and model.safetensors; raise `UserError` if it is not one."""
        config = read_config(Path(path), ARCHITECTURE)
        return cls(load_module(build_attributes(config), Path(path), device), tuple(config["names"]), device, precision)

    def probabilities(self, images: Images) -> Float[Tensor, "batch attributes"]:
        """Return probabilities in [0, 1], in the order of `names`."""
        return self.run(lambda x: torch.sigmoid(self.network(scale(x)).float()), images)
