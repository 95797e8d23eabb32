"""How far people agree with each other, and metrics with people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from editfrontier.statistics.bootstrap import Array


def nominal_alpha(counts: Array, weights: Array | None = None, exchangeable: bool = False) -> Array:
    """Krippendorff's alpha for nominal values, 1 = perfect agreement, 0 = agreement by chance.

    alpha = 1 - D_o / D_e with observed and expected disagreement from the matrix of coincidences of values within units
    (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C). Units with fewer than two values say
    nothing about agreement and are left out.

    Args:
        counts: [U,V], how many raters gave each of V values to each of U units.
        weights: [R,U], how often each of R resamples of units holds each unit; None = each once.
        exchangeable: whether it is arbitrary which value of a unit is called 0 and which 1, as with the two sides of a
            comparison. What is expected by chance then takes the mean of their frequencies, so that no naming of sides
            changes alpha.

    Returns:
        [R] (or [1]), NaN where no unit has two values or all values are the same.
    """
    n = counts.sum(axis=1)
    kept = n >= 2
    held = np.ones((1, len(counts))) if weights is None else weights
    w, c, m = held[:, kept], counts[kept], n[kept]
    # Of each unit: coincidences of unlike values, and values of each kind.
    unlike = (m**2 - (c**2).sum(axis=1)) / np.where(m > 1, m - 1, 1)
    values = w @ c
    if exchangeable:
        values[:, :2] = values[:, :2].mean(axis=1, keepdims=True)
    total = values.sum(axis=1)
    expected = total**2 - (values**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha = 1 - (total - 1) * (w @ unlike) / expected
    return np.asarray(np.where(expected > 0, alpha, np.nan))


def majority_accuracy(margin: Array, preference: Array, weights: Array) -> tuple[Array, Array]:
    """How often a preference agrees with the majority of people.

    Args:
        margin: [R,I], votes for the first less votes for the second of each item; 0 = no majority, which leaves it out.
        preference: [I], above 0 where the first is preferred, below 0 the second; 0 counts as half right; NaN = none.
        weights: [R,I], how often each resample holds each item.

    Returns:
        Accuracy [R], NaN where no item has a majority and a preference, and the weight of the items behind it [R].
    """
    known = np.isfinite(preference)
    sign = np.sign(np.where(known, preference, 0.0))
    w = weights * known * (margin != 0)
    right = (1 + np.sign(margin) * sign) / 2
    n = w.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((w * right).sum(axis=1) / n), n


def people_accuracy(votes: npt.NDArray[np.floating], present: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """How often each rater agrees with the majority of the other raters, what a metric can be measured against.

    Args:
        votes: [N,I], 1, -1 or 0 of each rater for each item.
        present: [N,I], whether the rater judged the item.

    Returns:
        [N,I], 1 = agrees, 0 = does not, one half where the rater chose a tie; and [N,I], whether the others have a
        majority (elsewhere the first is 0).
    """
    others = np.where(present, votes.sum(axis=0) - votes, 0.0)
    counted = present & (others != 0)
    return np.where(counted, (1 + np.sign(others) * votes) / 2, 0.0), counted


def rank_correlations(x: Array, y: Array) -> tuple[Array, Array]:
    """Spearman's rho and Kendall's tau-b of rows of two arrays [R,K].

    Returns:
        [R] each, NaN where a row has a NaN or equal values only.
    """
    dx, dy = (np.sign(a[:, :, None] - a[:, None, :]) for a in (x, y))
    rx, ry = (rankdata(a, axis=1) for a in (x, y))
    rx, ry = rx - rx.mean(axis=1, keepdims=True), ry - ry.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = (dx * dy).sum(axis=(1, 2)) / np.sqrt((dx**2).sum(axis=(1, 2)) * (dy**2).sum(axis=(1, 2)))
        rho = (rx * ry).sum(axis=1) / np.sqrt((rx**2).sum(axis=1) * (ry**2).sum(axis=1))
    known = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    return np.where(known, rho, np.nan), np.where(known, tau, np.nan)
