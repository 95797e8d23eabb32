"""Groups of points in the plane: how many there are, which points they hold, and how stable both are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from editfrontier.statistics.bootstrap import Array, pareto_front

Labels = npt.NDArray[np.intp]


def partition(points: Array, k: int) -> Labels:
    """Return the group 0..k-1 of each point [E, 2], numbered as they appear: Ward's clusters (Ward 1963).

    Where points coincide there may be fewer groups than k.
    """
    if k <= 1 or len(points) < 2:
        return np.zeros(len(points), dtype=np.intp)
    return _numbered(fcluster(linkage(points, "ward"), k, "maxclust"))


def _numbered(labels: npt.NDArray[np.integer]) -> Labels:
    seen = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([seen[label] for label in labels.tolist()], dtype=np.intp)


ALPHA = 0.05
"""Share of sets of points without groups in which groups are found all the same."""


@dataclass(frozen=True)
class Gap:
    """Gap statistic for k = 1, 2, ...: value [K], standard error [K] from the reference sets, and p of one group only.

    p: share of sets without groups whose gap rises as much from k = 1 to its greatest value.
    """

    value: Array
    error: Array
    p: float

    @property
    def chosen(self) -> int:
        """The number of groups.

        1 if p is above `ALPHA`, else the smallest k above 1 whose gap is not below the greatest one less its standard
        error (Dudoit and Fridlyand 2002). The rule as first published takes the first local maximum, and so finds one
        group where three lie evenly, as two are no better than one. Without the test this rule finds groups in
        about a quarter of sets without any.
        """
        if self.p > ALPHA:
            return 1
        best = 1 + int(np.argmax(self.value[1:]))
        return 2 + int(np.flatnonzero(self.value[1:] >= self.value[best] - self.error[best])[0])


def gap_statistic(points: Array, most: int, references: int, rng: np.random.Generator) -> Gap:
    """Compare the spread within k groups with points without groups (Tibshirani, Walther and Hastie 2001).

    Args:
        points: [E, 2], at least three of them different.
        most: largest k, at least 2 and below the number of points.
        references: sets of points drawn evenly over the box of the points along their principal axes.
    """
    centred = points - points.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    turned = centred @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    observed = _log_spreads(points, most)
    drawn = np.stack([_log_spreads(rng.uniform(low, high, size=points.shape), most) for _ in range(references)])
    error = drawn.std(axis=0) * np.sqrt(1 + 1 / references)
    value, without = drawn.mean(axis=0) - observed, drawn.mean(axis=0) - drawn
    rise, rises = (gaps[..., 1:].max(axis=-1) - gaps[..., 0] for gaps in (value, without))
    return Gap(value, error, float((1 + (rises >= rise).sum()) / (1 + references)))


def _log_spreads(points: Array, most: int) -> Array:
    """Log of the pooled sum of squares within groups, for k = 1..most."""
    tree = linkage(points, "ward")
    spreads = []
    for k in range(1, most + 1):
        labels = fcluster(tree, k, "maxclust")
        groups = [points[labels == label] for label in np.unique(labels)]
        within = sum(float(((group - group.mean(axis=0)) ** 2).sum()) for group in groups)
        spreads.append(np.log(max(within, 1e-12)))
    return np.array(spreads)


def _contingency(first: Labels, second: Labels) -> Array:
    """Return how many points each group of one partition shares with each group of another, [k, k']."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    return table


def jaccard(reference: Labels, other: Labels) -> Array:
    """For each group of `reference` the largest Jaccard similarity with a group of `other` (Hennig 2007)."""
    common = _contingency(reference, other)
    return (common / (common.sum(axis=1, keepdims=True) + common.sum(axis=0) - common)).max(axis=1)


def adjusted_rand(first: Labels, second: Labels) -> float:
    """Rand index of two partitions of the same points, adjusted for chance (Hubert and Arabie 1985): 1 = the same.

    Two partitions that both have one group, or both only groups of one, are the same.
    """
    table = _contingency(first, second)
    pairs, rows, columns = (float((t * (t - 1) / 2).sum()) for t in (table, table.sum(axis=1), table.sum(axis=0)))
    total = len(first) * (len(first) - 1) / 2
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)


@dataclass(frozen=True)
class Stability:
    """How a partition holds when the cases are drawn again.

    Attributes:
        labels: [E] of the points as measured.
        jaccard: [k] mean similarity of each group with its nearest of each resample; below 0.5 a group is dissolved,
            above 0.75 it is a pattern, above 0.85 it is stable (Hennig 2007).
        rand: [R] adjusted Rand index with the partition of each resample.
        together: [E, E] share of resamples in which two points are in one group.
    """

    labels: Labels
    jaccard: Array
    rand: Array
    together: Array
    resampled: npt.NDArray[np.intp]


def stability(points: Array, resampled: Array, k: int) -> Stability:
    """Partition points [E, 2] and their resamples [R, E, 2] into k groups each, and compare."""
    labels = partition(points, k)
    drawn = np.stack([partition(places, k) for places in resampled])
    together = (drawn[:, :, None] == drawn[:, None, :]).mean(axis=0)
    similar = np.stack([jaccard(labels, groups) for groups in drawn]).mean(axis=0)
    rand = np.array([adjusted_rand(labels, groups) for groups in drawn])
    return Stability(labels, similar, rand, together, drawn)


def front_shares(x: Array, y: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return for points [..., E] whether each is on the Pareto front, and whether it dominates every other one.

    A point dominates another if it is at least as great in both coordinates and greater in one. Points with a NaN are
    on no front and count for nothing.
    """
    front = pareto_front(x, y)
    xi, xj, yi, yj = x[..., :, None], x[..., None, :], y[..., :, None], y[..., None, :]
    beats = (xi >= xj) & (yi >= yj) & ((xi > xj) | (yi > yj))
    absent = (np.isnan(x) | np.isnan(y))[..., None, :] | np.eye(x.shape[-1], dtype=np.bool_)
    others = (~absent).any(axis=-1)
    return front, (beats | absent).all(axis=-1) & others & front
