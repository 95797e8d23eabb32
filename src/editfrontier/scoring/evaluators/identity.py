"""Identity embedder trained with the ArcFace loss (Deng et al. 2019); cosine of embeddings is identity similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional

from editfrontier.scoring.networks.blocks import ResidualNet
from editfrontier.scoring.networks.common import batched, check_images, check_precision, load_module, read_config, scale
from editfrontier.scoring.shapes import Embeddings, Images

ARCHITECTURE = "identity"


def build_identity(config: dict[str, Any]) -> ResidualNet:
    """Network of a config with keys embedding, widths, blocks, pooling."""
    return ResidualNet(config["embedding"], config["widths"], config["blocks"], config["pooling"])


class IdentityEvaluator:
    """Maps a portrait to a unit vector that depends on who is shown, not on attributes, pose or light."""

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> IdentityEvaluator:
        """path: model folder with config.json and model.safetensors. Raises UserError if it is not one."""
        config = read_config(Path(path), ARCHITECTURE)
        return cls(load_module(build_identity(config), Path(path), device), device, precision)

    def embed(self, images: Images) -> Embeddings:
        """Return unit vectors."""
        check_images(images)
        return batched(
            lambda x: functional.normalize(self.network(scale(x)).float(), dim=1),
            images,
            device=self.device,
            bf16=self.bf16,
        )
