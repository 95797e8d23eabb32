"""Schedules of classifier-free guidance over the steps of a trajectory.

A schedule says with which scale w_k each step k = 1 .. K guides, from the noisiest to the last. Those that rise or fall
have the mean w over the steps, so that they differ from a constant scale in when they guide and not in how much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GUIDANCE_SCHEDULES = ("constant", "linear_up", "linear_down", "cosine_up", "cosine_down", "interval")


def noise_ratio(level: float) -> float:
    """Return sigma = sqrt((1 - alpha_bar) / alpha_bar), noise over signal at alpha_bar = `level` in (0, 1].

    It is the noise level of Karras et al. (NeurIPS 2022), in which intervals of guidance are published.
    """
    return math.sqrt((1.0 - level) / level)


def step_factors(schedule: str, steps: int) -> list[float]:
    """Return f_1 .. f_K with mean 1, the share of w that each step takes.

    Args:
        schedule: "constant"; "linear_up" 2 u and "linear_down" 2 (1 - u); "cosine_up" 1 - cos(pi u) and "cosine_down"
            1 + cos(pi u), where u = (k - 1/2) / K is the middle of step k. Up is towards the clean image.
        steps: K, at least 1.

    Source:
        Wang et al. (TMLR 2024), "Analysis of classifier-free guidance weight schedulers": rising schedules of equal
        area do best; the falling ones are their counterparts.
    """
    middles = [(k - 0.5) / steps for k in range(1, steps + 1)]
    if schedule == "constant":
        return [1.0] * steps
    if schedule == "linear_up":
        return [2.0 * u for u in middles]
    if schedule == "linear_down":
        return [2.0 * (1.0 - u) for u in middles]
    if schedule == "cosine_up":
        return [1.0 - math.cos(math.pi * u) for u in middles]
    if schedule == "cosine_down":
        return [1.0 + math.cos(math.pi * u) for u in middles]
    raise ValueError(f"unknown schedule {schedule!r}")


def step_scales(
    schedule: str,
    scale: float | Tensor,
    levels: Sequence[float],
    interval: tuple[float, float] = (0.0, math.inf),
) -> list[float | Tensor]:
    """Return w_1 .. w_K, the guidance scale of each step.

    Args:
        schedule: one of GUIDANCE_SCHEDULES; those of `step_factors` multiply `scale`, "interval" is `scale` where the
            noise is in the interval, and 1, which is no guidance, elsewhere.
        scale: w, a number or a map [B, 1, h, w].
        levels: alpha_bar of each step's input, K values in (0, 1].
        interval: (low, high) of "interval" in noise over signal (`noise_ratio`): low < sigma <= high.

    Source:
        The interval is that of Kynkaanniemi et al. (NeurIPS 2024), "Applying guidance in a limited interval improves
        sample and distribution quality in diffusion models". Its mean is below w, as published.
    """
    if schedule == "interval":
        low, high = interval
        return [scale if low < noise_ratio(level) <= high else 1.0 for level in levels]
    # A factor of exactly 1 leaves the scale as it is, to the last bit.
    return [scale if factor == 1.0 else factor * scale for factor in step_factors(schedule, len(levels))]


def needs_empty_prompt(scale: float | Tensor) -> bool:
    """Return whether a step with this scale needs the forward of the empty prompt: every one but the number 1."""
    return not (isinstance(scale, int | float) and scale == 1.0)


def instruction_weights(guidance: float, image_guidance: float) -> tuple[float, float, float]:
    """Return by what guidance weighs the predictions that see text and image, the image alone, and nothing.

    v(none) + w_I (v(image) - v(none)) + w_T (v(text, image) - v(image)), the guidance of InstructPix2Pix (Brooks et
    al., CVPR 2023, eq. 3), sums them with the weights w_T, w_I - w_T and 1 - w_I. One of weight 0 need not be made.
    """
    return guidance, image_guidance - guidance, 1.0 - image_guidance
