"""Results that the validation of metrics collects, and the statistics that its checks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from torch import Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.portraits import Portraits, sample_portraits
from editfrontier.statistics.bootstrap import rate_bounds

Array = npt.NDArray[Any]
Estimate = tuple[float, tuple[float, float]]
"""A value and the bounds of its interval."""
COLUMNS = ("check", "metric", "statistic", "value", "ci_low", "ci_high", "n", "expectation", "holds")
RESAMPLES = 300


@dataclass
class Report:
    """Rows of validation.csv and the points of its figure, while they are collected."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    points: list[tuple[str, str, str, float, float]] = field(default_factory=list)

    def add(
        self, check: str, metric: str, statistic: str, estimate: Estimate, n: int, expected: tuple[str, float]
    ) -> None:
        """Add a check; `expected` is (">=" or "<=", limit), and the value itself decides whether it holds."""
        value, bounds = estimate
        sign, limit = expected
        holds = value >= limit if sign == ">=" else value <= limit
        self.rows.append((check, metric, statistic, value, *bounds, n, f"{sign} {limit:g}", bool(holds)))

    def plot(self, check: str, metric: str, group: str, x: Array, y: Array) -> None:
        """Add points: x = the truth, y = the metric, group = what to tell apart by colour."""
        self.points += [(check, metric, group, float(a), float(b)) for a, b in zip(x.ravel(), y.ravel(), strict=True)]


def portraits(n: int, seed: int, purpose: str) -> Portraits:
    """Draw portraits for one purpose, which no training and no other purpose draws."""
    return sample_portraits(n, seed=stable_seed("validation", purpose, seed))


def spearman(x: Array, y: Array) -> float:
    """Return the rank correlation over all entries, 0 where one side is constant."""
    a, b = rankdata(x.ravel()), rankdata(y.ravel())
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def clustered(statistic: Callable[[Array, Array], float], x: Array, y: Array, level: float = 0.95) -> Estimate:
    """Return a statistic of x, y [n, ...] with a percentile interval from resampling rows, which are the units."""
    rng = np.random.default_rng(stable_seed("validation bootstrap", len(x)))
    draws = rng.integers(0, len(x), size=(RESAMPLES, len(x)))
    values = [statistic(x[rows], y[rows]) for rows in draws]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return statistic(x, y), (float(low), float(high))


def clustered_mean(values: Array) -> Estimate:
    """Return the mean of values [n, ...] with the interval of `clustered`."""
    return clustered(lambda x, _: float(x.mean()), values, values)


def rate(hits: Array | Tensor) -> Estimate:
    """Return the mean of hits [n] in [0, 1] with the interval of a rate."""
    value = float(hits.mean())
    return value, rate_bounds(value, len(hits))
