"""Schedules of classifier-free guidance over the steps of a trajectory.

A schedule gives the scale w_k of each step k = 1 .. K, from the noisiest to the last. Rising and falling schedules have
the mean w over the steps: unlike a constant scale they change when the guidance acts, not how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_FACTORS: Mapping[str, Callable[[float], float]] = {
    "constant": lambda u: 1.0,
    "linear_up": lambda u: 2.0 * u,
    "linear_down": lambda u: 2.0 * (1.0 - u),
    "cosine_up": lambda u: 1.0 - math.cos(math.pi * u),
    "cosine_down": lambda u: 1.0 + math.cos(math.pi * u),
}
GUIDANCE_SCHEDULES = (*_FACTORS, "interval")


def noise_ratio(level: float) -> float:
    """Return sigma = sqrt((1 - alpha_bar) / alpha_bar), noise over signal at alpha_bar = `level` in (0, 1].

    It is the noise level of Karras et al. (NeurIPS 2022), the unit of published intervals of guidance.
    """
    return math.sqrt((1.0 - level) / level)


def step_factors(schedule: str, steps: int) -> list[float]:
    """Return the factors f_1 .. f_K of w, with mean 1.

    Args:
        schedule: a key of `_FACTORS`, functions of the middle u = (k - 1/2) / K of step k; up is towards clean images.
        steps: K, at least 1.

    Source:
        Wang et al. (TMLR 2024), "Analysis of classifier-free guidance weight schedulers": rising schedules of equal
        area do best; the falling ones are their counterparts.
    """
    return [_FACTORS[schedule]((k - 0.5) / steps) for k in range(1, steps + 1)]


def step_scales(
    schedule: str,
    scale: float | Tensor,
    levels: Sequence[float],
    interval: tuple[float, float] = (0.0, math.inf),
) -> list[float | Tensor]:
    """Return w_1 .. w_K, the guidance scale of each step.

    Args:
        schedule: one of GUIDANCE_SCHEDULES; `step_factors` multiply `scale`; "interval" is `scale` for noise in the
            interval, and 1, no guidance, elsewhere.
        scale: w, a number or a map [B, 1, h, w].
        levels: alpha_bar of each step's input, K values in (0, 1].
        interval: (low, high) of "interval" as noise over signal (`noise_ratio`): low < sigma <= high.

    Source:
        Kynkaanniemi et al. (NeurIPS 2024), "Applying guidance in a limited interval improves sample and distribution
        quality in diffusion models". Its mean is below w, as published.
    """
    if schedule == "interval":
        low, high = interval
        return [scale if low < noise_ratio(level) <= high else 1.0 for level in levels]
    # A factor of exactly 1 does not change the scale, to the last bit.
    return [scale if factor == 1.0 else factor * scale for factor in step_factors(schedule, len(levels))]


def needs_empty_prompt(scale: float | Tensor) -> bool:
    """Return whether a step with this scale needs the forward of the empty prompt: every one but the number 1."""
    return not (isinstance(scale, int | float) and scale == 1.0)


def instruction_weights(guidance: float, image_guidance: float) -> tuple[float, float, float]:
    """Return the weights of guidance for the predictions from text and image, from the image alone, and from nothing.

    v(none) + w_I (v(image) - v(none)) + w_T (v(text, image) - v(image)), the guidance of InstructPix2Pix (Brooks et
    al., CVPR 2023, eq. 3), sums them with the weights w_T, w_I - w_T and 1 - w_I. A prediction of weight 0 can be left
    out.
    """
    return guidance, image_guidance - guidance, 1.0 - image_guidance
