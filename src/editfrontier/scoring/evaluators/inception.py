"""Inception v3 of FID (Heusel et al. 2017) in the published layout, with preprocessing that has a name.

FID depends on how images are resized to the 299 pixels of the network as much as on the models that are compared
(Parmar et al., CVPR 2022), so values of different preprocessing are not comparable:

    legacy_tensorflow  bilinear without antialiasing and without half-pixel centres, as TensorFlow 1 and torch-fidelity
    clean              Pillow's bicubic on floats, antialiased, cut to [0, 255], as clean-fid

Both go on with (x - 128) / 128. The network is torchvision's with the pooling of the original graph, as pytorch-fid and
torch-fidelity patch it; its file is weights-inception-2015-12-05-6726825d.pth of torch-fidelity.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.scoring.networks.common import NetworkEvaluator, load_checkpoint, read_config
from editfrontier.scoring.shapes import Embeddings, Images

ARCHITECTURE = "fid_inception"
SIDE = 299
CLASSES = 1008  # of the original graph
BATCH = 64


# Network --------------------------------------------------------------------------------------------------------------


def _average(x: Tensor) -> Tensor:
    """Pool by the average as TensorFlow does, without the padding."""
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _pooled(block: type[nn.Module], pool: Callable[[Tensor], Tensor] = _average) -> type[nn.Module]:
    """Return a block of torchvision whose last branch pools in another way."""

    class Pooled(block):  # type: ignore[misc, valid-type]
        def _forward(self, x: Tensor) -> list[Tensor]:
            return [*super()._forward(x)[:-1], self.branch_pool(pool(x))]

    return Pooled


def build_inception() -> nn.Module:
    """Inception v3 of FID with random weights: float [B, 3, 299, 299] in [-1, 1] -> [B, 1008]."""
    a, c, e = map(_pooled, (inception.InceptionA, inception.InceptionC, inception.InceptionE))
    blocks = [inception.BasicConv2d, a, inception.InceptionB, c, inception.InceptionD, e, inception.InceptionAux]
    network = inception.Inception3(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    # The last block of the original graph takes the maximum, probably by mistake.
    network.Mixed_7c = _pooled(inception.InceptionE, lambda x: functional.max_pool2d(x, 3, 1, 1))(2048)
    return network


# Preprocessing --------------------------------------------------------------------------------------------------------


def _lower_and_upper(size: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    places = torch.arange(target, dtype=torch.float32) * torch.tensor(size / target, dtype=torch.float32)
    lower = places.long()
    return lower, (lower + 1).clamp_max(size - 1), places - lower


def resize_legacy(images: Tensor, side: int = SIDE) -> Tensor:
    """Resize [B, 3, H, W] as TensorFlow 1 did: the value at i is read at i H / side, bilinear, without antialiasing."""
    x = images.float()
    y0, y1, dy = (part.to(x.device) for part in _lower_and_upper(x.shape[2], side))
    x0, x1, dx = (part.to(x.device) for part in _lower_and_upper(x.shape[3], side))
    top, bottom = x[:, :, y0], x[:, :, y1]
    above = top[..., x0] + (top[..., x1] - top[..., x0]) * dx
    below = bottom[..., x0] + (bottom[..., x1] - bottom[..., x0]) * dx
    return above + (below - above) * dy[:, None]


def resize_clean(images: Tensor, side: int = SIDE) -> Tensor:
    """Resize [B, 3, H, W] in [0, 255] as clean-fid does: Pillow's bicubic on each channel in float, cut to [0, 255]."""
    planes = images.float().cpu().numpy().reshape(-1, *images.shape[-2:])
    resized = [np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)) for plane in planes]
    stacked = torch.from_numpy(np.stack(resized).clip(0, 255)).to(images.device)
    return stacked.reshape(*images.shape[:2], side, side)


PREPROCESSING: dict[str, Callable[[Tensor], Tensor]] = {"legacy_tensorflow": resize_legacy, "clean": resize_clean}
"""Name -> resizing to 299 pixels, uint8 [B, 3, H, W] to float in [0, 255]."""


class InceptionEvaluator(NetworkEvaluator):
    """The 2048 features of the last pooling. preprocessing: a key of PREPROCESSING."""

    def __init__(self, network: nn.Module, preprocessing: str, device: str = "cpu", precision: str = "fp32") -> None:
        super().__init__(network, device, precision)
        self.preprocessing = preprocessing

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> InceptionEvaluator:
        """Load the weights and the preprocessing that config.json names; raise `UserError` if it cannot be done."""
        folder = Path(path)
        config = read_config(folder, ARCHITECTURE)
        preprocessing = str(config.get("preprocessing"))
        if preprocessing not in PREPROCESSING:
            raise UserError(
                f"{folder / 'config.json'}: preprocessing is '{preprocessing}', expected one of "
                f"{', '.join(PREPROCESSING)}.{did_you_mean(preprocessing, PREPROCESSING)} Correct it."
            )
        network = load_checkpoint(build_inception, folder / str(config.get("weights")), device)
        network.fc = nn.Identity()
        return cls(network, preprocessing, device, precision)

    def features(self, images: Images) -> Embeddings:
        """Return 2048 features that are not negative."""
        resize = PREPROCESSING[self.preprocessing]
        return self.run(lambda x: self.network((resize(x) - 128) / 128), images, batch=BATCH)
