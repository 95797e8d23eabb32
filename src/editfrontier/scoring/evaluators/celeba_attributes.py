"""The 40 attributes of CelebA, judged by the ResNet-50 of anycost-gan (Lin et al. 2021) with two logits each."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torchvision.models import resnet50

from editfrontier.data.reading.face_attributes import CELEBA
from editfrontier.scoring.networks.common import NetworkEvaluator, load_checkpoint, read_config, scale
from editfrontier.scoring.shapes import Images

ARCHITECTURE = "resnet50_attributes"
SIDE = 256
BATCH = 64
CELEBA_NAMES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young"
)  # fmt: skip
"""The attributes in the order of CelebA's annotations."""


class CelebAttributeEvaluator(NetworkEvaluator):
    """Probabilities of CelebA's attributes under the names of cases. They are not calibrated: 0.5 is where the two
    logits are equal."""

    names = tuple(CELEBA)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> CelebAttributeEvaluator:
        """Load config.json (architecture, weights) and the weights; raise `UserError` for any other folder."""
        weights = Path(path) / str(read_config(Path(path), ARCHITECTURE).get("weights"))
        network = load_checkpoint(lambda: resnet50(weights=None, num_classes=2 * len(CELEBA_NAMES)), weights, device)
        return cls(network, device, precision)

    def probabilities(self, images: Images) -> Float[Tensor, "batch attributes"]:
        """Return probabilities of aligned faces in [0, 1], in the order of `names`."""
        columns = [CELEBA_NAMES.index(name) for name, _ in CELEBA.values()]
        sides = [int(value) for _, value in CELEBA.values()]

        def classify(x: Tensor) -> Tensor:
            pixels = scale(x)
            if pixels.shape[-2:] != (SIDE, SIDE):
                pixels = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
            logits = self.network(pixels).float().reshape(len(x), len(CELEBA_NAMES), 2)
            return torch.softmax(logits, dim=2)[:, columns, sides]

        return self.run(classify, images, batch=BATCH)
