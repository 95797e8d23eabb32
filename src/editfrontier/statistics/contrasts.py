"""Means and paired contrasts of many columns at once, with intervals and tests, as analyses report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from editfrontier.base.seeding import stable_seed
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array, Estimates
from editfrontier.statistics.estimate import Effect
from editfrontier.statistics.taskscores import Settings


def resamples(cluster: npt.NDArray[np.intp], settings: Settings, *parts: str) -> Array:
    """Return resample weights [R, C] of the clusters 0..C-1; equal `parts` give equal weights."""
    seed = stable_seed("contrasts", *parts, settings.seed)
    return bootstrap.cluster_weights(int(cluster.max()) + 1, settings.resamples, seed)


def means(
    values: Array, cluster: npt.NDArray[np.intp], weights: Array, settings: Settings, rates: Sequence[bool] = ()
) -> list[Effect]:
    """Return the mean of every column with its interval and without a test.

    Args:
        values: [N, K], NaN where there is none.
        cluster: [N] in 0..C-1.
        weights: [R, C] of `resamples`.
        rates: for each column whether its values are 0 or 1, so that it gets the interval of a rate.
    """
    estimates = bootstrap.means(values, cluster, weights)
    effects = of_estimates(estimates, values, cluster, settings)
    for k, rate in enumerate(rates):
        held = ~np.isnan(values[:, k])
        if rate and held.any():
            low, high = bootstrap.rate_interval(values[held, k], cluster[held], settings.level)
            effects[k] = replace(effects[k], low=low, high=high)
    return effects


def of_estimates(
    estimates: Estimates, values: Array, cluster: npt.NDArray[np.intp], settings: Settings
) -> list[Effect]:
    """Return estimates of K quantities with their intervals; `values` [N, K] says which units are behind each."""
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    effects = []
    for k, point in enumerate(estimates.point):
        held = ~np.isnan(values[:, k])
        known = len(np.unique(cluster[held])) > 1 and np.isfinite(point)
        bounds = (float(low[k]), float(high[k])) if known else (np.nan, np.nan)
        effects.append(Effect(float(point) if held.any() else np.nan, *bounds, int(held.sum())))
    return effects


def paired(
    gaps: Array, cluster: npt.NDArray[np.intp], weights: Array, settings: Settings, rate: bool = False
) -> list[Effect]:
    """Return the mean of every column of paired differences with its interval and a test.

    Args:
        gaps: [N, K], NaN where one of a pair is missing.
        cluster, weights, settings: as for `means`.
        rate: whether they are differences of outcomes that are 0 or 1. Where each cluster has one case they are then
            tested by McNemar's exact test, with the interval of a difference of rates; else whole clusters are flipped.
    """
    clusters = weights.shape[1]
    sums = np.zeros((clusters, gaps.shape[1]))
    np.add.at(sums, cluster, np.nan_to_num(gaps))
    signs = bootstrap.random_signs(settings.permutations, clusters, stable_seed("sign-flips", settings.seed))
    p = bootstrap.sign_flip_test(sums, signs)
    found = means(gaps, cluster, weights, settings)
    for k, contrast in enumerate(found):
        if not np.isfinite(contrast.low):
            continue
        held = ~np.isnan(gaps[:, k])
        if rate and len(np.unique(cluster[held])) == held.sum():
            ahead, behind = (gaps[held, k] > 0).astype(np.float64), (gaps[held, k] < 0).astype(np.float64)
            low, high = bootstrap.rate_difference_bounds(ahead, behind, settings.level)
            found[k] = replace(contrast, low=low, high=high, p=bootstrap.mcnemar(ahead, behind))
        else:
            found[k] = replace(contrast, p=float(p[k]))
    return found


def adjusted(contrasts: Sequence[Effect]) -> list[float]:
    """Return Holm's adjusted p values of contrasts that are one family."""
    return [float(p) for p in bootstrap.holm(np.array([contrast.p for contrast in contrasts]))]


def slope_within(x: Array, y: Array, cluster: npt.NDArray[np.intp], weights: Array) -> Estimates:
    """Return the least-squares slope of y on x with an intercept for every unit, as estimates of one quantity.

    Args:
        x, y: [U, K], places without a value (NaN) are left out.
        cluster: [U] in 0..C-1.
        weights: [R, C] of `resamples`.
    """
    held = ~np.isnan(y) & ~np.isnan(x)
    count = np.maximum(held.sum(axis=1, keepdims=True), 1)
    dx, dy = (np.where(held, v - np.where(held, v, 0.0).sum(axis=1, keepdims=True) / count, 0.0) for v in (x, y))
    above, below = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    np.add.at(above, cluster, (dx * dy).sum(axis=1))
    np.add.at(below, cluster, (dx * dx).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Estimates(
            np.array([above.sum() / below.sum()]),
            ((weights @ above) / (weights @ below))[:, None],
            ((above.sum() - above) / (below.sum() - below))[:, None],
        )
