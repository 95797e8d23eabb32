"""The 40 attributes of CelebA, judged by a ResNet-50 with two logits for each, as anycost-gan (Lin et al. 2021) has it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet50

from editfrontier.evaluators.common import (
    batched,
    check_images,
    check_precision,
    fill_module,
    read_checkpoint,
    read_config,
    scale,
)

ARCHITECTURE = "resnet50_attributes"
SIDE = 256
BATCH = 64
NAMES = tuple(
    (
        "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
        "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones "
        "Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline "
        "Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick "
        "Wearing_Necklace Wearing_Necktie Young"
    ).split()
)
"""The attributes in the order of CelebA's annotations."""


class CelebAttributeEvaluator:
    """Probabilities of CelebA's attributes. They are not calibrated: 0.5 is where the two logits are equal."""

    names = NAMES

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> CelebAttributeEvaluator:
        """path: folder with config.json (architecture, weights) and the weights. Raises UserError if it is not one."""
        folder = Path(path)
        weights = folder / str(read_config(folder, ARCHITECTURE).get("weights"))
        network = resnet50(weights=None, num_classes=2 * len(NAMES))
        return cls(fill_module(network, read_checkpoint(weights), weights).to(device), device, precision)

    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] of aligned faces -> [B, 40] in [0, 1], in the order of `names`."""
        check_images(images)

        def classify(x: Tensor) -> Tensor:
            pixels = scale(x)
            if pixels.shape[-2:] != (SIDE, SIDE):
                pixels = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
            logits = self.network(pixels).float().reshape(len(x), len(NAMES), 2)
            return torch.softmax(logits, dim=2)[..., 1]

        return batched(classify, images, device=self.device, bf16=self.bf16, batch=BATCH)
