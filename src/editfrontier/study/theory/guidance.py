"""Theorem 3: the bound on what classifier-free guidance changes, its terms per step, and their alignment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
READINGS = ("single", "cumulative", "ddim")


def step_alphas(levels: Sequence[float]) -> Floats:
    """Return alpha of each single step, alpha_bar_t / alpha_bar_{t-1} [T], from T + 1 levels, the noisiest first."""
    return np.array([noisier / cleaner for noisier, cleaner in pairwise(levels)])


def step_terms(levels: Sequence[float], reading: str) -> Floats:
    """Return the T terms of the sum of Theorem 3, in the order of sampling (the noisiest step first).

    Args:
        levels: T + 1 values of alpha_bar, from the noisiest to the one after the last step.
        reading: what alpha_t is in (1 - alpha_t) / sqrt(alpha_t): "single", the factor of one step, as the paper's
            reverse step takes it; "cumulative", alpha_bar_t, which its forward process writes the same (E1).
            "ddim" is no reading of the formula but what a DDIM step makes of a change of the noise estimate at
            alpha_bar_0 (docs/theory.md): sqrt(alpha_bar_0) (sigma_t - sigma_{t-1}), sigma^2 = (1 - alpha_bar) /
            alpha_bar.
    """
    if reading not in READINGS:
        raise ValueError(f"reading {reading!r}, expected one of {', '.join(READINGS)}")
    every = np.asarray(levels, dtype=np.float64)
    if reading == "ddim":
        sigmas = np.sqrt((1.0 - every) / every)
        return np.sqrt(every[-1]) * (sigmas[:-1] - sigmas[1:])
    alphas = step_alphas(levels) if reading == "single" else every[:-1]
    return (1.0 - alphas) / np.sqrt(alphas)


def guidance_bound(scale: float, largest: npt.ArrayLike, terms: Floats, averaged: bool) -> Floats:
    """Return the bound of Theorem 3, w G sum_t terms, divided by sqrt(T) if `averaged` (as the paper prints it).

    Args:
        largest: G, the largest norm of the guidance direction over the steps, [B] or a number.
        terms: [T] of `step_terms`.
        averaged: whether the factor 1 / sqrt(T) is there; the triangle inequality of the proof does not give it.
    """
    bound = scale * np.asarray(largest, dtype=np.float64) * terms.sum()
    return bound / np.sqrt(len(terms)) if averaged else bound


def alignment(directions: npt.ArrayLike, terms: Floats) -> Floats:
    """Return |sum_t terms_t D_t| / sum_t terms_t |D_t| [B]: 1 for directions that agree.

    It is near 1 / sqrt(T) for orthogonal ones of equal weight, which is what the factor 1 / sqrt(T) of Theorem 3
    takes for granted.

    Args:
        directions: [T, B, ...] guidance directions.
    """
    every = np.asarray(directions, dtype=np.float64)
    every = every.reshape(*every.shape[:2], -1)
    weighted = terms[:, None, None] * every
    apart = np.linalg.norm(weighted, axis=2).sum(axis=0)
    return np.linalg.norm(weighted.sum(axis=0), axis=1) / np.where(apart > 0, apart, np.nan)


def shares(terms: npt.ArrayLike) -> Floats:
    """Return each step's share of the sum of non-negative terms [T] or [T, B], along the first axis."""
    every = np.asarray(terms, dtype=np.float64)
    return every / every.sum(axis=0)
