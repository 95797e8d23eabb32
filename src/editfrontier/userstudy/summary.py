"""What the answers say: strengths of editors, agreement of people, agreement of metrics with people, with intervals.

Intervals come from a bootstrap over two factors at once: participants and source images are drawn with replacement, and
an answer counts as often as its participant times its image was drawn (Owen 2007, the pigeonhole bootstrap; somewhat
wide). Alpha resamples images only: drawn twice, a participant would agree with himself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from editfrontier import bootstrap
from editfrontier.bootstrap import Array
from editfrontier.metrics.registry import METRICS
from editfrontier.set_bootstrap import SetBootstrap
from editfrontier.taskscores import Settings, TaskScores
from editfrontier.userstudy.agreement import majority_accuracy, nominal_alpha, people_accuracy, rank_correlations
from editfrontier.userstudy.bradley_terry import fit
from editfrontier.userstudy.design import Ints, editor_pairs
from editfrontier.userstudy.responses import Judgement


@dataclass(frozen=True)
class Estimate:
    """A number with its interval (NaN = none) and how many things are behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Votes:
    """Judgements as arrays, and how often each resample holds what they are made of.

    Attributes:
        editors: in alphabetic order, K.
        rater, item, cluster: [J], numbers of the participant, the comparison and the source image of each judgement.
        pair: [J], number of the two editors among `editor_pairs(K)`.
        vote: [J], 1 if the first of them won, -1 if the second did, 0 for a tie.
        left: [J], whether the first stood on the left.
        items: [I,3], of every comparison: row of its case in the scores, first editor, second editor.
        item_cluster: [I].
        rater_weights: [R,N]. cluster_weights: [R,C].
        level: of intervals.
    """

    editors: tuple[str, ...]
    rater: Ints
    item: Ints
    cluster: Ints
    pair: Ints
    vote: Array
    left: npt.NDArray[np.bool_]
    items: Ints
    item_cluster: Ints
    rater_weights: Array
    cluster_weights: Array
    level: float

    @property
    def outcome(self) -> Ints:
        """[J], 0 if the first won, 1 if the second did, 2 for a tie."""
        return np.where(self.vote == 0, 2, np.where(self.vote > 0, 0, 1))

    @property
    def weights(self) -> Array:
        """[R,J], how often each resample of participants and images holds each judgement."""
        return self.rater_weights[:, self.rater] * self.cluster_weights[:, self.cluster]

    def estimate(self, value: float, resampled: Array, n: int, *, raters: bool = True) -> Estimate:
        """Return a number with the percentile interval of its resamples [R]; none where there is nothing to resample.

        raters: whether participants were resampled; one participant alone then gives no interval.
        """
        finite = resampled[np.isfinite(resampled)]
        units = [len(np.unique(self.cluster)), *([len(np.unique(self.rater))] if raters else [])]
        if min(units) < 2 or len(finite) < 2 or not np.isfinite(value):
            return Estimate(value, np.nan, np.nan, n)
        low, high = np.quantile(finite, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate(value, float(low), float(high), n)

    def share(self, holds: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Estimate:
        """Return the share of the judgements `among` [J] for which something holds [J]."""
        n, weights = int(among.sum()), self.weights
        with np.errstate(invalid="ignore", divide="ignore"):
            resampled = (weights @ (holds & among)) / (weights @ among)
        return self.estimate(float((holds & among).sum() / n) if n else np.nan, resampled, n)


def collect_votes(
    judgements: Sequence[Judgement],
    scores: TaskScores,
    editors: Sequence[str],
    rater_weights: Array,
    cluster_weights: Array,
    level: float,
    participants: Sequence[int],
) -> Votes:
    """Turn judgements into arrays.

    Args:
        judgements: at least one.
        scores: of the judged task.
        editors: all that the design compares.
        rater_weights: [R,N] for the N participants.
        cluster_weights: [R,C] for the clusters of the scores.
        level: of intervals.
        participants: numbers of all whose answers count.
    """
    names = tuple(sorted(editors))
    place = {name: index for index, name in enumerate(names)}
    row = {case: index for index, case in enumerate(scores.case_ids)}
    raters = {number: index for index, number in enumerate(participants)}
    pairs = {pair: index for index, pair in enumerate(editor_pairs(len(names)))}
    compared = {j.item: (row[j.case], place[j.first], place[j.second]) for j in judgements}
    numbers = {item: index for index, item in enumerate(sorted(compared))}
    items = np.array([compared[item] for item in numbers], dtype=np.intp)
    item = np.array([numbers[j.item] for j in judgements], dtype=np.intp)
    item_cluster = scores.cluster[items[:, 0]]
    return Votes(
        names,
        np.array([raters[j.participant] for j in judgements], dtype=np.intp),
        item,
        item_cluster[item],
        np.array([pairs[place[j.first], place[j.second]] for j in judgements], dtype=np.intp),
        np.array([j.vote for j in judgements], dtype=np.float64),
        np.array([j.left for j in judgements], dtype=bool),
        items,
        item_cluster,
        rater_weights,
        cluster_weights,
        level,
    )


@dataclass(frozen=True)
class Ranking:
    """Strengths of all editors. log_strength and win_rate: point [K] and resamples [R,K]; log_tie: of the point."""

    log_strength: Array
    win_rate: Array
    resampled_strength: Array
    resampled_rate: Array
    log_tie: float


def rank_editors(votes: Votes) -> Ranking:
    """Fit the model of Bradley, Terry and Davidson to the judgements and to every resample of them."""
    count = len(votes.editors)
    cells = np.zeros((len(votes.vote), len(editor_pairs(count)) * 3))
    cells[np.arange(len(votes.vote)), 3 * votes.pair + votes.outcome] = 1.0
    weights = np.concatenate([np.ones((1, len(votes.vote))), votes.weights])
    strengths = fit((weights @ cells).reshape(len(weights), -1, 3), count)
    rate = strengths.win_rate()
    return Ranking(
        strengths.log_strength[0], rate[0], strengths.log_strength[1:], rate[1:], float(strengths.log_tie[0])
    )


def alpha(votes: Votes) -> Estimate:
    """Return Krippendorff's alpha of the answers "first", "second" and "tie" to the comparisons."""
    counts = np.zeros((len(votes.items), 3))
    np.add.at(counts, (votes.item, votes.outcome), 1.0)
    point = float(nominal_alpha(counts, exchangeable=True)[0])
    resampled = nominal_alpha(counts, votes.cluster_weights[:, votes.item_cluster], exchangeable=True)
    return votes.estimate(point, resampled, int((counts.sum(axis=1) >= 2).sum()), raters=False)


def _matrix(votes: Votes) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the vote of every participant for every comparison [N,I], and whether there is one."""
    shape = votes.rater_weights.shape[1], len(votes.items)
    matrix, present = np.zeros(shape), np.zeros(shape, dtype=bool)
    matrix[votes.rater, votes.item], present[votes.rater, votes.item] = votes.vote, True
    return matrix, present


def people(votes: Votes) -> Estimate:
    """Return how often a participant agrees with the majority of the others; what a metric can be measured against."""
    matrix, present = _matrix(votes)
    agrees, counted = people_accuracy(matrix, present)
    agrees, counted = agrees[votes.rater, votes.item], counted[votes.rater, votes.item]
    n, weights = int(counted.sum()), votes.weights
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (weights @ agrees) / (weights @ counted)
    return votes.estimate(float(agrees.sum() / n) if n else np.nan, resampled, n)


def judged_metrics(scores: TaskScores) -> list[str]:
    """Return the metrics that prefer one image to another: those with a direction, costs apart."""
    return [name for name in scores.metrics if METRICS[name].direction != "none" and METRICS[name].group != "cost"]


def _oriented(scores: TaskScores, metric: str, editors: Sequence[str]) -> Array:
    """Return the values of a metric [N cases, K editors], turned so that higher is better."""
    columns = [scores.variants.index(name) for name in editors]
    values = scores.values[:, columns, scores.metrics.index(metric)]
    return values if METRICS[metric].direction == "higher" else -values


def metric_accuracy(votes: Votes, scores: TaskScores, metric: str) -> Estimate:
    """Return how often a metric prefers what the majority of people prefers, over comparisons with a majority."""
    values = _oriented(scores, metric, votes.editors)
    row, first, second = votes.items.T
    preference = values[row, first] - values[row, second]
    matrix, _ = _matrix(votes)
    weights = votes.cluster_weights[:, votes.item_cluster]
    point, n = majority_accuracy(matrix.sum(axis=0)[None], preference, np.ones((1, len(row))))
    resampled, _ = majority_accuracy(votes.rater_weights @ matrix, preference, weights)
    return votes.estimate(float(point[0]), resampled, int(n[0]))


def metric_correlations(votes: Votes, ranking: Ranking, scores: TaskScores, metric: str) -> tuple[Estimate, Estimate]:
    """Return Spearman's and Kendall's correlation of strengths with an editor's means of a metric, higher is better."""
    values = _oriented(scores, metric, votes.editors)
    means = bootstrap.means(values, scores.cluster, votes.cluster_weights)
    return correlations(votes, ranking, means.point, means.resampled)


def set_metric_correlations(
    votes: Votes, ranking: Ranking, scores: TaskScores, settings: Settings
) -> dict[str, tuple[Estimate, Estimate]]:
    """Return the same for FID and KID, which have one value an editor; only people's answers are resampled.

    A resample of cases raises FID itself, which is why its resamples say nothing here.
    """
    sets = SetBootstrap(scores, replace(settings, set_resamples=10))
    values = {name: sets.estimate(name) for name in votes.editors} if sets.names else {}
    if not values or any(value is None for value in values.values()):
        return {}
    found = {}
    for metric in sets.names:
        point = np.array([-value[metric][0] for value in values.values() if value is not None])
        found[metric] = correlations(votes, ranking, point, np.tile(point, (len(ranking.resampled_strength), 1)))
    return found


def correlations(votes: Votes, ranking: Ranking, point: Array, resampled: Array) -> tuple[Estimate, Estimate]:
    """Return both correlations of the strengths with values of the editors, point [K] and resamples [R,K]."""
    at = rank_correlations(ranking.log_strength[None], point[None])
    spread = rank_correlations(ranking.resampled_strength, resampled)
    count = len(votes.editors)
    rho, tau = (votes.estimate(float(a[0]), r, count) for a, r in zip(at, spread, strict=True))
    return rho, tau
