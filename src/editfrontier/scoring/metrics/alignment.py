"""Agreement of images, and of image and caption, in a space of embeddings.

Embeddings are float [B,D], of CLIP unit vectors; values are float64 [B].
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIP_SCORE_WEIGHT = 2.5
NO_CHANGE = 1e-4
"""A move of an embedding shorter than this is rounding, not a change (unit vectors in fp32 differ by about 1e-6)."""


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of embeddings [B,D] of any length, in [-1, 1]; NaN where one is 0 or NaN."""
    a, b = a.to(torch.float64), b.to(torch.float64)
    return ((a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).clamp(-1, 1)


def clip_cosine(image: Tensor, text: Tensor) -> Tensor:
    """Cosine of image and text embeddings [B,D] of unit length, in [-1, 1]."""
    return (image.to(torch.float64) * text.to(torch.float64)).sum(dim=1).clamp(-1, 1)


def clip_score(cosine: Tensor) -> Tensor:
    """2.5 max(cosine, 0), each image by itself (Hessel et al. 2021)."""
    return CLIP_SCORE_WEIGHT * cosine.clamp(min=0)


def clip_directional(source_image: Tensor, edited_image: Tensor, source_text: Tensor, target_text: Tensor) -> Tensor:
    """Cosine of the image change and the caption change, all inputs [B,D] unit vectors.

    0 where the image does not change: no change is no move in the asked direction. NaN where the captions do not
    differ or one is NaN (missing): then no direction was asked for.
    """
    image_move = edited_image.to(torch.float64) - source_image.to(torch.float64)
    text_move = target_text.to(torch.float64) - source_text.to(torch.float64)
    image_length, text_length = image_move.norm(dim=1), text_move.norm(dim=1)
    cosine = (image_move * text_move).sum(dim=1) / (image_length * text_length).clamp(min=1e-12)
    cosine = torch.where(image_length < NO_CHANGE, torch.zeros_like(cosine), cosine.clamp(-1, 1))
    return torch.where(text_length >= NO_CHANGE, cosine, torch.full_like(cosine, torch.nan))
