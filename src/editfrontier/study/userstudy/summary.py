"""What the answers say: strengths of editors, agreement of people, agreement of metrics with people, with intervals.

Answers of one participant belong together, and so do answers about one source image. The variance of a statistic is
therefore its variance under a bootstrap of participants, plus under a bootstrap of images, less under a bootstrap of
single answers, which the first two contain (Cameron, Gelbach and Miller 2011, equation 2.11, with bootstrap variances).
Drawing participants and images together instead counts the noise of single answers three times (Owen 2007). Intervals
are Student's t with one degree of freedom less than there are participants or images, whichever are fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.curves import percentile_estimate
from editfrontier.statistics.estimate import Estimate
from editfrontier.statistics.set_bootstrap import SetBootstrap
from editfrontier.statistics.taskscores import Settings, TaskScores
from editfrontier.study.userstudy.agreement import majority_accuracy, nominal_alpha, people_accuracy, rank_correlations
from editfrontier.study.userstudy.bradley_terry import fit
from editfrontier.study.userstudy.design import Ints, editor_pairs
from editfrontier.study.userstudy.materials import Design
from editfrontier.study.userstudy.responses import Judgement

Statistic = Callable[[Array, Array], Array]
"""(how often each of R resamples holds each judgement [R,J], and each image [R,C]) -> K values of each [R,K]."""


@dataclass(frozen=True)
class Votes:
    """Judgements as arrays, and how often each resample holds what they are made of.

    Attributes:
        rater, item, cluster: [J], numbers of the participant, the comparison and the source image of each judgement.
        pair: [J], number of the two editors among `editor_pairs(K)`.
        vote: [J], 1 if the first of them won, -1 if the second did, 0 for a tie.
        left: [J], whether the first stood on the left.
        items: [I,3], of every comparison: row of its case in the scores, first editor, second editor.
        rater_weights: [R,N]. cluster_weights: [R,C]. judgement_weights: [R,J].
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
    judgement_weights: Array
    level: float

    @property
    def outcome(self) -> Ints:
        """[J], 0 if the first won, 1 if the second did, 2 for a tie."""
        return np.where(self.vote == 0, 2, np.where(self.vote > 0, 0, 1))

    @property
    def units(self) -> int:
        """Participants or source images, whichever are fewer."""
        return min(len(np.unique(self.rater)), len(np.unique(self.cluster)))


@dataclass(frozen=True)
class Spread:
    """A statistic of K values with its covariance over participants and images.

    point: [K]. covariance: [K,K], NaN where there is nothing to resample. variance: [K], its diagonal, at least that
    over single judgements, which the difference of estimates may fall below.
    """

    point: Array
    covariance: Array
    variance: Array

    def estimate(self, votes: Votes, n: int, k: int = 0, bounds: tuple[float, float] | None = None) -> Estimate:
        """Return the k-th value with its interval, cut off at `bounds`."""
        value = float(self.point[k])
        # Without a second unit there are no degrees of freedom, and the half width is NaN.
        half = float(t.ppf((1 + votes.level) / 2, votes.units - 1) * np.sqrt(self.variance[k]))
        if not np.isfinite(value + half):
            return Estimate(value, n=n)
        least, most = bounds or (-np.inf, np.inf)
        return Estimate(value, max(value - half, least), min(value + half, most), n)

    def draws(self, count: int, seed: int) -> Array:
        """Return [count,K] from the normal distribution with this mean and covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        normal = np.random.default_rng(seed).standard_normal((count, len(values)))
        return np.asarray(self.point + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def two_way(votes: Votes, statistic: Statistic) -> Spread:
    """Return a statistic with its covariance over participants and images (see the module's head)."""
    images = votes.cluster_weights.shape[1]
    point = statistic(np.ones((1, len(votes.vote))), np.ones((1, images)))[0]
    size = len(point)
    nothing = np.full((size, size), np.nan)
    if votes.units < 2:
        return Spread(point, nothing, np.diag(nothing))
    still = np.ones((len(votes.judgement_weights), images))
    parts = []
    for weights, of_images in (
        (votes.rater_weights[:, votes.rater], still),
        (votes.cluster_weights[:, votes.cluster], votes.cluster_weights),
        (votes.judgement_weights, still),
    ):
        resampled = statistic(weights, of_images)
        resampled = resampled[np.isfinite(resampled).all(axis=1)]
        parts.append(np.cov(resampled, rowvar=False).reshape(size, size) if len(resampled) > 1 else nothing)
    covariance = parts[0] + parts[1] - parts[2]
    return Spread(point, covariance, np.maximum(np.diag(covariance), np.diag(parts[2])))


def share(votes: Votes, holds: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Estimate:
    """Return the share of the judgements `among` [J] for which something holds [J]."""
    return _ratio(votes, (holds & among).astype(np.float64), among.astype(np.float64))


def _ratio(votes: Votes, part: Array, whole: Array) -> Estimate:
    def ratio(weights: Array, _: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weights @ part) / (weights @ whole))[:, None]

    return two_way(votes, ratio).estimate(votes, int(whole.sum()), bounds=(0.0, 1.0))


def as_judged(scores: TaskScores, design: Design) -> TaskScores:
    """Return the scores of what people judged: every editor and case of a design, without values where there are none
    now, and of editors whose images have changed since."""
    absent = [name for name in design.editors if name not in scores.variants]
    gone = [case for case in design.sources if case not in scores.case_ids]
    if not absent and not gone and not design.changed:
        return scores
    variants = [*scores.variants, *absent]
    values = np.full((len(scores.case_ids) + len(gone), len(variants), len(scores.metrics)), np.nan)
    values[: len(scores.case_ids), : len(scores.variants)] = scores.values
    values[:, [variants.index(name) for name in design.changed]] = np.nan
    # Cases that are gone belong together if their source image is one.
    images = {image: number for number, image in enumerate(dict.fromkeys(design.sources[case][0] for case in gone))}
    clusters = [scores.clusters + images[design.sources[case][0]] for case in gone]
    return replace(
        scores,
        variants=variants,
        values=values,
        cluster=np.concatenate([scores.cluster, np.array(clusters, dtype=np.intp)]),
        case_ids=(*scores.case_ids, *gone),
        features={name: held for name, held in scores.features.items() if name not in design.changed},
    )


def collect_votes(
    judgements: Sequence[Judgement],
    scores: TaskScores,
    editors: Sequence[str],
    rater_weights: Array,
    cluster_weights: Array,
    judgement_weights: Array,
    level: float,
    participants: Sequence[int],
) -> Votes:
    """Turn judgements into arrays.

    Args:
        judgements: at least one.
        rater_weights: [R,N] for the N participants.
        cluster_weights: [R,C] for the clusters of the scores.
        judgement_weights: [R,J].
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
        judgement_weights,
        level,
    )


def strengths(votes: Votes) -> tuple[Spread, Spread]:
    """Return log strengths (Bradley, Terry, Davidson) and how often each editor is preferred to another, both [K]."""
    count = len(votes.editors)
    cells = np.zeros((len(votes.vote), len(editor_pairs(count)) * 3))
    cells[np.arange(len(votes.vote)), 3 * votes.pair + votes.outcome] = 1.0

    def strengths_and_rates(weights: Array, _: Array) -> Array:
        fitted = fit((weights @ cells).reshape(len(weights), -1, 3), count)
        return np.concatenate([fitted.log_strength, fitted.win_rate()], axis=1)

    spread = two_way(votes, strengths_and_rates)
    parts = slice(0, count), slice(count, 2 * count)
    first, second = (Spread(spread.point[p], spread.covariance[p, p], spread.variance[p]) for p in parts)
    return first, second


def alpha(votes: Votes) -> Estimate:
    """Return Krippendorff's alpha of the answers "first", "second" and "tie" to the comparisons.

    Its interval is over images alone: drawn twice, a participant would agree with himself.
    """
    counts = np.zeros((len(votes.items), 3))
    np.add.at(counts, (votes.item, votes.outcome), 1.0)
    point = float(nominal_alpha(counts, exchangeable=True)[0])
    n = int((counts.sum(axis=1) >= 2).sum())
    if votes.units < 2:
        return Estimate(point, n=n)
    resampled = nominal_alpha(counts, votes.cluster_weights[:, votes.item_cluster], exchangeable=True)
    return percentile_estimate(point, resampled, votes.level, n)


def people(votes: Votes) -> Estimate:
    """Return how often a participant agrees with the majority of the others; what a metric can be measured against."""
    shape = votes.rater_weights.shape[1], len(votes.items)
    matrix, present = np.zeros(shape), np.zeros(shape, dtype=bool)
    matrix[votes.rater, votes.item], present[votes.rater, votes.item] = votes.vote, True
    agrees, counted = people_accuracy(matrix, present)
    place = votes.rater, votes.item
    return _ratio(votes, agrees[place], counted[place].astype(np.float64))


def judged_metrics(scores: TaskScores, names: Sequence[str]) -> list[str]:
    """Return the metrics that prefer one image to another: they have a direction and are no costs."""
    known = [name for name in names if name in scores.metrics]
    return [name for name in known if METRICS[name].direction != "none" and METRICS[name].group != "cost"]


def _oriented(scores: TaskScores, metric: str, editors: Sequence[str]) -> Array:
    """Return the values of a metric [N cases, K editors], turned so that higher is better."""
    columns = [scores.variants.index(name) for name in editors]
    values = scores.values[:, columns, scores.metrics.index(metric)]
    return values if METRICS[metric].direction == "higher" else -values


def metric_accuracies(votes: Votes, scores: TaskScores, metrics: Sequence[str]) -> dict[str, Estimate]:
    """Return how often each metric prefers what the majority of people prefers, over comparisons with a majority."""
    row, first, second = votes.items.T
    of_item = np.zeros((len(votes.vote), len(row)))
    of_item[np.arange(len(votes.vote)), votes.item] = votes.vote
    majority = of_item.sum(axis=0) != 0
    preferences = {}
    for metric in metrics:
        values = _oriented(scores, metric, votes.editors)
        preferences[metric] = values[row, first] - values[row, second]
    known = {metric: int((majority & np.isfinite(values)).sum()) for metric, values in preferences.items()}
    accuracy = {metric: Estimate(np.nan) for metric in metrics}
    usable = [metric for metric in metrics if known[metric]]
    if not usable:
        return accuracy

    def accuracies(weights: Array, images: Array) -> Array:
        margin, of_items = weights @ of_item, images[:, votes.item_cluster]
        return np.stack([majority_accuracy(margin, preferences[metric], of_items)[0] for metric in usable], axis=1)

    spread = two_way(votes, accuracies)
    for k, metric in enumerate(usable):
        accuracy[metric] = spread.estimate(votes, known[metric], k, bounds=(0.0, 1.0))
    return accuracy


def metric_correlations(
    votes: Votes, strength: Spread, scores: TaskScores, metrics: Sequence[str], settings: Settings, seed: int
) -> dict[str, tuple[Estimate, Estimate]]:
    """Return Spearman's and Kendall's correlation of the strengths with the editors' means of each metric.

    Turned so that 1 means the same order. Strengths are drawn from their normal distribution, means of the metric from
    their bootstrap over images. FID and KID, which have one value an editor, are not resampled: that raises them.
    """
    resamples = len(votes.cluster_weights)
    drawn = strength.draws(resamples, seed) if np.isfinite(strength.covariance).all() else None
    values: dict[str, tuple[Array, Array]] = {}
    for metric in judged_metrics(scores, metrics):
        means = bootstrap.means(_oriented(scores, metric, votes.editors), scores.cluster, votes.cluster_weights)
        values[metric] = means.point, means.resampled
    sets = SetBootstrap(scores, replace(settings, set_resamples=10))
    for metric in (name for name in metrics if name in sets.names):
        estimates = [sets.estimate(name) for name in votes.editors]
        point = np.array([np.nan if estimate is None else -estimate[metric][0] for estimate in estimates])
        values[metric] = point, np.tile(point, (resamples, 1))
    return {m: _correlations(votes, strength, drawn, *values[m]) for m in metrics if m in values}


def _correlations(
    votes: Votes, strength: Spread, drawn: Array | None, point: Array, resampled: Array
) -> tuple[Estimate, Estimate]:
    points = [float(value[0]) for value in rank_correlations(strength.point[None], point[None])]
    spreads = [np.array([])] * 2 if drawn is None else rank_correlations(drawn, resampled)
    spearman, kendall = (
        percentile_estimate(value, spread if np.isfinite(value) else np.array([]), votes.level, len(votes.editors))
        for value, spread in zip(points, spreads, strict=True)
    )
    return spearman, kendall
