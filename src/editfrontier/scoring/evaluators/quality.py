"""Quality score without reference, and artifact probability, both trained on known corruptions."""

from __future__ import annotations

from typing import Any

import torch

from editfrontier.scoring.networks.blocks import ResidualNet
from editfrontier.scoring.networks.common import NetworkEvaluator, scale
from editfrontier.scoring.shapes import Images, Values

ARCHITECTURE = "quality"


def build_quality(config: dict[str, Any]) -> ResidualNet:
    """Return the network of a config with keys widths, blocks, pooling; outputs: quality logit, artifact logit."""
    return ResidualNet(2, config["widths"], config["blocks"], config["pooling"])


class QualityEvaluator(NetworkEvaluator):
    """quality = 100 (1 - severity of the corruption as the network estimates it); artifact = P(visibly corrupted)."""

    architecture, build = ARCHITECTURE, staticmethod(build_quality)

    def scores(self, images: Images) -> tuple[Values, Values]:
        """Return quality in 0..100 (higher is better) and artifact in [0, 1], in one forward."""
        quality, artifact = torch.sigmoid(self.run(lambda x: self.network(scale(x)), images)).unbind(1)
        return 100 * quality, artifact

    def quality(self, images: Images) -> Values:
        """Return quality in 0..100, higher is better."""
        return self.scores(images)[0]

    def artifact(self, images: Images) -> Values:
        """Return the probability of a visible artifact."""
        return self.scores(images)[1]
