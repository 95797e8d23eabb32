"""Statistics of curves on curves whose optimum, break, shape and exponent are known, and their error rates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from editfrontier.statistics import curves
from editfrontier.statistics.bootstrap import Array, cluster_weights, means, random_signs

X = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.5, 9.0, 12.0, 15.0, 20.0])
CASES, REPEATS = 48, 200
Curve = Callable[[Array], Array]


def cases_of(curve: Curve, rng: np.random.Generator, noise: float = 0.1) -> Array:
    """[CASES, X] curves of cases that differ by an offset each and by noise."""
    own = rng.normal(0, 0.3, (CASES, 1))
    return np.asarray(curve(X) + own + rng.normal(0, noise, (CASES, len(X))))


def rates(curve: Curve) -> tuple[float, float]:
    """Share of studies in which a U shape, and a change of slope, is found at 5%."""
    rng, signs = np.random.default_rng(0), random_signs(199, CASES, 1)
    found = np.zeros(2)
    for _ in range(REPEATS):
        values = cases_of(curve, rng)
        shape = curves.two_lines(X, values.mean(0), np.cov(values.T) / CASES)
        found += shape.p <= 0.05, curves.break_test(X, values, np.arange(CASES), signs) <= 0.05
    return float(found[0] / REPEATS), float(found[1] / REPEATS)


def test_the_optimum_is_found_for_both_directions_and_for_stacks() -> None:
    peak = -((X - 6.0) ** 2)
    assert curves.optimum(X, peak, "higher") == 6.0
    assert curves.optimum(X, -peak, "lower") == 6.0
    assert curves.optimum(X, np.stack([peak, X, -X]), "higher").tolist() == [6.0, 20.0, 1.0]


def test_two_segments_give_back_a_known_break_and_both_slopes() -> None:
    for at, before, after in ((9.0, 0.5, -0.1), (4.0, -1.0, 2.0)):
        curve = 3.0 + before * np.minimum(X, at) + after * np.maximum(X - at, 0)
        found = curves.two_segments(X, curve)
        step = (X[-2] - X[1]) / (curves.BREAK_CANDIDATES - 1)
        assert found.at == pytest.approx(at, abs=step)
        assert found.before == pytest.approx(before, abs=0.02 * abs(before - after))
        assert found.after == pytest.approx(after, abs=0.02 * abs(before - after))


def test_two_segments_agree_with_least_squares_at_the_break_that_they_choose() -> None:
    curve = np.random.default_rng(2).normal(size=len(X))
    found = curves.two_segments(X, curve)
    line = np.stack([np.ones_like(X), X], axis=1)
    both = np.column_stack([line, np.maximum(X - float(found.at), 0)])
    coefficients, rest, *_ = np.linalg.lstsq(both, curve, rcond=None)
    assert found.before == pytest.approx(coefficients[1])
    assert found.after == pytest.approx(coefficients[1] + coefficients[2])
    assert found.saved == pytest.approx(np.linalg.lstsq(line, curve, rcond=None)[1][0] - rest[0])


def test_two_segments_refuse_three_places() -> None:
    with pytest.raises(ValueError, match="3 places"):
        curves.two_segments(X[:3], X[:3])


@pytest.mark.parametrize(
    ("curve", "is_u", "has_break"),
    [
        (lambda x: 0 * x, False, False),
        (lambda x: -0.02 * x, False, False),
        (lambda x: 0.1 * np.log(x), False, True),
        (lambda x: 0.05 * np.minimum(x, 9), False, True),
        (lambda x: -0.03 * np.abs(x - 7.5), True, True),
        (lambda x: 0.03 * np.abs(x - 5), True, True),
    ],
    ids=["flat", "line", "logarithm", "plateau", "peak", "valley"],
)
def test_error_rates_and_power(curve: Curve, is_u: bool, has_break: bool) -> None:
    """A rate of 5% in 200 studies is at most 9% (three standard errors); a logarithm is curved, but has no U shape."""
    shape, bent = rates(curve)
    assert shape > 0.9 if is_u else shape < 0.09
    assert bent > 0.9 if has_break else bent < 0.09


def test_a_peak_turns_where_it_is_and_its_slopes_are_known() -> None:
    curve = np.where(X <= 7.5, 0.1 * X, 1.35 - 0.08 * X)
    found = curves.two_lines(X, curve, 1e-6 * np.eye(len(X)))
    assert (found.shape, found.turn) == ("peak", 7.5)
    assert (found.left, found.right) == pytest.approx((0.1, -0.08))
    assert found.p < 1e-6
    mirrored = curves.two_lines(X, -curve, 1e-6 * np.eye(len(X)))
    assert (mirrored.shape, mirrored.left, mirrored.right) == ("valley", -found.left, -found.right)


def test_a_monotone_curve_has_no_u_shape_however_precise() -> None:
    assert curves.two_lines(X, np.log(X), 1e-12 * np.eye(len(X))).p == 1.0


def test_the_interval_of_a_known_break_covers_it() -> None:
    """95% percentile intervals of the break over a bootstrap of cases: at least 90% of 100 studies cover 9."""
    rng, covered = np.random.default_rng(3), 0
    weights = cluster_weights(CASES, 300, 4)
    for _ in range(100):
        values = cases_of(lambda x: 0.05 * np.minimum(x, 9), rng, 0.15)
        resampled = means(values, np.arange(CASES), weights).resampled
        found = curves.percentile_estimate(0.0, curves.two_segments(X, resampled).at, 0.95, 1)
        covered += found.low <= 9.0 <= found.high
    assert covered >= 90


def test_laws_with_known_constants() -> None:
    u = np.linspace(0.1, 1.0, 9)
    exact = curves.law(u, 0.2 * u)
    assert [float(v) for v in (exact.intercept, exact.slope, exact.ratio, exact.exponent)] == pytest.approx(
        [0, 0.2, 0.2, 1]
    )
    assert exact.r2 == pytest.approx(1)
    assert exact.r2_ratio == pytest.approx(1)
    power = curves.law(u, 3 * u**2.5)
    assert power.exponent == pytest.approx(2.5)
    assert power.r2_ratio < 0.9
    shifted = curves.law(u, np.stack([0.3 + 0.1 * u, 0.1 * u]))
    assert shifted.intercept == pytest.approx([0.3, 0.0], abs=1e-12)
    assert shifted.r2_ratio[0] < 0 < shifted.r2_ratio[1]
    assert np.isnan(curves.law(u, u - 0.5).exponent)


def test_a_percentile_interval_needs_two_finite_resamples() -> None:
    found = curves.percentile_estimate(50, np.arange(101.0), 0.9, 7)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((50, 5, 95, 7))
    assert not curves.percentile_estimate(1, np.array([1.0, np.nan]), 0.9, 7).bounded
