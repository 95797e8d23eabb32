"""Bootstrap by clusters, intervals, tests and Pareto fronts, on arrays.

One matrix of resample weights serves all variants and metrics of a task: row r says how often resample r holds each
cluster. Means of all variants under one resample then belong together, so differences and fronts are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Array = npt.NDArray[np.float64]
INTERVALS = ("studentized", "bca", "percentile")
LEAST_STUDENTIZED = 16
"""Clusters that a studentized interval needs; the standard error of a resample of fewer is hardly known."""

ROUNDING = 1e-9
"""Differences of FID and of 1000 KID that are smaller come from rounding."""


def cluster_weights(clusters: int, resamples: int, seed: int) -> Array:
    """Counts [resamples, clusters] of drawing `clusters` clusters with replacement; every row sums to `clusters`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


@dataclass(frozen=True)
class Estimates:
    """Estimates of K quantities: point [K], under each resample [R,K], without each cluster in turn [C,K].

    error [K], resampled_error [R,K]: standard errors of the point and of each resample, None where they are not known.
    """

    point: Array
    resampled: Array
    jackknife: Array
    error: Array | None = None
    resampled_error: Array | None = None

    def reshape(self, *shape: int) -> Estimates:
        """The same estimates with K unfolded into `shape`."""
        fold = self.resampled.shape[0], self.jackknife.shape[0]
        return Estimates(
            self.point.reshape(shape),
            self.resampled.reshape(fold[0], *shape),
            self.jackknife.reshape(fold[1], *shape),
            None if self.error is None else self.error.reshape(shape),
            None if self.resampled_error is None else self.resampled_error.reshape(fold[0], *shape),
        )


def means(values: Array, cluster: npt.NDArray[np.integer], weights: Array) -> Estimates:
    """Means of columns of cases.

    Args:
        values: [N,K], NaN where a case has no value for a column (it is then left out of that column only).
        cluster: [N], the cluster of each case, in 0..C-1.
        weights: [R,C] of `cluster_weights`.
    """
    clusters = weights.shape[1]
    present = ~np.isnan(values)
    sums, counts = np.zeros((clusters, values.shape[1])), np.zeros((clusters, values.shape[1]))
    np.add.at(sums, cluster, np.where(present, values, 0.0))
    np.add.at(counts, cluster, present.astype(np.float64))
    total, n = sums.sum(axis=0), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        point, resampled = total / n, (weights @ sums) / (weights @ counts)
        # Standard errors of a ratio of sums over clusters, from centred sums, which lose no digits.
        gaps = sums - point * counts
        error = np.sqrt(_correction(counts > 0) * (gaps**2).sum(axis=0)) / n
        moved = resampled - point
        squares = weights @ gaps**2 - 2 * moved * (weights @ (gaps * counts)) + moved**2 * (weights @ counts**2)
        resampled_error = np.sqrt(_correction(counts > 0) * squares.clip(min=0)) / (weights @ counts)
        return Estimates(point, resampled, (total - sums) / (n - counts), error, resampled_error)


def _correction(held: npt.NDArray[np.bool_]) -> Array:
    clusters = held.sum(axis=0)
    return np.asarray(clusters / np.where(clusters > 1, clusters - 1, np.nan))


def intervals(estimates: Estimates, level: float = 0.95, kind: str = "bca") -> tuple[Array, Array]:
    """Lower and upper bounds [K] of confidence intervals.

    kind: "percentile", "bca" (bias-corrected and accelerated, Efron 1987; acceleration from the jackknife over
    clusters), or "studentized" (bootstrap-t, Efron 1981, within the range of the clusters). The last holds the level
    best for skewed values. It is "bca" where standard errors are not or hardly known: for estimates that are no means,
    below `LEAST_STUDENTIZED` clusters, and where one resample in a hundred has no spread. Both bounds are NaN when
    there are fewer than two clusters; they equal the point where no resample differs from it.
    """
    if kind == "studentized":
        return _studentized(estimates, level)
    resampled = np.sort(np.where(np.isfinite(estimates.resampled), estimates.resampled, np.nan), axis=0)
    finite = np.isfinite(resampled).sum(axis=0)
    tails = (1 - level) / 2, (1 + level) / 2
    if kind == "bca":
        probabilities = [_bca_level(estimates, tail, finite) for tail in tails]
    elif kind == "percentile":
        probabilities = [np.full(estimates.point.shape, tail) for tail in tails]
    else:
        raise ValueError(f"interval {kind!r} is unknown, expected one of {', '.join(INTERVALS)}")
    low, high = (_quantile(resampled, finite, probability) for probability in probabilities)
    if len(estimates.jackknife) < 2:  # all resamples are the same and their spread says nothing
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high


def _studentized(estimates: Estimates, level: float) -> tuple[Array, Array]:
    low, high = intervals(estimates, level, "bca")
    if estimates.error is None or estimates.resampled_error is None or len(estimates.jackknife) < LEAST_STUDENTIZED:
        return low, high
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (estimates.resampled - estimates.point) / estimates.resampled_error
    usable = np.isfinite(t) & (estimates.resampled_error > 1e-9 * np.maximum(1.0, np.abs(estimates.point)))
    ordered = np.sort(np.where(usable, t, np.nan), axis=0)
    finite = usable.sum(axis=0)
    tails = (np.full(estimates.point.shape, tail) for tail in ((1 + level) / 2, (1 - level) / 2))
    bounds = [estimates.point - _quantile(ordered, finite, tail) * estimates.error for tail in tails]
    known = finite > 0.99 * len(t)
    # A resample that misses an outlier has hardly any spread and a huge t; a mean lies between the least and the
    # greatest cluster all the same (for means the jackknife tells the clusters' values).
    clusters = len(estimates.jackknife)
    values = clusters * estimates.point - (clusters - 1) * estimates.jackknife
    least, greatest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)  # NaN where there is nothing
    low, high = np.where(known, bounds[0], low), np.where(known, bounds[1], high)
    return np.maximum(low, least), np.minimum(high, greatest)


def _bca_level(estimates: Estimates, tail: float, finite: npt.NDArray[np.integer]) -> Array:
    resampled, point = estimates.resampled, estimates.point
    n = np.maximum(finite, 1)
    tolerance = 1e-12 * np.maximum(1.0, np.abs(point))
    below = (resampled < point - tolerance).sum(axis=0) + 0.5 * (np.abs(resampled - point) <= tolerance).sum(axis=0)
    bias = ndtri(np.clip(below / n, 1 / (n + 1), n / (n + 1)))
    jackknife = np.where(np.isfinite(estimates.jackknife), estimates.jackknife, point)
    deviation = jackknife.mean(axis=0) - jackknife
    spread = (deviation**2).sum(axis=0) ** 1.5
    acceleration = np.where(spread > 0, (deviation**3).sum(axis=0) / np.where(spread > 0, 6 * spread, 1.0), 0.0)
    z = bias + ndtri(tail)
    return ndtr(bias + z / (1 - acceleration * z))


def _quantile(ordered: Array, finite: npt.NDArray[np.integer], probability: Array) -> Array:
    """Quantile of each sorted column [R,...] at its own probability, linear in between; NaNs stand last."""
    position = probability * np.maximum(finite - 1, 0)
    lower = np.floor(position).astype(np.intp)
    upper = np.minimum(lower + 1, np.maximum(finite - 1, 0))
    a = np.take_along_axis(ordered, lower[None], axis=0)[0]
    b = np.take_along_axis(ordered, upper[None], axis=0)[0]
    return a + (position - lower) * (b - a)


def recentred(point: Array, resampled: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Interval of a biased statistic: the percentile interval of the resamples [R,...], moved by their mean's excess.

    A resample holds cases twice, which shifts FID upward; only the spread of the resamples is used. The interval is
    of the statistic's expectation at this number of cases, whose own bias (FID at small n) stays in the point.
    """
    deviation = resampled - np.nanmean(resampled, axis=0)
    low, high = np.nanquantile(deviation, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return point + low, point + high


def rate_bounds(rate: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate over n independent units, which need not be a whole number (Wilson 1927)."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(rate * n, n, 1 - level, "wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def rate_interval(outcomes: Array, cluster: npt.NDArray[np.integer], level: float = 0.95) -> tuple[float, float]:
    """Interval of a rate: Wilson's, over as many units as would give the variance that the clusters have.

    Bootstrap intervals of a rate jump with the count: at n = 64 they miss 95% by more than two points for a third
    (percentile) or a seventh (BCa) of all rates, Wilson's for one in thirty.

    Args:
        outcomes: [n] in {0, 1}, without NaN.
        cluster: [n], the cluster of each.

    Returns:
        bounds; NaN with fewer than two clusters. With one case a cluster it is Wilson's interval over the cases.

    Source:
        effective sample size after Korn and Graubard 1998, with the variance between clusters; at a rate of 0 or 1,
        where none is seen, the number of clusters.
    """
    numbers = np.unique(cluster, return_inverse=True)[1]
    units, n = int(numbers.max()) + 1, len(outcomes)
    rate = float(outcomes.mean())
    if units < 2:
        return np.nan, np.nan
    if units == n:
        return rate_bounds(rate, n, level)
    totals = np.bincount(numbers, outcomes - rate)
    variance = units / (units - 1) * float((totals**2).sum()) / n**2
    effective = rate * (1 - rate) / variance if variance > 0 and 0 < rate < 1 else units
    return rate_bounds(rate, min(max(effective, 1.0), n), level)


def rate_difference_bounds(first: Array, second: Array, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two rates on the same independent units, outcomes [n] in {0, 1}.

    The normal interval after half a unit is added to each of the four outcomes of a pair (Agresti and Min 2005); a
    bootstrap interval has no width where no pair differs, and too little where few do.
    """
    z, n = float(ndtri((1 + level) / 2)), len(first) + 2
    ahead, behind = int((first > second).sum()), int((first < second).sum())
    centre = (ahead - behind) / n
    half = z * float(np.sqrt(ahead + behind + 1 - (ahead - behind) ** 2 / n)) / n
    return max(-1.0, centre - half), min(1.0, centre + half)


def random_signs(permutations: int, clusters: int, seed: int) -> npt.NDArray[np.float32]:
    """Random signs [permutations, clusters] for `sign_flip_test`."""
    rng = np.random.default_rng(seed)
    return (2 * rng.integers(0, 2, size=(permutations, clusters), dtype=np.int8) - 1).astype(np.float32)


def sign_flip_test(cluster_sums: Array, signs: npt.NDArray[np.float32]) -> Array:
    """Two-sided p values [K] of paired differences, summed within clusters [C,K], by flipping whole clusters.

    The least p value is 1 / (permutations + 1) (Phipson and Smyth 2010).
    """
    observed = np.abs(cluster_sums.sum(axis=0))
    scale = np.where(observed > 0, observed, 1.0)
    flipped = np.abs(signs @ (cluster_sums / scale).astype(np.float32))
    # fp32 sums: count as equal what differs by rounding.
    return (1 + (flipped >= observed / scale - 1e-5).sum(axis=0)) / (len(signs) + 1)


def normal_test(difference: float, resampled: Array) -> float:
    """Two-sided p value of a difference of two statistics of sets, such as FID, from its resamples [R].

    The normal approximation, with the standard error of the bootstrap. To count the resamples beyond the difference
    instead gives at least 1 / (R + 1): of the 200 of both studies nothing stays below 0.05 once it is corrected for
    more than ten pairs. 1 where neither the difference nor its resamples are other than zero; NaN where the resamples
    do not vary but the difference is there, as of one cluster.
    """
    finite = resampled[np.isfinite(resampled)]
    error = float(finite.std(ddof=1)) if len(finite) > 1 else 0.0
    if error > ROUNDING:
        return float(2 * ndtr(-abs(difference) / error))
    return 1.0 if abs(difference) <= ROUNDING and len(finite) else np.nan


def mcnemar(first: Array, second: Array) -> float:
    """Two-sided exact p value of McNemar's test for paired binary outcomes [n] in {0, 1} of independent units.

    Under the null hypothesis each pair that differs falls either way with probability 1/2 (McNemar 1947); 1 where no
    pair differs.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    ahead, behind = int((first > second).sum()), int((first < second).sum())
    return float(exact_test([[0, ahead], [behind, 0]], exact=True).pvalue)


def holm(p: npt.NDArray[np.floating]) -> Array:
    """Holm's adjusted p values of one family [K] (Holm 1979); NaNs stay and do not count.

    Not `multipletests` of statsmodels, with which a test compares: each of its calls collects Python's garbage, a tenth
    of a second or more in a job with torch, and a task has hundreds of families.
    """
    p = np.asarray(p, dtype=np.float64)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(adjusted), 1.0)
    return out


def pareto_front(x: Array, y: Array) -> npt.NDArray[np.bool_]:
    """Whether each point of [..., V] is on the front of its row: none is at least as great in both and greater in one.

    A point with a NaN is not on the front and dominates nothing.
    """
    xi, xj, yi, yj = x[..., :, None], x[..., None, :], y[..., :, None], y[..., None, :]
    dominated = ((xj >= xi) & (yj >= yi) & ((xj > xi) | (yj > yi))).any(axis=-1)
    return ~dominated & ~np.isnan(x) & ~np.isnan(y)
