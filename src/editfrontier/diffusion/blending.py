"""Mask-guided blending of an edit with its source, with a switch for every reading of the paper's Algorithm 2.

Step k of K goes from timestep t_k to t_{k+1}; after it the share u = k / K of the trajectory is done. The errata E3-E6,
E14 and E15 (docs/errata.md) explain the switches.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import UserError

SCHEDULES = ("cosine", "constant", "step", "printed", "none")
POLARITIES = ("hold", "release", "printed")
DILATION_UNITS = ("scaled", "cells", "pixels", "none")


def source_schedule(schedule: str, steps: int, constant: float = 0.5) -> list[float]:
    """Return beta_1 .. beta_K, the weight of the source after each step.

    Args:
        schedule: "cosine" cos(pi u / 2), from 1 to exactly 0 (E3); "constant"; "step", 1 while u <= 1/2 and then 0;
            "printed" cos(pi t / (2 T_s)) as in Algorithm 2, which rises from 0; "none", always 0.
        steps: K, at least 1.
        constant: the value of the constant schedule, in [0, 1].
    """
    done = [k / steps for k in range(1, steps + 1)]
    if schedule == "cosine":
        return [0.0 if u == 1.0 else math.cos(math.pi * u / 2) for u in done]
    if schedule == "constant":
        return [constant] * steps
    if schedule == "step":
        return [1.0 if u <= 0.5 else 0.0 for u in done]
    if schedule == "printed":
        # At its first step the printed t is T_s, so it is one step behind the levels that the steps arrive at.
        return [math.cos(math.pi * (1 - (k - 1) / steps) / 2) if k > 1 else 0.0 for k in range(1, steps + 1)]
    if schedule == "none":
        return [0.0] * steps
    raise ValueError(f"unknown schedule {schedule!r}")


def step_weights(betas: list[float], mode: str) -> list[float]:
    """Return b_1 .. b_K, the weight of the source in each step.

    "per_step" and "x0" use beta itself; the product of the later (1 - b_j) remains of an edit at step k (E15).
    "cumulative" makes beta the total weight of the source: b_k = 1 - (1 - beta_k) / (1 - beta_{k+1}), and b_K = beta_K,
    so that the product over j >= k of (1 - b_j) is 1 - beta_k.

    Raises:
        UserError: "cumulative" with a rising schedule; no weights in [0, 1] have that product.
    """
    if mode != "cumulative":
        return list(betas)
    if any(later > earlier for earlier, later in pairwise(betas)):
        raise UserError(
            "hyperparameter 'mode': 'cumulative' needs a schedule that never rises, but 'printed' rises. "
            "Use mode 'per_step' with it."
        )
    nexts = [*betas[1:], 0.0]
    return [1.0 if now == 1.0 else 1.0 - (1.0 - now) / (1.0 - later) for now, later in zip(betas, nexts, strict=True)]


def region_weights(mask: Tensor, weight: float, polarity: str) -> tuple[Tensor, Tensor]:
    """Return (held, blended): where the source replaces the edit, and the weights of the source elsewhere.

    Args:
        mask: [B, 1, h, w] in {0, 1}, 1 = editable, already dilated.
        weight: b_k.
        polarity: "hold" keeps the source outside and blends inside (E4, default); "release" blends outside, the inside
            is free; "printed" blends inside, the outside is free, which edits the complement.
    """
    outside = 1.0 - mask
    if polarity == "hold":
        return outside, weight * mask
    if polarity == "release":
        return torch.zeros_like(mask), weight * outside
    return torch.zeros_like(mask), weight * mask


def mix(source: Tensor, edited: Tensor, weight: Tensor) -> Tensor:
    """Return weight * source + (1 - weight) * edited, exact where the weight is 0 or 1."""
    mixed = weight * source + (1.0 - weight) * edited
    return torch.where(weight == 1.0, source, torch.where(weight == 0.0, edited, mixed))


def latent_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Pool a mask [B, 1, H, W] in {0, 1} to the latent grid (h, w) by maximum: every touched cell is editable.

    Nearest-neighbour resizing, as in the pipelines, drops masks that are thinner than a cell.
    """
    return functional.adaptive_max_pool2d(mask, size)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Dilate a mask [B, 1, h, w] by a square of side 2 radius + 1."""
    return mask if radius == 0 else functional.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)


def dilation_radius(step: int, steps: int, unit: str, latent_height: int) -> int:
    """Return the radius by which the mask is dilated at step k: r = max(1, floor(4 (1 - u))), in a unit (E14).

    Args:
        step: k in 1 .. K.
        steps: K.
        unit: "scaled" (latent cells of a 64-row grid, scaled to this one: max(1, round(r h / 64))), "cells" (r latent
            cells), "pixels" (r pixels, before pooling) or "none" (0).
        latent_height: h.
    """
    if unit == "none":
        return 0
    radius = max(1, 4 * (steps - step) // steps)
    return max(1, round(radius * latent_height / 64)) if unit == "scaled" else radius


def editable_cells(mask: Tensor, size: tuple[int, int], step: int, steps: int, unit: str) -> Tensor:
    """Return the dilated mask of step k on the latent grid, [B, 1, h, w] in {0, 1}; it contains those of later steps.

    Args:
        mask: [B, 1, H, W] in {0, 1}, 1 = editable.
        size: (h, w).
        step, steps, unit: as for `dilation_radius`.
    """
    radius = dilation_radius(step, steps, unit, size[0])
    if unit == "pixels":
        return latent_mask(dilate(mask, radius), size)
    return dilate(latent_mask(mask, size), radius)


def feathered(mask: Tensor, radius: int) -> Tensor:
    """Return the weights of an edit in a pixel composite: 1 in the mask, falling linearly to exactly 0 at the radius.

    Args:
        mask: [B, 1, H, W] in {0, 1}.
        radius: pixels, at least 0; a pixel farther from the mask (Chebyshev distance) has weight 0.
    """
    return torch.stack([dilate(mask, r) for r in range(radius + 1)]).mean(0)


def paste(edited: Tensor, source: Tensor, mask: Tensor, radius: int) -> Tensor:
    """Composite an edit [B, 3, H, W] over its source with a mask feathered over `radius` pixels (see `feathered`)."""
    return mix(source, edited, 1.0 - feathered(mask, radius))
