"""Images as arrays and as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from editfrontier.data.pictures import Pixels


def to_images(arrays: Sequence[Pixels]) -> Tensor:
    """Turn uint8 arrays [H, W, 3] of one size into images [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def to_arrays(images: Tensor) -> list[Pixels]:
    """Turn images [B, 3, H, W] in [-1, 1] into uint8 arrays [H, W, 3]; exact on what `to_images` gave."""
    pixels = ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).cpu().numpy())
