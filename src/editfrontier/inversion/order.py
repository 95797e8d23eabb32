"""Orders of convergence: the error of a reconstruction over the number of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from editfrontier import inversion


def slope(steps: Sequence[int], errors: Sequence[float]) -> float:
    """Return the least-squares slope of log error over log steps: -1 where the error halves with twice the steps."""
    x, y = [math.log(n) for n in steps], [math.log(error) for error in errors]
    centre = sum(x) / len(x)
    return sum((a - centre) * b for a, b in zip(x, y, strict=True)) / sum((a - centre) ** 2 for a in x)


def reconstruction_errors(
    model: Any, clean: Tensor, text: inversion.Text, method: str, steps: Sequence[int], guidance: float = 1.0
) -> list[float]:
    """Return the root mean squared error of latents that were inverted and sampled back, for each number of steps.

    Args:
        model: a pipeline in float32; in half precision rounding hides the order.
        clean: [B, C, h, w] scaled latents; the error is over all of them.
        text: B prompts or their embeddings, of both directions.
        method: of `inversion.METHODS`.
        steps: numbers of steps of each direction.
        guidance: of both directions.
    """
    errors = []
    for count in steps:
        trajectory = inversion.invert(model, clean, method, count, text, guidance=guidance)
        back = inversion.reconstruct(model, trajectory, method, count, text, guidance=guidance)
        errors.append(math.sqrt(float((back.double() - clean.double()).square().mean())))
    return errors
