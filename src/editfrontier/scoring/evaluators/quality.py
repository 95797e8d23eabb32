"""Quality score without reference, and artifact probability, both trained on known corruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from editfrontier.scoring.networks.blocks import ResidualNet
from editfrontier.scoring.networks.common import batched, check_images, check_precision, load_module, read_config, scale
from editfrontier.scoring.shapes import Images, Values

ARCHITECTURE = "quality"


def build_quality(config: dict[str, Any]) -> ResidualNet:
    """Network of a config with keys widths, blocks, pooling; outputs: quality logit, artifact logit."""
    return ResidualNet(2, config["widths"], config["blocks"], config["pooling"])


class QualityEvaluator:
    """quality = 100 (1 - severity of the corruption as the network estimates it); artifact = P(visibly corrupted)."""

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> QualityEvaluator:
        """path: model folder with config.json and model.safetensors. Raises UserError if it is not one."""
        config = read_config(Path(path), ARCHITECTURE)
        return cls(load_module(build_quality(config), Path(path), device), device, precision)

    def scores(self, images: Images) -> tuple[Values, Values]:
        """Return quality in 0..100 (higher is better) and artifact in [0, 1], in one forward."""
        check_images(images)
        logits = batched(lambda x: self.network(scale(x)), images, device=self.device, bf16=self.bf16)
        both = torch.sigmoid(logits)
        return 100 * both[:, 0], both[:, 1]

    def quality(self, images: Images) -> Values:
        """Return quality in 0..100, higher is better."""
        return self.scores(images)[0]

    def artifact(self, images: Images) -> Values:
        """Return the probability of a visible artifact."""
        return self.scores(images)[1]
