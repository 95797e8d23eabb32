"""Measurements along chains, as arrays with one row a chain and one column a step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case
from editfrontier.data.chains import chains_of
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array, Estimates
from editfrontier.statistics.estimate import Estimate
from editfrontier.statistics.taskscores import Settings, TaskScores
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.results.gallery import read_task

if TYPE_CHECKING:
    from editfrontier.study.inputs import Inputs

PRESENT = 0.5
"""Probability from which the classifier's verdict on an attribute is yes, as in the metric `success`."""


@dataclass(frozen=True)
class ChainData:
    """The chains of one experiment.

    Attributes:
        experiment: its name.
        chains: the cases of each chain in the order of their steps; C chains, K steps of the longest.
        scores: of all variants of the experiment.
        rows: [C, K] rows of `scores.values`, -1 where a chain is shorter.
        cluster: [C] number of each chain's source image, in 0 .. scores.clusters - 1.
    """

    experiment: str
    chains: list[list[Case]]
    scores: TaskScores
    rows: npt.NDArray[np.intp]
    cluster: npt.NDArray[np.intp]

    @property
    def steps(self) -> int:
        """Steps of the longest chain."""
        return self.rows.shape[1]

    @cached_property
    def designs(self) -> list[dict[str, Any]]:
        """The column `design` of each chain's first step."""
        return [json.loads(chain[0].design or "{}") for chain in self.chains]

    def values(self, variant: str, metric: str) -> Array:
        """Return a metric's values [C, K], NaN where there is none."""
        if metric not in self.scores.metrics:
            return np.full(self.rows.shape, np.nan)
        column = self.scores.values[:, self.scores.variants.index(variant), self.scores.metrics.index(metric)]
        return self._placed(column)

    def _placed(self, column: Array) -> Array:
        return np.where(self.rows >= 0, column[self.rows], np.nan)

    def attributes(self, inputs: Inputs, variant: str) -> Array:
        """Return the classifier's probabilities [C, K, A] for a variant's images, NaN where there is no image.

        A is 0 without the evaluator of attributes.
        """
        features = inputs.features(self.scores.task, variant)
        if "attributes" not in features or not len(features["case_ids"]):
            return np.full((*self.rows.shape, len(attribute_names(inputs, self.scores.task))), np.nan)
        place = {case_id: i for i, case_id in enumerate(self.scores.case_ids)}
        table = np.full((len(place), features["attributes"].shape[1]), np.nan)
        table[[place[str(case_id)] for case_id in features["case_ids"]]] = features["attributes"]
        return np.where((self.rows >= 0)[..., None], table[self.rows], np.nan)


def attribute_names(inputs: Inputs, task: str) -> list[str]:
    """Return the names of the classifier's columns, none without the evaluator of attributes."""
    return [str(name) for name in inputs.sources(task).get("attribute_names", [])]


def chain_data(inputs: Inputs, experiment: str) -> ChainData:
    """Read the chains of an experiment; raise `UserError` if its task has none."""
    task = inputs.experiments[experiment].task
    chains = [chain for chain in chains_of(inputs.cases(task)) if chain[0].chain]
    if not chains:
        raise UserError(
            f"analysis '{inputs.name}': the task '{task}' of experiment '{experiment}' has no chains, expected cases "
            "with a column `chain`, as the dataset 'chains' makes them. Give another experiment."
        )
    return arrange(experiment, chains, inputs.scores(experiment))


def arrange(experiment: str, chains: list[list[Case]], scores: TaskScores) -> ChainData:
    """Place the scores of a task along its chains."""
    place = {case_id: i for i, case_id in enumerate(scores.case_ids)}
    rows = np.full((len(chains), max(map(len, chains))), -1, dtype=np.intp)
    for number, chain in enumerate(chains):
        rows[number, : len(chain)] = [place[case.case_id] for case in chain]
    return ChainData(experiment, chains, scores, rows, scores.cluster[rows[:, 0]])


def statuses(root: Path, task: str, variants: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Return what became of each case, "ok", "failed" or "not run", by variant."""
    results = read_task(root, task, variants).variants
    return {name: {case: record.status for case, record in results[name].records.items()} for name in variants}


# Means with intervals -------------------------------------------------------------------------------------------------


def mean_of(
    values: Array, cluster: npt.NDArray[np.integer], weights: Array, settings: Settings, rate: bool = False
) -> Estimate:
    """Return the mean of values [N], NaNs left out, with an interval that resamples whole clusters.

    Args:
        values: one a chain, or a pair of chains.
        cluster: [N] of them.
        weights: resample weights [R, clusters].
        settings: level and kind of the interval.
        rate: whether the values are 0 or 1; a rate of exactly 0 or 1 then gets Wilson's interval over the clusters.
    """
    held = np.isfinite(values)
    if not held.any():
        return Estimate(np.nan)
    estimates = bootstrap.means(values[:, None], cluster, weights)
    point = float(estimates.point[0])
    units = len(np.unique(cluster[held]))
    if units < 2:
        return Estimate(point, n=int(held.sum()))
    if rate and point in (0.0, 1.0):
        return Estimate(point, *bootstrap.rate_bounds(point, units, settings.level), int(held.sum()))
    # A studentized interval of a rate may leave the range from 0 to 1.
    kind = "bca" if rate and settings.interval == "studentized" else settings.interval
    low, high = bootstrap.intervals(estimates, settings.level, kind)
    return Estimate(point, float(low[0]), float(high[0]), int(held.sum()))


def only_estimate(estimates: Estimates, settings: Settings, n: int) -> Estimate:
    """Return the only quantity of some estimates; without bounds where it has no spread that says anything."""
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    point = float(estimates.point[0])
    return Estimate(point, float(low[0]), float(high[0]), n) if np.isfinite(point) else Estimate(np.nan, n=n)


def slopes(values: Array) -> Array:
    """Return the least-squares slope of each chain [C] over its steps 1 .. K that have a value; NaN below two."""
    steps = np.broadcast_to(np.arange(1.0, values.shape[1] + 1), values.shape)
    held = np.isfinite(values)
    count = held.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = np.where(held, steps - np.where(held, steps, 0.0).sum(1, keepdims=True) / count[:, None], 0.0)
        slope = (centred * np.where(held, values, 0.0)).sum(1) / (centred**2).sum(1)
    return np.where(count >= 2, slope, np.nan)


def exponents(curves: Array) -> Array:
    """Return p [...] of curves [..., K] fitted as a k^p by least squares of logarithms; NaN unless all are positive.

    A curve of means, not single chains, so that one chain whose deviation is 0 does not decide it.
    """
    k = np.log(np.arange(1.0, curves.shape[-1] + 1))
    if len(k) < 2:
        return np.full(curves.shape[:-1], np.nan)
    centred = k - k.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(curves > 0, np.log(curves), np.nan)
    return np.asarray((logs * centred).sum(-1) / (centred**2).sum())


def growth(values: Array, cluster: npt.NDArray[np.integer], weights: Array) -> Estimates:
    """Return the exponent of the mean deviation of chains [C, K], its resamples and its jackknife, each with K = 1."""
    means = bootstrap.means(values, cluster, weights)
    return Estimates(*(exponents(part)[..., None] for part in (means.point, means.resampled, means.jackknife)))


DEVIATIONS = {"id_sim": "1 - ID sim", "lpips_bg_masked": "", "l2_source": "", "l2_latent": ""}
"""Metrics that say how far an image is from the original, with what is taken instead of the metric itself."""


_ROUNDING = 1e-5


def deviation(data: ChainData, variant: str, metric: str) -> Array:
    """Return how far each chain is from its original [C, K] in a metric of `DEVIATIONS`, 0 for the original itself."""
    values = data.values(variant, metric)
    if metric != "id_sim":
        return values
    # The similarity of an image and itself is 1 up to rounding, which is no deviation.
    gap = 1.0 - values
    return np.where(np.abs(gap) < _ROUNDING, 0.0, gap)


def step_counts(inputs: Inputs, data: ChainData, variant: str) -> list[Finding]:
    """Return how many steps of a variant's chains failed, and how many were not run because of that."""
    held = list(statuses(inputs.root, data.scores.task, [variant])[variant].values())
    return [
        Finding(quantity=name, variant=variant, value=held.count(status), n=len(held))
        for name, status in (("failed", "failed"), ("not_run", "not run"))
    ]


def said_of_counts(findings: Findings) -> list[str]:
    """Return a sentence on steps that failed or were not run, none if there are none."""
    failed, not_run = (int(sum(row.value for row in findings.select(name))) for name in ("failed", "not_run"))
    return [f"{failed} steps failed, and {not_run} after them were not run."] if failed or not_run else []
