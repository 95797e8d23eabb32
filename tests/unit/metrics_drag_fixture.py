"""What the tests of drag metrics share: a square that moves, pictures of it, and features that are pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.data.regions import Region, warp_mask

SIZE = 32
MODELS = Path(__file__).parents[2] / "resources" / "micro"
SHIFT = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 4.0]])


def square(x: int, y: int, side: int = 6) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def region(points: bool = True) -> Region:
    source = square(4, 8)
    pairs = (((5.0, 9.0), (15.0, 13.0)), ((8.0, 12.0), (18.0, 16.0))) if points else ()
    return Region("relocation", source, SHIFT, warp_mask(source, SHIFT), pairs)


def picture(*squares: tuple[int, int]) -> Tensor:
    """A grey picture [3, 32, 32] with red textured squares."""
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    for x, y in squares:
        image[y : y + 6, x : x + 6] = [250, 20, 20]
        image[y + 1 : y + 3, x + 1 : x + 3, 1] = 120
    return torch.from_numpy(image).permute(2, 0, 1)


class RedObject:
    """Segments what is red, in place of a network."""

    def find_object(self, sources: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        return images[:, 0] > 200


class Pixels:
    """Features that are the pixels themselves, blurred to a coarser grid."""

    def __init__(self, side: int = SIZE) -> None:
        self.side = side

    def features(self, images: Tensor, captions: list[str], role: str, resize: str) -> Tensor:
        chosen = images.float()
        if resize == "nearest":
            chosen = functional.interpolate(chosen, (self.side, self.side))
        return functional.avg_pool2d(chosen - 90, 2)
