"""Success of an attribute edit, as an attribute classifier judges it."""

from __future__ import annotations

import torch
from torch import Tensor

SUCCESS_THRESHOLD = 0.5


def success(probabilities: Tensor, column: Tensor, desired: Tensor, threshold: float = SUCCESS_THRESHOLD) -> Tensor:
    """1.0 where the classifier's verdict on the edited attribute equals the desired value, else 0.0; float64 [B].

    probabilities: [B,A] in [0, 1]. column: int64 [B], the attribute's column, -1 = not an attribute of this classifier
    (then NaN). desired: bool [B].
    """
    chosen = probabilities.gather(1, column.clamp(min=0)[:, None])[:, 0]
    hit = ((chosen >= threshold) == desired).to(torch.float64)
    return torch.where(column >= 0, hit, torch.full_like(hit, torch.nan))
