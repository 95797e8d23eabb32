"""Find a dragged object again by diffusion features, which carry labels from the source to the edited image.

Stands in for the trained segmentation of the micro scale where no classes are known. Tang et al. (NeurIPS 2023) hand
masks on from frame to frame of a video in this way; here the whole image is searched, because a drag may go anywhere.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from editfrontier.scoring.evaluators.dift import DiftEvaluator
from editfrontier.scoring.evaluators.segmentation import without_specks
from editfrontier.scoring.networks.common import check_images
from editfrontier.scoring.shapes import Images

NEIGHBOURS = 10
TEMPERATURE = 0.1
"""Number of nearest places in the source that vote on a place of the edited image, and how sharply the nearer ones
count more. Values of this size are usual where masks are handed on through videos; nothing here was tuned."""

LEAST = 0.5
"""A place whose share of votes for the region is above this belongs to the object."""


class PropagationEvaluator:
    """Hands masks on by the features of a `DiftEvaluator`; masks are about as exact as one cell of these is large."""

    def __init__(self, dift: DiftEvaluator) -> None:
        self.dift = dift

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> PropagationEvaluator:
        """path: folder of a text-to-image pipeline. Raises UserError if it is not one."""
        return cls(DiftEvaluator.load(path, device))

    def find_object(
        self, sources: Images, regions: Bool[Tensor, "batch height width"], images: Images
    ) -> Bool[Tensor, "batch height width"]:
        """Find in another image the object that a region shows in the source.

        Each place of the image asks the `NEIGHBOURS` places of the source whose features are nearest to its own
        whether they lie in the region. Every part counts but small specks: an object that was copied instead of
        moved is found at both places, and none where it is gone.

        Args:
            sources: uint8 [B, 3, H, W].
            regions: bool [B, H, W], the object in its source, not empty.
            images: uint8 [B, 3, H, W].

        Returns:
            bool [B, H, W].
        """
        check_images(sources)
        check_images(images)
        captions = [""] * len(sources)
        before = self.dift.features(sources, captions, "source")
        after = self.dift.features(images, captions, "edited")
        size = (images.shape[-2], images.shape[-1])
        votes = torch.stack([_votes(*pair) for pair in zip(before, after, regions, strict=True)])
        objects = functional.interpolate(votes[:, None], size, mode="bilinear", align_corners=False)[:, 0] > LEAST
        return torch.stack([without_specks(mask) for mask in objects])


def _votes(before: Tensor, after: Tensor, region: Tensor) -> Tensor:
    """Features [C, h, w] of source and image, and bool [H, W] -> share of votes for the region [h, w]."""
    height, width = after.shape[-2:]
    labels = functional.interpolate(region[None, None].float(), before.shape[-2:], mode="area").flatten()
    source, target = (functional.normalize(maps.flatten(1), dim=0) for maps in (before, after))
    near, places = (target.T @ source).topk(min(NEIGHBOURS, source.shape[1]), dim=1)
    weights = torch.softmax(near / TEMPERATURE, dim=1)
    return (weights * labels[places]).sum(1).reshape(height, width)
