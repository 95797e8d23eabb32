"""How well a score tells two groups apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


def auroc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties half; by torchmetrics.

    Args:
        positive, negative: scores of any shape, neither empty.
    """
    import torch
    from torchmetrics.functional.classification import binary_auroc

    above, below = np.ravel(positive), np.ravel(negative)
    # Ranks, since torchmetrics takes scores outside of [0, 1] for logits, and their sigmoids may be equal.
    ranks = rankdata(np.concatenate([above, below])) / (len(above) + len(below))
    labels = torch.arange(len(ranks)) < len(above)
    return float(binary_auroc(torch.from_numpy(ranks), labels.long(), validate_args=False))
