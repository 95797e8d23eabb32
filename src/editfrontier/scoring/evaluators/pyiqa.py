"""MUSIQ (Ke et al., ICCV 2021) trained on KonIQ-10k, through pyiqa.

Licence: pyiqa (PolyForm Noncommercial 1.0.0) and its weights (CC BY-NC-SA 4.0) may not be used commercially.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from editfrontier.base.errors import UserError
from editfrontier.scoring.networks.common import (
    WEIGHTS,
    batched,
    check_images,
    check_precision,
    fill_module,
    read_checkpoint,
    read_config,
    read_weights,
)
from editfrontier.scoring.shapes import Images, Values

ARCHITECTURE = "musiq"
BATCH = 16


def build_musiq(network: dict[str, Any]) -> nn.Module:
    """pyiqa's own MUSIQ class without weights; network: its arguments (patch_size, hidden_size, num_layers, ...)."""
    from pyiqa.archs.musiq_arch import MUSIQ

    return MUSIQ(pretrained=False, **network)


class MusiqEvaluator:
    """quality = MUSIQ, about 0 to 100, higher is better; artifact = 1 - quality / 100.

    The paper names no classifier of artifacts. Here an image counts as one with artifacts if MUSIQ rates it below
    almost all unedited sources (`metrics.quality.artifact_threshold`): a rate of low quality, not of visible defects.
    """

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> MusiqEvaluator:
        """path: folder with config.json (architecture, weights) and the weights. Raises UserError if it is not one, or
        if pyiqa is not installed."""
        folder = Path(path)
        config = read_config(folder, ARCHITECTURE)
        if "network" in config:  # a small one of the micro scale
            network = fill_module(build_musiq(config["network"]), read_weights(folder / WEIGHTS), folder / WEIGHTS)
            return cls(network.to(device), device, precision)
        weights = folder / str(config.get("weights"))
        # pyiqa unpickles anything: the file is read as tensors first, which refuses whatever would run code.
        read_checkpoint(weights)
        try:
            import pyiqa
        except ImportError as error:
            raise UserError(
                f"{folder}: MUSIQ needs the package pyiqa ({error}), whose licence is non-commercial. Run "
                "`make setup`, or leave `quality` out of the config."
            ) from None
        metric = pyiqa.create_metric("musiq", pretrained_model_path=str(weights), device=device)
        # Not through pyiqa's own forward, which lets convolutions round to TF32.
        return cls(metric.net.eval(), device, precision)

    def quality(self, images: Images) -> Values:
        """Return quality, higher is better."""
        check_images(images)
        return batched(
            lambda x: self.network(x.float() / 255).reshape(len(x)),
            images,
            device=self.device,
            bf16=self.bf16,
            batch=BATCH,
        )

    def artifact(self, images: Images) -> Values:
        """Return 1 - quality / 100."""
        return 1 - self.quality(images) / 100

    def scores(self, images: Images) -> tuple[Values, Values]:
        """Return quality and artifact, in one forward."""
        quality = self.quality(images)
        return quality, 1 - quality / 100
