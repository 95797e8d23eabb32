"""Held-out scores of the evaluators."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor


def spearman(a: Tensor, b: Tensor) -> float:
    """Return the rank correlation of two vectors."""
    return float(spearmanr(a.numpy(), b.numpy()).statistic)


def balanced_accuracy(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of sensitivity and specificity by column: [N, A], bool [N, A] -> [A]."""
    said = probabilities > 0.5
    sensitivity = (said & truth).sum(0) / truth.sum(0)
    specificity = (~said & ~truth).sum(0) / (~truth).sum(0)
    return (sensitivity + specificity) / 2


def best_logit_shift(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the shift of each column [A] that moves the threshold of the best balanced accuracy to 0, or the middle of
    equally good thresholds; logits [N, A], truth bool [N, A]."""
    shifts = []
    for column, labels in zip(logits.T.numpy(), truth.T.numpy(), strict=True):
        grid = np.unique(np.concatenate([np.quantile(column, np.linspace(0, 1, 401)), [0.0]]))
        middle = (grid[1:] + grid[:-1]) / 2
        sensitivity = (column[None, labels] > middle[:, None]).mean(1)
        specificity = (column[None, ~labels] <= middle[:, None]).mean(1)
        quality = sensitivity + specificity
        best = middle[quality >= quality.max() - 1e-9]
        shifts.append(-float((best.min() + best.max()) / 2))
    return torch.tensor(shifts)
