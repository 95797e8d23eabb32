"""Artifact rate: a threshold on a network's artifact score, calibrated on unedited sources."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FALSE_POSITIVE_RATE = 0.05


def artifact_threshold(source_scores: Tensor, rate: float = FALSE_POSITIVE_RATE) -> float:
    """Threshold that an unedited source exceeds with probability at most `rate`.

    Split-conformal: the ceil((n + 1)(1 - rate))-th smallest of the n source scores [n] bounds the rate on exchangeable
    new sources, not only on these (Vovk et al. 2005). Below n = 1/rate - 1 no score bounds it; the
    greatest is taken then.
    """
    if source_scores.numel() == 0:
        raise ValueError("source_scores is empty")
    ordered = source_scores.to(torch.float64).sort().values
    rank = math.ceil((len(ordered) + 1) * (1 - rate))
    return float(ordered[min(rank, len(ordered)) - 1])


def artifact(scores: Tensor, threshold: float) -> Tensor:
    """1.0 where the artifact score [B] exceeds the threshold, else 0.0; float64 [B]."""
    return (scores.to(torch.float64) > threshold).to(torch.float64)
