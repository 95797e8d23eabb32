"""Whether the edit keeps the person."""

from __future__ import annotations

import torch
from torch import Tensor


def identity_similarity(source: Tensor, edited: Tensor) -> Tensor:
    """Cosine of identity embeddings [B,D] of unit length, float64 [B] in [-1, 1]; raw, not rescaled to [0, 1]."""
    return (source.to(torch.float64) * edited.to(torch.float64)).sum(dim=1).clamp(-1, 1)
