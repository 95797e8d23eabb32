"""Intervals of effects that are no differences of means, by the study's clustered bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.seeding import stable_seed
from editfrontier.statistics.bootstrap import Array, Estimates, cluster_weights, intervals
from editfrontier.statistics.estimate import Estimate

if TYPE_CHECKING:
    from editfrontier.statistics.taskscores import Settings


def resample(statistic: Callable[[Array], Array], clusters: int, settings: Settings, n: int, *name: str) -> Estimate:
    """Return an estimate with its interval.

    Args:
        statistic: weights [R, clusters] -> [R], the effect under each row of weights.
        clusters: number of clusters of cases.
        settings: of the statistics.
        n: cases behind it.
        name: parts of the seed of the resamples.
    """
    weights = cluster_weights(clusters, settings.resamples, stable_seed("claims", *name, settings.seed))
    whole = np.ones((1, clusters))
    point, resampled, jackknife = (statistic(w)[:, None] for w in (whole, weights, whole - np.eye(clusters)))
    low, high = intervals(Estimates(point[0], resampled, jackknife), settings.level, settings.interval)
    return Estimate(float(point[0, 0]), float(low[0]), float(high[0]), n)


def sums(values: Array, cluster: np.ndarray, clusters: int) -> Array:
    """Return the sums [clusters] of values [N] by cluster; cases without a value count as nothing."""
    total = np.zeros(clusters)
    np.add.at(total, cluster, np.nan_to_num(values))
    return total
