"""The bootstrap's parts against scipy, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from editfrontier.statistics import bootstrap


def _estimates(
    x: np.ndarray, cluster: np.ndarray | None = None, resamples: int = 4000, seed: int = 0
) -> bootstrap.Estimates:
    cluster = np.arange(len(x)) if cluster is None else cluster
    weights = bootstrap.cluster_weights(int(cluster.max()) + 1, resamples, seed)
    return bootstrap.means(x, cluster, weights)


@pytest.mark.parametrize(("kind", "method"), [("bca", "BCa"), ("percentile", "percentile")])
def test_intervals_agree_with_scipy(kind: str, method: str) -> None:
    x = np.random.default_rng(1).exponential(size=60)
    low, high = bootstrap.intervals(_estimates(x[:, None], resamples=20000), kind=kind)
    reference = stats.bootstrap((x,), np.mean, n_resamples=20000, method=method, rng=2).confidence_interval
    width = reference.high - reference.low
    assert low[0] == pytest.approx(reference.low, abs=0.03 * width)
    assert high[0] == pytest.approx(reference.high, abs=0.03 * width)


@pytest.mark.parametrize("kind", ["bca", "percentile"])
def test_interval_covers_the_mean_of_clustered_data(kind: str) -> None:
    """Two correlated cases a cluster: resampling clusters covers the mean, resampling cases does not."""
    rng = np.random.default_rng(0)
    runs, clusters = 600, 50
    cluster = np.repeat(np.arange(clusters), 2)
    x = np.repeat(rng.standard_normal((clusters, runs)), 2, axis=0) + 0.3 * rng.standard_normal((2 * clusters, runs))
    low, high = bootstrap.intervals(_estimates(x, cluster, 1000), kind=kind)
    coverage = ((low <= 0) & (high >= 0)).mean()
    assert 0.915 <= coverage <= 0.975
    low, high = bootstrap.intervals(_estimates(x, None, 1000), kind=kind)
    assert ((low <= 0) & (high >= 0)).mean() < 0.88


def test_missing_values_leave_only_their_column() -> None:
    x = np.array([[1.0, 2.0], [np.nan, 4.0], [3.0, 6.0]])
    estimates = _estimates(x)
    assert estimates.point.tolist() == [2.0, 4.0]
    assert estimates.jackknife[0].tolist() == [3.0, 5.0]
    low, high = bootstrap.intervals(estimates)
    assert np.isfinite([low, high]).all()


def test_constant_values_have_a_point_as_interval_and_one_cluster_has_none() -> None:
    low, high = bootstrap.intervals(_estimates(np.full((9, 1), 0.4)))
    assert low[0] == pytest.approx(0.4)
    assert high[0] == pytest.approx(0.4)
    low, high = bootstrap.intervals(_estimates(np.arange(3.0)[:, None], np.zeros(3, dtype=int)))
    assert np.isnan([low[0], high[0]]).all()


def test_weights_are_reproducible_and_shared_so_that_differences_pair() -> None:
    assert np.array_equal(bootstrap.cluster_weights(7, 5, 3), bootstrap.cluster_weights(7, 5, 3))
    assert (bootstrap.cluster_weights(7, 5, 3).sum(axis=1) == 7).all()
    rng = np.random.default_rng(0)
    case = 10 * rng.standard_normal(40)
    x = np.stack([case, case + 0.1 + 0.01 * rng.standard_normal(40)], axis=1)
    both = _estimates(x)
    gap = _estimates(x[:, 1:] - x[:, :1])
    np.testing.assert_allclose(both.resampled[:, 1] - both.resampled[:, 0], gap.resampled[:, 0], atol=1e-9)
    low, high = bootstrap.intervals(gap)
    assert 0.09 < low[0] < high[0] < 0.11


def test_wilson_bounds_agree_with_scipy_and_the_formula_by_hand() -> None:
    for successes in (0, 30, 17):
        known = stats.binomtest(successes, 30).proportion_ci(method="wilson")
        assert bootstrap.rate_bounds(successes / 30, 30) == pytest.approx(known, abs=1e-12)
    # Over 10 units z^2 is 3.8415: centre (0.5 + 0.19207) / 1.38415, half width 1.96 / 1.38415 sqrt(0.025 + 0.0096036).
    assert bootstrap.rate_bounds(0.5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert bootstrap.rate_bounds(0.5, 9.5)[0] < bootstrap.rate_bounds(0.5, 10)[0]  # units need not be whole


def test_rate_interval_counts_what_clusters_tell() -> None:
    outcomes = np.array([1.0] * 12 + [0.0] * 8)
    alone = bootstrap.rate_interval(outcomes, np.arange(20))
    assert alone == pytest.approx(bootstrap.rate_bounds(0.6, 20))
    # Pairs that always agree tell as much as ten cases, less the correction for a variance from ten values.
    low, high = bootstrap.rate_interval(outcomes, np.arange(20) // 2)
    assert (low, high) == pytest.approx(bootstrap.rate_bounds(0.6, 9), abs=1e-9)
    # Pairs that always differ show no variance between clusters; the number of clusters counts.
    assert bootstrap.rate_interval(np.tile([1.0, 0.0], 10), np.arange(20) // 2) == pytest.approx(
        bootstrap.rate_bounds(0.5, 10)
    )
    assert bootstrap.rate_interval(np.ones(20), np.arange(20) // 2) == bootstrap.rate_bounds(1.0, 10)
    assert np.isnan(bootstrap.rate_interval(outcomes, np.zeros(20, dtype=int))).all()


def test_normal_test_keeps_its_level_and_resolves_small_p_values() -> None:
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((200, 2000))
    p = np.array(
        [bootstrap.normal_test(z, column) for z, column in zip(rng.standard_normal(2000), spread.T, strict=True)]
    )
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (p <= 0.01).mean() == pytest.approx(0.01, abs=0.007)
    assert bootstrap.normal_test(-6.0, spread[:, 0]) == pytest.approx(2 * stats.norm.sf(6 / spread[:, 0].std(ddof=1)))
    with_nan = np.append(spread[:, 0], np.nan)
    assert bootstrap.normal_test(1.0, with_nan) == bootstrap.normal_test(1.0, spread[:, 0])


def test_normal_test_of_resamples_that_do_not_vary() -> None:
    assert bootstrap.normal_test(0.0, np.zeros(200)) == 1  # the same images under two names
    assert np.isnan(bootstrap.normal_test(0.3, np.full(200, 0.3)))  # one cluster: nothing tells the spread
    assert np.isnan(bootstrap.normal_test(0.0, np.full(200, np.nan)))


def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 30, 31):
        a, b = (rng.uniform(size=n) < 0.4).astype(float), (rng.uniform(size=n) < 0.7).astype(float)
        known = stats.binomtest(int((a > b).sum()), int((a != b).sum()), 0.5)
        assert bootstrap.mcnemar(a, b) == pytest.approx(known.pvalue)
    assert bootstrap.mcnemar(np.ones(5), np.ones(5)) == 1
    assert bootstrap.mcnemar(np.ones(6), np.zeros(6)) == pytest.approx(2 / 64)
    # One pair against five: 2 (1 + 6) / 64.
    assert bootstrap.mcnemar(np.array([1.0] + [0.0] * 5), np.array([0.0] + [1.0] * 5)) == pytest.approx(14 / 64)


def test_sign_flip_test_agrees_with_scipy_and_keeps_its_level() -> None:
    x = np.random.default_rng(3).normal(0.25, 1, size=(40, 1))
    signs = bootstrap.random_signs(99999, 40, 0)
    test = stats.permutation_test(
        (x[:, 0],), np.mean, permutation_type="samples", n_resamples=99999, vectorized=True, rng=1
    )
    reference = test.pvalue
    signs_short = bootstrap.random_signs(9999, 40, 0)
    assert bootstrap.sign_flip_test(x, signs)[0] == pytest.approx(reference, abs=0.01)
    null = np.random.default_rng(4).standard_normal((40, 2000))
    assert (bootstrap.sign_flip_test(null, signs_short) <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert bootstrap.sign_flip_test(np.zeros((40, 1)), signs_short)[0] == 1
    assert bootstrap.sign_flip_test(np.ones((40, 1)), signs_short)[0] == pytest.approx(1e-4)


def test_holm_by_hand_and_as_statsmodels_has_it_skips_nan() -> None:
    # Holm (1979): 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to what stands before it.
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(bootstrap.holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(bootstrap.holm(np.insert(p, 1, np.nan)), [0.03, np.nan, 0.06, 0.06, 0.02])
    assert bootstrap.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    many = np.random.default_rng(0).uniform(size=12) ** 3
    np.testing.assert_array_equal(bootstrap.holm(many), multipletests(many, method="holm")[1])
    assert np.isnan(bootstrap.holm(np.array([np.nan]))).all()


def test_pareto_front_by_hand() -> None:
    x = np.array([0.0, 1.0, 2.0, 1.0, 1.0, np.nan])
    y = np.array([2.0, 1.0, 0.0, 0.5, 1.0, 9.0])
    assert bootstrap.pareto_front(x, y).tolist() == [True, True, True, False, True, False]
    assert bootstrap.pareto_front(np.stack([x, -x]), np.stack([y, y])).shape == (2, 6)


def test_recentred_interval_removes_the_shift_of_the_resamples() -> None:
    resampled = 5 + np.random.default_rng(0).standard_normal((1000, 1)) + 3  # resamples 3 above the point
    low, high = bootstrap.recentred(np.array([5.0]), resampled)
    assert low[0] == pytest.approx(5 - 1.96, abs=0.2)
    assert high[0] == pytest.approx(5 + 1.96, abs=0.2)


def test_difference_of_paired_rates_by_hand_and_where_no_pair_differs() -> None:
    first, second = np.array([1.0] * 9 + [0.0] * 41), np.array([0.0] * 6 + [1.0] * 5 + [0.0] * 39)
    # 6 pairs fall one way and 2 the other; after half a unit in each cell of 52 they are 6.5 and 2.5.
    half = 1.959964 * np.sqrt(6.5 + 2.5 - (6.5 - 2.5) ** 2 / 52) / 52
    assert bootstrap.rate_difference_bounds(first, second) == pytest.approx((4 / 52 - half, 4 / 52 + half), abs=1e-6)
    low, high = bootstrap.rate_difference_bounds(np.ones(30), np.ones(30))
    assert low == pytest.approx(-high)
    assert 0.05 < high < 0.1


def test_standard_errors_are_those_of_means_and_of_clusters() -> None:
    x = np.random.default_rng(0).normal(1e4, 1, size=(40, 1))
    estimates = _estimates(x)
    assert estimates.error is not None
    assert estimates.error[0] == pytest.approx(x.std(ddof=1) / np.sqrt(40), rel=1e-9)
    twice = _estimates(np.repeat(x, 2, axis=0), np.repeat(np.arange(40), 2))
    assert twice.error is not None
    assert twice.error[0] == pytest.approx(estimates.error[0], rel=1e-9)
    weights = bootstrap.cluster_weights(40, 3, 0)
    found = bootstrap.means(x, np.arange(40), weights)
    assert found.resampled_error is not None
    for row, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(x[:, 0], counts)
        assert found.resampled_error[row, 0] == pytest.approx(drawn.std(ddof=1) / np.sqrt(40), rel=1e-6)


def test_studentized_intervals_hold_the_level_of_skewed_values_and_fall_back() -> None:
    x = np.random.default_rng(0).lognormal(0, 0.5, size=(32, 1500))
    estimates = _estimates(x, resamples=1000)
    truth = np.exp(0.125)
    held = {}
    for kind in bootstrap.INTERVALS:
        low, high = bootstrap.intervals(estimates, kind=kind)
        held[kind] = float(((low <= truth) & (truth <= high)).mean())
    assert 0.93 <= held["studentized"] <= 0.97
    assert held["studentized"] > held["bca"]
    few = _estimates(x[:8, :3])
    np.testing.assert_array_equal(bootstrap.intervals(few, kind="studentized"), bootstrap.intervals(few, kind="bca"))
    flat = _estimates(np.full((30, 1), 0.4))
    low, high = bootstrap.intervals(flat, kind="studentized")
    assert (low[0], high[0]) == pytest.approx((0.4, 0.4))


def test_an_outlier_does_not_carry_an_interval_beyond_what_was_seen() -> None:
    values = np.full((32, 1), -0.001) + 1e-4 * np.random.default_rng(0).standard_normal((32, 1))
    values[0] = -0.1
    clusters = np.arange(32)
    estimates = bootstrap.means(values, clusters, bootstrap.cluster_weights(32, 1000, 0))
    (low,), (high,) = bootstrap.intervals(estimates, 0.95, "studentized")
    assert values.min() - 1e-9 <= low < estimates.point[0] < high <= values.max() + 1e-9
