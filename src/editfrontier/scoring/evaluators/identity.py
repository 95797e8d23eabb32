"""Identity embedder trained with the ArcFace loss (Deng et al. 2019); cosine of embeddings is identity similarity."""

from __future__ import annotations

from typing import Any

from torch.nn import functional

from editfrontier.scoring.networks.blocks import ResidualNet
from editfrontier.scoring.networks.common import NetworkEvaluator, scale
from editfrontier.scoring.shapes import Embeddings, Images

ARCHITECTURE = "identity"


def build_identity(config: dict[str, Any]) -> ResidualNet:
    """Return the network of a config with keys embedding, widths, blocks, pooling."""
    return ResidualNet(config["embedding"], config["widths"], config["blocks"], config["pooling"])


class IdentityEvaluator(NetworkEvaluator):
    """Maps a portrait to a unit vector that depends on who is shown, not on attributes, pose or light."""

    architecture, build = ARCHITECTURE, staticmethod(build_identity)

    def embed(self, images: Images) -> Embeddings:
        """Return unit vectors."""
        return self.run(lambda x: functional.normalize(self.network(scale(x)).float(), dim=1), images)
