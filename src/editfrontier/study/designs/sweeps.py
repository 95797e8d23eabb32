"""Curves of a swept hyperparameter: one curve of means a metric, over its values or its levels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.seeding import stable_seed
from editfrontier.editing.editor import get_editor, make_params
from editfrontier.scoring.metrics import METRICS, get_metric
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array, Estimates
from editfrontier.statistics.estimate import Effect, Estimate
from editfrontier.statistics.set_bootstrap import SetBootstrap
from editfrontier.statistics.taskscores import Settings, TaskScores, task_weights
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row


@dataclass(frozen=True)
class Curve:
    """Means of one metric of several rows on the cases that all of them have.

    Attributes:
        metric: its name.
        rows: V rows of the experiment that have the metric.
        estimates: of the V means; the resamples [R, V] belong together. A metric of a set has no jackknife.
        low, high: bounds [V] of their intervals.
        values: [n, V] of the cases, None for a metric of a set.
        cluster: [n] in 0 .. C-1.
        clusters: C.
        note: what is missing, "" = nothing.
    """

    metric: str
    rows: tuple[Row, ...]
    estimates: Estimates
    low: Array
    high: Array
    values: Array | None
    cluster: npt.NDArray[np.intp]
    clusters: int
    note: str = ""

    @property
    def n(self) -> int:
        """Cases behind every mean."""
        return len(self.cluster)

    def estimate(self, place: int) -> Estimate:
        """Return the mean of a row."""
        return Estimate(float(self.estimates.point[place]), float(self.low[place]), float(self.high[place]), self.n)

    @property
    def covariance(self) -> Array:
        """Covariance [V, V] of the means."""
        return np.atleast_2d(np.cov(self.estimates.resampled, rowvar=False))


def hyperparameters(row: Row) -> dict[str, Any]:
    """Return all hyperparameters of a row, also the defaults."""
    return asdict(make_params(get_editor(row.editor), row.params))


def swept_value(row: Row, param: str, experiment: str) -> float:
    """Return the number that a row gives a hyperparameter; raise `UserError` if its editor has none of this name."""
    known = hyperparameters(row)
    if param not in known:
        raise UserError(
            f"experiment '{experiment}', row '{row.label}': {row.editor} has no hyperparameter '{param}'."
            f"{did_you_mean(param, known)} Correct `param` of the analysis."
        )
    if isinstance(known[param], bool) or not isinstance(known[param], int | float):
        raise UserError(
            f"experiment '{experiment}', row '{row.label}': {param} is {known[param]!r}, expected a number. Use the "
            "analysis 'levels' for what has no numbers."
        )
    return float(known[param])


def swept_rows(inputs: Inputs, experiment: str, param: str) -> tuple[list[Row], Array]:
    """Return the rows of an experiment that are no controls, by ascending value of a hyperparameter, and these values.

    Raises:
        UserError: a row has no such number, or two rows have the same.
    """
    valued = sorted(
        ((swept_value(row, param, experiment), row) for row in inputs.editors(experiment)), key=lambda pair: pair[0]
    )
    for (x, row), (other, twin) in itertools.pairwise(valued):
        if x == other:
            raise UserError(
                f"experiment '{experiment}': the rows '{row.label}' and '{twin.label}' both have {param} = {x:g}, "
                "expected one row a value. Take one out, or make it an experiment of its own."
            )
    return [row for _, row in valued], np.array([x for x, _ in valued], dtype=np.float64)


def chosen_metrics(inputs: Inputs, wanted: Sequence[str]) -> list[str]:
    """Return the metrics that an analysis names, else its experiments'; raise `UserError` for an unknown one."""
    named = list(wanted) or [name for table in inputs.experiments.values() for name in table.metrics]
    return [get_metric(name).name for name in dict.fromkeys(named)]


def read_curves(inputs: Inputs, experiment: str, rows: Sequence[Row], metrics: Sequence[str]) -> list[Curve]:
    """Return one curve a metric over the rows, each on the cases that have it under all rows.

    A row without any value of a metric (all its cases failed) is left out of that curve, which says so.
    """
    data = inputs.scores(experiment, list(dict.fromkeys(row.variant for row in rows)))
    weights = task_weights(data, inputs.settings)
    sets = SetBootstrap(data, inputs.settings) if any(not METRICS[name].per_image for name in metrics) else None
    return [
        _of_means(data, rows, name, weights, inputs.settings)
        if METRICS[name].per_image
        else _of_sets(data, rows, name, sets, inputs.settings)
        for name in metrics
    ]


def _of_means(data: TaskScores, rows: Sequence[Row], metric: str, weights: Array, settings: Settings) -> Curve:
    columns = [data.variants.index(row.variant) for row in rows]
    if metric in data.metrics:
        values = data.values[:, columns, data.metrics.index(metric)]
    else:
        values = np.full((len(data.values), len(rows)), np.nan)
    held = np.asarray(~np.isnan(values).all(axis=0))
    complete = ~np.isnan(values[:, held]).any(axis=1) if held.any() else np.zeros(len(values), dtype=np.bool_)
    kept, cluster = values[complete][:, held], data.cluster[complete]
    estimates = bootstrap.means(kept, cluster, weights)
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    if METRICS[metric].binary and len(kept):
        units = len(np.unique(cluster))
        for place in np.flatnonzero(np.isin(estimates.point, (0.0, 1.0))):
            low[place], high[place] = bootstrap.rate_bounds(float(estimates.point[place]), units, settings.level)
    some = int((~np.isnan(values[:, held])).any(axis=1).sum()) if held.any() else 0
    note = _missing([row.label for row, ok in zip(rows, held, strict=True) if not ok], some - len(kept), some)
    chosen = tuple(row for row, ok in zip(rows, held, strict=True) if ok)
    return Curve(metric, chosen, estimates, low, high, kept, cluster, data.clusters, note)


def _of_sets(
    data: TaskScores, rows: Sequence[Row], metric: str, sets: SetBootstrap | None, settings: Settings
) -> Curve:
    measured = {row.label: sets.estimate(row.variant) for row in rows} if sets is not None and sets.names else {}
    held = [row for row in rows if metric in (measured.get(row.label) or {})]
    point = np.array([(measured[row.label] or {})[metric][0] for row in held], dtype=np.float64)
    columns = [(measured[row.label] or {})[metric][1] for row in held]
    resampled = np.stack(columns, axis=1) if columns else np.zeros((settings.set_resamples, 0))
    # A resample holds images twice, which moves all of them alike; only their spread is used (`bootstrap.recentred`).
    resampled = resampled - resampled.mean(axis=0, keepdims=True) + point
    low, high = np.quantile(resampled, settings.tails, axis=0) if columns else (np.zeros(0), np.zeros(0))
    estimates = Estimates(point, resampled, np.zeros((0, len(held))))
    note = _missing([row.label for row in rows if row not in held], 0, 0)
    reasons = [sets.reason(row.variant, metric) for row in rows] if sets is not None else []
    note = next(filter(None, reasons), note)
    return Curve(metric, tuple(held), estimates, low, high, None, data.cluster, data.clusters, note)


def _missing(rows: Sequence[str], cases: int, of: int) -> str:
    parts = [f"no value for {', '.join(rows)}"] if rows else []
    parts += [f"{cases} of {of} cases left out, which not all rows have"] if cases else []
    return "; ".join(parts)


def curve_findings(curve: Curve, quantity: str, places: Mapping[int, float]) -> list[Finding]:
    """Return the means of some rows of a curve, or why there are none.

    Args:
        places: number of a row in the curve -> its place on the axis.
    """
    about: dict[str, Any] = {"quantity": quantity, "metric": curve.metric}
    if not places or not curve.n:
        return [Finding(**about, value=math.nan, note=curve.note or "no case has it")]
    return [
        Finding(**about, variant=curve.rows[i].variant, x=float(x), note=curve.note, **curve.estimate(i).fields())
        for i, x in places.items()
    ]


def difference(curve: Curve, first: int, second: int, settings: Settings) -> Effect:
    """Return mean `first` less mean `second` of a curve, paired by case.

    p is from sign flips of whole clusters; for a metric of a set, from `bootstrap.normal_test`.
    """
    estimates = curve.estimates
    gap = estimates.point[first] - estimates.point[second]
    resampled = estimates.resampled[:, first] - estimates.resampled[:, second]
    if curve.values is None:
        low, high = np.quantile(resampled, settings.tails)
        return Effect(float(gap), float(low), float(high), curve.n, bootstrap.normal_test(float(gap), resampled))
    jackknife = estimates.jackknife[:, first] - estimates.jackknife[:, second]
    alone = Estimates(np.array([gap]), resampled[:, None], jackknife[:, None])
    bounds = bootstrap.intervals(alone, settings.level, settings.interval)
    sums = np.zeros((curve.clusters, 1))
    np.add.at(sums, curve.cluster, (curve.values[:, first] - curve.values[:, second])[:, None])
    signs = bootstrap.random_signs(
        settings.permutations, curve.clusters, stable_seed("sign-flips", curve.metric, settings.seed)
    )
    p = float(bootstrap.sign_flip_test(sums, signs)[0])
    return Effect(float(gap), float(bounds[0][0]), float(bounds[1][0]), curve.n, p)


def holm_of(p: Mapping[Any, float]) -> dict[Any, float]:
    """Return Holm's adjusted p values of one family, by the keys of the plain ones."""
    return dict(zip(p, map(float, bootstrap.holm(np.array(list(p.values()), dtype=np.float64))), strict=True))


def short(value: float) -> str:
    """Return a number as sentences show it."""
    if math.isfinite(value):
        return f"{value:.3g}"
    return "unknown" if math.isnan(value) else "infinity"


def short_interval(row: Estimate, remark: str = "") -> str:
    """Return a value with its interval as sentences show it; the remark follows within the brackets."""
    return f"{short(row.value)} ({short(row.low)} to {short(row.high)}{remark})"


def short_p(p: float) -> str:
    """Return a p value as sentences show it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
