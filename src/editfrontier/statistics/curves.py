"""Statistics of a curve over a swept value: its optimum, a change of slope, a U shape, a proportionality.

A curve is a vector of means [X] at the places x [X]; its resamples [R, X] come from a bootstrap of whole clusters,
which draws all places of a case together. Every function takes stacks of curves [..., X], so that one call does a point
and its resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.estimate import Estimate

BREAK_CANDIDATES = 201
LEAST_FOR_BREAK = 4
"""Places that a curve of two lines needs: three parameters of the lines, and one for the break."""


def optimum(x: Array, curves: Array, direction: str) -> Array:
    """Return the place [...] at which each curve [..., X] is best; the first of equals.

    Args:
        x: [X], ascending.
        curves: [..., X].
        direction: "higher" or "lower" is better.
    """
    best = np.argmax(curves, axis=-1) if direction == "higher" else np.argmin(curves, axis=-1)
    return np.asarray(x[best], dtype=np.float64)


def slope_contrast(x: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Return c [X] such that c @ y is the least-squares slope of y over the places that are kept (at least two)."""
    centred = np.where(kept, x - x[kept].mean(), 0.0)
    return centred / (centred**2).sum()


# Change of slope ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Break:
    """Two lines that meet: where [...], slope before and after it [...], and the sum of squares that they save over one
    line [...]."""

    at: Array
    before: Array
    after: Array
    saved: Array


def two_segments(x: Array, curves: Array) -> Break:
    """Fit each curve [..., X] by two lines that meet at a break, by least squares over a grid of breaks.

    The breaks lie between the second and the last but one place, so that each line has two places of its own.

    Source:
        Hudson (1966), "Fitting segmented curves whose join points have to be estimated"; the grid is the profile
        likelihood of Muggeo (2003).

    Raises:
        ValueError: there are fewer than LEAST_FOR_BREAK places.
    """
    if len(x) < LEAST_FOR_BREAK:
        raise ValueError(f"{len(x)} places, expected at least {LEAST_FOR_BREAK}")
    line = np.stack([np.ones_like(x), x], axis=1)
    residual = curves - curves @ _projection(line)
    candidates = np.linspace(x[1], x[-2], BREAK_CANDIDATES)
    hinges = np.maximum(x - candidates[:, None], 0.0)
    free = hinges - hinges @ _projection(line)  # the part of each hinge that a line cannot fit
    norms = np.linalg.norm(free, axis=1)
    strength = residual @ (free / norms[:, None]).T  # [..., candidates]
    chosen = np.argmax(strength**2, axis=-1)
    strongest = np.take_along_axis(strength, chosen[..., None], axis=-1)[..., 0]
    bend = strongest / norms[chosen]
    straight = curves - bend[..., None] * hinges[chosen]
    before = straight @ slope_contrast(x, np.ones(len(x), dtype=np.bool_))
    return Break(candidates[chosen], before, before + bend, np.asarray(strongest**2))


def _projection(design: Array) -> Array:
    """Projection [X, X] onto the columns of a design [X, P]."""
    return design @ np.linalg.pinv(design)


def break_test(x: Array, values: Array, cluster: npt.NDArray[np.integer], signs: npt.NDArray[np.float32]) -> float:
    """Return the p value of "the mean curve is a straight line" against "it has one change of slope".

    The break exists under the alternative only, so the statistic is the largest saving over all breaks (Davies 1987,
    Andrews 1993); its distribution comes from flipping the signs of whole clusters of what a line leaves of each case's
    curve, whose mean is zero under the hypothesis.

    Args:
        values: [N, X], no NaN.
        cluster: [N] in 0 .. C-1.
        signs: [permutations, C] of `bootstrap.random_signs`.
    """
    line = np.stack([np.ones_like(x), x], axis=1)
    left = values - values @ _projection(line)
    sums = np.zeros((signs.shape[1], len(x)))
    np.add.at(sums, cluster, left)
    observed = two_segments(x, sums.sum(axis=0)).saved
    flipped = two_segments(x, signs.astype(np.float64) @ sums).saved
    return float((1 + (flipped >= observed * (1 - 1e-9)).sum()) / (len(signs) + 1))


# U shape --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoLines:
    """A test of a U shape.

    Attributes:
        shape: "peak" or "valley", what the curve would be.
        turn: place between the two lines.
        p_left, p_right: two-sided p values of these.
        p: of the U shape: the larger of both where the slopes have the signs of the shape, else 1.
    """

    shape: str
    turn: float
    left: float
    right: float
    p_left: float
    p_right: float
    p: float


def two_lines(x: Array, curve: Array, covariance: Array) -> TwoLines:
    """Test whether a curve rises and then falls (or the reverse), by a line on each side of a turn.

    Simonsohn (2018), "Two lines: a valid alternative to the invalid testing of U-shaped relationships with quadratic
    regressions": a U shape needs a significant slope on both sides, of opposite signs. His Robin Hood procedure places
    the turn among the places that are within one standard error of the extreme one, nearer to the steeper side, so that
    the weaker line gets more of the data. Here the curve of means stands for his smooth fit.

    Args:
        x: [X], ascending, at least three places.
        curve: [X] means.
        covariance: [X, X] of these means.
    """
    if len(x) < 3:
        raise ValueError(f"{len(x)} places, expected at least 3")
    bend = np.polyfit(x, curve, 2)[0]
    shape, signed = ("peak", curve) if bend < 0 else ("valley", -curve)
    inner = np.arange(1, len(x) - 1)
    extreme = inner[np.argmax(signed[inner])]
    error = math.sqrt(max(float(covariance[extreme, extreme]), 0.0))
    flat = inner[signed[inner] >= signed[extreme] - error]
    (_, z_left), (_, z_right) = _sides(x, curve, covariance, int(flat[len(flat) // 2]))
    total = abs(z_left) + abs(z_right)
    share = abs(z_right) / total if 0 < total < math.inf else 0.5
    turn = int(flat[round(share * (len(flat) - 1))])
    (left, z_left), (right, z_right) = _sides(x, curve, covariance, turn)
    p_left, p_right = (float(2 * ndtr(-abs(z))) for z in (z_left, z_right))
    fits = (left > 0 > right) if shape == "peak" else (left < 0 < right)
    return TwoLines(shape, float(x[turn]), left, right, p_left, p_right, max(p_left, p_right) if fits else 1.0)


def _sides(x: Array, curve: Array, covariance: Array, turn: int) -> list[tuple[float, float]]:
    """Return (slope, its z) on the left and on the right of a place, which belongs to both."""
    places = np.arange(len(x))
    sides = []
    for kept in (places <= turn, places >= turn):
        contrast = slope_contrast(x, kept)
        slope, error = float(contrast @ curve), math.sqrt(max(float(contrast @ covariance @ contrast), 0.0))
        # Without any spread a slope is certain, whatever its size.
        sides.append((slope, slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0))
    return sides


# Proportionality ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """How curves [..., X] follow u, each [...]: y = intercept + slope u and y = ratio u with their R2 (both about the
    mean of y), and the exponent p of y = c u^p by least squares of the logarithms."""

    intercept: Array
    slope: Array
    r2: Array
    ratio: Array
    r2_ratio: Array
    exponent: Array


def law(u: Array, curves: Array) -> Law:
    """Fit curves [..., X] over u [X] > 0 by a line, by a proportionality and by a power law (for y > 0, else NaN)."""
    contrast = slope_contrast(u, np.ones(len(u), dtype=np.bool_))
    slope = curves @ contrast
    intercept = curves.mean(axis=-1) - slope * u.mean()
    ratio = curves @ u / (u @ u)
    spread = ((curves - curves.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)

    def r2(fitted: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1.0 - ((curves - fitted) ** 2).sum(axis=-1) / spread)

    logs = np.log(u)
    with np.errstate(invalid="ignore", divide="ignore"):
        exponent = np.log(curves) @ slope_contrast(logs, np.ones(len(u), dtype=np.bool_))
    return Law(
        np.asarray(intercept),
        np.asarray(slope),
        r2(intercept[..., None] + slope[..., None] * u),
        np.asarray(ratio),
        r2(ratio[..., None] * u),
        np.asarray(np.where(np.isfinite(exponent), exponent, np.nan)),
    )


def percentile_estimate(value: float, resampled: Array, level: float, n: int) -> Estimate:
    """Return a value with the percentile interval of its resamples [R]; without one if fewer than two are finite."""
    finite = resampled[np.isfinite(resampled)]
    if len(finite) < 2:
        return Estimate(float(value), n=n)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high), n)
