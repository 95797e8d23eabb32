"""Section 6.1: bound how far two flows diverge by the difference of their fields (Gronwall's inequality).

Euler's method on x' = f_a(x, t) and y' = f_b(y, t) from one start gives, for e_k = y_k - x_k,

    e_{k+1} = e_k + h_k (f_b(y_k) - f_b(x_k)) + h_k (f_b(x_k) - f_a(x_k)),

so that |e_{k+1}| <= (1 + |h_k| L_k) |e_k| + |h_k| d_k, with d_k = |f_b(x_k) - f_a(x_k)| and L_k a Lipschitz constant of
f_b. Unrolled it is the discrete inequality of Gronwall that is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.study.theory.lipschitz import norms
from editfrontier.study.theory.maps import Field

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Divergence:
    """Two flows from one start, step by step.

    Attributes:
        widths: [K] |h_k|, lengths of the steps.
        deviations: [K + 1, B] |y_k - x_k|.
        differences: [K, B] |f_b(x_k) - f_a(x_k)|, the difference of the fields on the source's path.
        secants: [K, B] |f_b(y_k) - f_b(x_k)| / |y_k - x_k|, 0 where the flows have not parted: the least L_k that
            serves these two paths.
        growths: [K, B] |e_k + h_k (f_b(y_k) - f_b(x_k))| / |e_k|, 1 where they have not parted: what a step makes of
            the deviation, which 1 + |h_k| L_k bounds without knowing whether the field pulls paths together.
        states: [B, ...] x_k for each k, the source's path.
    """

    widths: Floats
    deviations: Floats
    differences: Floats
    secants: Floats
    growths: Floats
    states: list[Tensor]

    def first(self, count: int) -> Divergence:
        """Return the same of the first samples."""
        arrays = self.deviations, self.differences, self.secants, self.growths
        a, b, c, d = (array[:, :count] for array in arrays)
        return Divergence(self.widths, a, b, c, d, [state[:count] for state in self.states])


def diverge(source: Field, target: Field, start: Tensor, times: list[float]) -> Divergence:
    """Follow two fields from one start by Euler's method, K steps along K + 1 times. Three evaluations a step."""
    x = y = start
    states, deviations = [start], [np.zeros(len(start))]
    differences, secants, growths = [], [], []
    with torch.no_grad():
        for step in range(len(times) - 1):
            width = times[step + 1] - times[step]
            along, across = source(x, step), target(x, step)
            moved = across if step == 0 else target(y, step)
            apart = y - x
            length, spread = norms(apart), norms(moved - across)
            parted = length > 0
            safe = torch.where(parted, length, 1.0)
            secants.append(torch.where(parted, spread / safe, 0.0).cpu().numpy())
            growths.append(torch.where(parted, norms(apart + width * (moved - across)) / safe, 1.0).cpu().numpy())
            differences.append(norms(across - along).cpu().numpy())
            x, y = x + width * along, y + width * moved
            states.append(x)
            deviations.append(norms(y - x).cpu().numpy())
    widths = np.abs(np.diff(np.asarray(times, dtype=np.float64)))
    return Divergence(widths, np.stack(deviations), np.stack(differences), np.stack(secants), np.stack(growths), states)


def score_integral(widths: Floats, differences: Floats) -> Floats:
    """Return the time-integrated difference of the fields up to each step, sum_{j<k} |h_j| d_j, [K + 1, B] from 0."""
    total = np.cumsum(widths[:, None] * differences, axis=0)
    return np.concatenate([np.zeros((1, differences.shape[1])), total])


def gronwall_bound(widths: Floats, differences: Floats, factors: Floats) -> Floats:
    """Return the bound on the deviation after each step, [K + 1, B] from 0: b_{k+1} = factor_k b_k + |h_k| d_k.

    Args:
        widths: [K] |h_k|.
        differences: [K, B] d_k.
        factors: [K, B] what a step makes of a deviation at most: 1 + |h_k| L_k for Gronwall's inequality.
    """
    bounds = [np.zeros(differences.shape[1])]
    for width, difference, factor in zip(widths, differences, factors, strict=True):
        bounds.append(factor * bounds[-1] + width * difference)
    return np.stack(bounds)


def lipschitz_factors(widths: Floats, constants: Floats) -> Floats:
    """Return 1 + |h_k| L_k, [K, B], from widths [K] and Lipschitz constants [K, B]."""
    return 1.0 + widths[:, None] * constants


def between_steps(values: Floats, steps: npt.ArrayLike, count: int) -> Floats:
    """Return values [n, B] at some steps as [count, B] at all of them, linear in between, constant beyond the ends."""
    every = np.arange(count)
    places = np.asarray(steps)
    return np.stack([np.interp(every, places, column) for column in values.T], axis=1)
