"""Statistics of the user study against published examples, other libraries and cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from editfrontier.study.userstudy.agreement import majority_accuracy, nominal_alpha, people_accuracy, rank_correlations
from editfrontier.study.userstudy.bradley_terry import fit
from editfrontier.study.userstudy.design import editor_pairs

# Wins of row over column, American League East 1987, Agresti (2002), "Categorical Data Analysis", table 10.10; the
# estimates against Baltimore (last) from table 10.11, rounded there to two decimals.
BASEBALL = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ],
    dtype=float,
)
PUBLISHED = (1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0)

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": two observers of ten units, and four observers of
# twelve units with gaps; one row an observer.
TWO_OBSERVERS = ("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
FOUR_OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
# Three coders of fifteen units with gaps, the example of "Krippendorff's alpha" in Wikipedia.
THREE_CODERS = (
    ". . . . . 3 4 1 2 1 1 3 3 . 3",
    "1 . 2 1 3 3 4 3 . . . . . . .",
    ". . 2 1 3 4 4 . 2 1 1 3 3 . 4",
)


def counted(rows: tuple[str, ...]) -> np.ndarray:
    units = list(zip(*(row.split() for row in rows), strict=True))
    kinds = sorted({value for unit in units for value in unit} - {"."})
    return np.array([[unit.count(kind) for kind in kinds] for unit in units], dtype=float)


def test_strengths_are_the_published_ones() -> None:
    counts = np.array([[[BASEBALL[i, j], BASEBALL[j, i], 0.0] for i, j in editor_pairs(7)]])
    found = fit(counts, 7, prior_sd=None)
    assert np.round(found.log_strength[0] - found.log_strength[0, 6], 2) == pytest.approx(PUBLISHED)
    assert found.log_tie[0] == -np.inf
    # The prior moves nothing that counts, and shrinks.
    held = fit(counts, 7).log_strength[0]
    assert held == pytest.approx(found.log_strength[0], abs=0.01)
    assert np.ptp(held) < np.ptp(found.log_strength[0])


def test_ties_follow_davidson_as_a_log_linear_model_of_statsmodels() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(7)
    pairs, items = editor_pairs(4), 4
    counts = rng.integers(1, 20, (1, len(pairs), 3)).astype(float)
    rows, observed = [], []
    for p, (i, j) in enumerate(pairs):
        for outcome in range(3):
            row = np.zeros(len(pairs) + items)  # an intercept a pair, strengths of all but the first, the tie parameter
            row[p] = 1
            for item, share in (((i, 1.0),), ((j, 1.0),), ((i, 0.5), (j, 0.5)))[outcome]:
                if item:
                    row[len(pairs) + item - 1] += share
            row[-1] = outcome == 2
            rows.append(row)
            observed.append(counts[0, p, outcome])
    reference = sm.GLM(np.array(observed), np.array(rows), family=sm.families.Poisson()).fit(tol=1e-12)
    found = fit(counts, items, prior_sd=None)
    strengths = found.log_strength[0] - found.log_strength[0, 0]
    assert strengths[1:] == pytest.approx(reference.params[len(pairs) : -1], abs=1e-6)
    assert found.log_tie[0] == pytest.approx(reference.params[-1], abs=1e-6)


def test_two_editors_have_the_odds_of_their_wins() -> None:
    # 30 wins, 10 losses, no ties: log odds log 3. With 20 ties, nu = 20 / sqrt(30 * 10).
    found = fit(np.array([[[30.0, 10.0, 0.0]], [[30.0, 10.0, 20.0]]]), 2, prior_sd=None)
    assert found.log_strength[:, 0] - found.log_strength[:, 1] == pytest.approx(np.log(3.0))
    assert found.log_tie[1] == pytest.approx(np.log(20 / np.sqrt(300)))
    assert found.win_rate()[0] == pytest.approx([0.75, 0.25])
    assert found.win_rate()[1] == pytest.approx([40 / 60, 20 / 60])


def test_an_editor_that_never_lost_stays_finite_and_data_sets_do_not_mix() -> None:
    counts = np.array([[[10.0, 0, 0], [10, 0, 0], [5, 5, 0]], [[5, 5, 2], [5, 5, 2], [5, 5, 2]]])
    found = fit(counts, 3)
    assert np.isfinite(found.log_strength).all()
    assert found.log_strength[0, 0] > 2
    assert found.log_strength[1] == pytest.approx(np.zeros(3), abs=1e-9)
    assert fit(counts[1:], 3).log_tie[0] == pytest.approx(found.log_tie[1])


def test_editors_that_nothing_connects_have_no_strengths() -> None:
    # Editors 0 and 1, and 2 and 3, were compared, but neither of the first with one of the last.
    counts = np.zeros((2, 6, 3))
    counts[:, editor_pairs(4).index((0, 1)), 0] = 5
    counts[:, editor_pairs(4).index((2, 3)), 1] = 5
    counts[1, editor_pairs(4).index((1, 2)), 2] = 1  # one tie connects them
    found = fit(counts, 4).log_strength
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize(("rows", "alpha"), [(TWO_OBSERVERS, 0.095), (FOUR_OBSERVERS, 0.743), (THREE_CODERS, 0.691)])
def test_alpha_is_the_published_one(rows: tuple[str, ...], alpha: float) -> None:
    assert nominal_alpha(counted(rows))[0] == pytest.approx(alpha, abs=0.0005)


def test_alpha_of_perfect_of_no_and_of_unknowable_agreement() -> None:
    assert nominal_alpha(np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]]))[0] == 1.0
    assert nominal_alpha(np.array([[1.0, 1], [1, 1], [1, 1], [1, 1]]))[0] < 0
    assert np.isnan(nominal_alpha(np.array([[1.0, 0], [0, 1]]))[0])  # one rater a unit
    assert np.isnan(nominal_alpha(np.array([[2.0, 0], [2, 0]]))[0])  # everybody always says the same


def test_alpha_of_resampled_units_is_that_of_the_units_repeated() -> None:
    counts = counted(FOUR_OBSERVERS)
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=5).astype(float)
    found = nominal_alpha(counts, weights)
    for row, value in zip(weights, found, strict=True):
        assert value == pytest.approx(nominal_alpha(np.repeat(counts, row.astype(int), axis=0))[0])


def test_alpha_does_not_depend_on_which_editor_is_called_first() -> None:
    rng = np.random.default_rng(2)
    counts = rng.multinomial(5, [0.6, 0.25, 0.15], size=40).astype(float)
    turned = counts.copy()
    turned[::3, :2] = turned[::3, 1::-1]
    one, other = (nominal_alpha(c, exchangeable=True)[0] for c in (counts, turned))
    assert one == pytest.approx(other, abs=1e-12)
    assert nominal_alpha(counts)[0] != pytest.approx(nominal_alpha(turned)[0], abs=1e-3)


def test_accuracy_against_the_majority() -> None:
    # Right, wrong, a tie of the metric (half), no majority (out), no value of the metric (out).
    margin = np.array([[3.0, 3.0, -1.0, 0.0, 2.0]])
    preference = np.array([0.2, -0.1, 0.0, 1.0, np.nan])
    accuracy, n = majority_accuracy(margin, preference, np.ones((1, 5)))
    assert (accuracy[0], n[0]) == (0.5, 3)
    accuracy, n = majority_accuracy(margin, preference, np.array([[4.0, 1, 0, 9, 9]]))
    assert (accuracy[0], n[0]) == (0.8, 5)
    assert np.isnan(majority_accuracy(np.zeros((1, 5)), preference, np.ones((1, 5)))[0][0])


def test_people_are_measured_against_the_others() -> None:
    votes = np.array([[1.0, 1, 0], [1, -1, 1], [-1, 0, 0]])
    present = np.array([[True, True, True], [True, True, True], [True, False, False]])
    agrees, counted_ = people_accuracy(votes, present)
    # Case 0: the first's others are 1 and -1 (no majority), as the second's; the third's are 1, 1: it disagrees.
    # Case 1: each has one other, of the opposite opinion. Case 2: tie against 1 = half; 1 against a tie: no majority.
    assert counted_.tolist() == [[False, True, True], [False, True, False], [True, False, False]]
    assert agrees[counted_].tolist() == [0.0, 0.5, 0.0, 0.0]


def test_rank_correlations_are_scipys() -> None:
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 7)), np.round(rng.normal(size=(5, 7)), 0)  # with ties
    rho, tau = rank_correlations(x, y)
    for row in range(5):
        assert rho[row] == pytest.approx(spearmanr(x[row], y[row]).statistic)
        assert tau[row] == pytest.approx(kendalltau(x[row], y[row]).statistic)
    assert np.isnan(rank_correlations(np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]))).all()
    assert np.isnan(rank_correlations(np.array([[1.0, 2.0]]), np.array([[3.0, 3.0]]))).all()
