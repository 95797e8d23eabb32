"""Inception-style features for the set metrics FID and KID."""

from __future__ import annotations

from typing import Any

from editfrontier.scoring.networks.blocks import InceptionNet
from editfrontier.scoring.networks.common import NetworkEvaluator, scale
from editfrontier.scoring.shapes import Embeddings, Images

ARCHITECTURE = "features"


def build_features(config: dict[str, Any]) -> InceptionNet:
    """Return the network of a config with keys width and features."""
    return InceptionNet(config["width"], config["features"])


class FeatureEvaluator(NetworkEvaluator):
    """Pooled features, as pool3 of Inception v3 in FID (Heusel et al. 2017)."""

    architecture, build = ARCHITECTURE, staticmethod(build_features)

    def features(self, images: Images) -> Embeddings:
        """Return features that are not negative."""
        return self.run(lambda x: self.network(scale(x)), images)
