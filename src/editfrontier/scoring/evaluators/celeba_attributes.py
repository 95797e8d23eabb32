"""The 40 attributes of CelebA, judged by a ResNet-50 with two logits each, as that of anycost-gan (Lin et al. 2021)."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet50

from editfrontier.data.reading.face_attributes import CELEBA
from editfrontier.scoring.networks.common import (
    Unfilled,
    batched,
    check_images,
    check_precision,
    fill_module,
    read_checkpoint,
    read_config,
    scale,
)
from editfrontier.scoring.shapes import Images

ARCHITECTURE = "resnet50_attributes"
SIDE = 256
BATCH = 64
CELEBA_NAMES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
"""The attributes in the order of CelebA's annotations."""


class CelebAttributeEvaluator:
    """Probabilities of CelebA's attributes under the names of cases. They are not calibrated: 0.5 is where the two
    logits are equal."""

    names = tuple(CELEBA)

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> CelebAttributeEvaluator:
        """path: folder with config.json (architecture, weights) and the weights. Raises UserError if it is not one."""
        folder = Path(path)
        weights = folder / str(read_config(folder, ARCHITECTURE).get("weights"))
        with Unfilled():
            network: nn.Module = resnet50(weights=None, num_classes=2 * len(CELEBA_NAMES))
        network = fill_module(network, read_checkpoint(weights), weights)
        return cls(network.to(device).to(memory_format=torch.channels_last), device, precision)

    def probabilities(self, images: Images) -> Float[Tensor, "batch attributes"]:
        """Return probabilities of aligned faces in [0, 1], in the order of `names`."""
        check_images(images)
        columns = [CELEBA_NAMES.index(name) for name, _ in CELEBA.values()]
        sides = [int(value) for _, value in CELEBA.values()]

        def classify(x: Tensor) -> Tensor:
            pixels = scale(x)
            if pixels.shape[-2:] != (SIDE, SIDE):
                pixels = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
            logits = self.network(pixels).float().reshape(len(x), len(CELEBA_NAMES), 2)
            return torch.softmax(logits, dim=2)[:, columns, sides]

        return batched(classify, images, device=self.device, bf16=self.bf16, batch=BATCH)
