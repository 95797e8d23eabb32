"""Features of a vision transformer that was trained without labels (DINO; Caron et al. 2021, arXiv 2104.14294).

The network is transformers' ViTModel in the hub's layout: config.json, preprocessor_config.json and the weights, as
model.safetensors or as the pytorch_model.bin of the published repository, of which tensors alone are read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import FETCH_WEIGHTS, UserError
from editfrontier.scoring.networks.common import NetworkEvaluator
from editfrontier.scoring.shapes import Embeddings, Images

PREPROCESSOR = "preprocessor_config.json"
RESIZE = 256 / 224
"""Shorter side that images are resized to, in units of the side that is cut out of their middle."""

BATCH = 64


class DinoEvaluator(NetworkEvaluator):
    """The class token of the last layer, preprocessed as in the evaluation of MagicBrush (arXiv 2306.10012).

    model: transformers' ViTModel. mean, std: by channel, of images in [0, 1].
    """

    def __init__(
        self, model: Any, mean: Sequence[float], std: Sequence[float], device: str = "cpu", precision: str = "fp32"
    ) -> None:
        super().__init__(model, device, precision)
        self.side = int(model.config.image_size)
        self.mean = torch.tensor(mean, device=device)[:, None, None]
        self.std = torch.tensor(std, device=device)[:, None, None]

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> DinoEvaluator:
        """Load the model from a folder in the hub's layout; nothing is fetched.

        Raises:
            UserError: the folder holds no vision transformer, or its files cannot be read.
        """
        from transformers import ViTModel

        folder = Path(path)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if config.get("model_type") != "vit":
                raise ValueError(f"model_type is {config.get('model_type')!r}, expected 'vit'")
            preprocessing = json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))
            mean, std = preprocessing["image_mean"], preprocessing["image_std"]
            model, report = ViTModel.from_pretrained(
                str(folder), add_pooling_layer=False, dtype=torch.float32, local_files_only=True,
                weights_only=True, output_loading_info=True,
            )  # fmt: skip
            # transformers fills what is missing with noise and only warns.
            if missing := sorted(report["missing_keys"]):
                raise ValueError(f"the weights have no '{missing[0]}' (and {len(missing) - 1} more)")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UnpicklingError) as error:
            raise UserError(
                f"{folder}: cannot be loaded as a vision transformer ({error}), expected config.json, {PREPROCESSOR} "
                f"and model.safetensors or pytorch_model.bin. Run {FETCH_WEIGHTS}"
            ) from error
        return cls(model.to(device).eval().requires_grad_(False), mean, std, device, precision)

    def features(self, images: Images) -> Embeddings:
        """Return vectors of any length. The rim that MagicBrush cuts off (1/16 a side) is not seen."""

        def encode(x: Tensor) -> Tensor:
            pixels = (_middle(x.float() / 255, self.side) - self.mean) / self.std
            tokens: Tensor = self.network(pixel_values=pixels).last_hidden_state  # [b, 1 + patches, D]
            return tokens[:, 0]

        return self.run(encode, images, batch=BATCH)


def _middle(images: Tensor, side: int) -> Tensor:
    """Return the middle [B, 3, side, side] of images [B, 3, H, W] in [0, 1], resized bicubically."""
    height, width = images.shape[-2:]
    shorter = round(side * RESIZE)
    size = [max(round(length * shorter / min(height, width)), side) for length in (height, width)]
    if size != [height, width]:
        images = functional.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = ((length - side) // 2 for length in size)
    return images[:, :, top : top + side, left : left + side]
