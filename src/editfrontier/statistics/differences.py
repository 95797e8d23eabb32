"""Paired differences of all pairs of variants of a task, with intervals and tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.seeding import stable_seed
from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.set_bootstrap import SetBootstrap
from editfrontier.statistics.taskscores import Settings, TaskScores, task_weights

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("task", "experiment", "metric", "variant_a", "variant_b", "difference", "ci_low", "ci_high", "p", "p_holm"),
    *("test", "family", "prenamed", "n"),
)


def differences(data: TaskScores, settings: Settings, sets: SetBootstrap | None = None) -> pd.DataFrame:
    """Paired differences of all pairs of variants of an experiment, on the cases that both have.

    Returns columns task, experiment ("" where the settings name none, so that all variants are compared), metric,
    variant_a, variant_b, difference (a - b), ci_low, ci_high, p, p_holm, test, family, prenamed, n. test: what gave p.

    - "mcnemar": McNemar's exact test, for binary metrics where every cluster has one case;
    - "sign flips" of whole clusters, for all other means: cases of one cluster are not independent, as McNemar's test
      would take them to be;
    - "bootstrap": `bootstrap.normal_test`, for FID and KID.

    p_holm: adjusted over the pairs of one experiment, metric and family; the family "controls" holds the pairs with a
    control, "editors" all others. prenamed: whether the metric is among `settings.prenamed`, named before the results
    were seen. Variants without a common case have a row with n = 0 and NaN for every metric that both might have.
    """
    import pandas as pd

    weights = task_weights(data, settings)
    seed = stable_seed("sign-flips", data.task, settings.seed)
    signs = bootstrap.random_signs(settings.permutations, data.clusters, seed)
    sets = sets or SetBootstrap(data, settings)
    rows: list[dict[str, Any]] = []
    for experiment, (i, j) in _pairs(data, settings):
        pair = {"task": data.task, "experiment": experiment}
        pair |= {"variant_a": data.variants[i], "variant_b": data.variants[j]}
        pair["family"] = "controls" if {pair["variant_a"], pair["variant_b"]} & set(settings.controls) else "editors"
        rows += [pair | row for row in _mean_differences(data, (i, j), weights, signs, settings)]
        rows += [pair | row for row in _set_differences(data, sets, (i, j), settings.level)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["prenamed"] = frame["metric"].isin(settings.prenamed)
    adjusted = np.full(len(frame), np.nan)
    for index in frame.groupby(["experiment", "metric", "family"]).indices.values():
        adjusted[index] = bootstrap.holm(frame["p"].to_numpy(dtype=np.float64)[index])
    return frame.assign(p_holm=adjusted)


def _pairs(data: TaskScores, settings: Settings) -> Iterator[tuple[str, tuple[int, int]]]:
    for experiment, names in (settings.experiments or {"": data.variants}).items():
        members = [place for place, name in enumerate(data.variants) if name in names]
        for pair in itertools.combinations(members, 2):
            yield experiment, pair


def _mean_differences(
    data: TaskScores, pair: tuple[int, int], weights: Array, signs: Any, settings: Settings
) -> list[dict[str, Any]]:
    first, second = data.values[:, pair[0]], data.values[:, pair[1]]
    gap = first - second
    estimates = bootstrap.means(gap, data.cluster, weights)
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    sums = np.zeros((data.clusters, gap.shape[1]))
    np.add.at(sums, data.cluster, np.nan_to_num(gap))
    flips = bootstrap.sign_flip_test(sums, signs)
    rows = []
    for k, name in enumerate(data.metrics):
        held = ~np.isnan(gap[:, k])
        if not held.any():
            if _comparable(first, second, k):
                rows.append(_row(name, np.nan, (np.nan, np.nan), np.nan, "", 0))
            continue
        clusters = np.unique(data.cluster[held])
        bounds = (float(low[k]), float(high[k])) if len(clusters) > 1 else (np.nan, np.nan)
        p, test = float(flips[k]), "sign flips"
        if METRICS[name].binary and len(clusters) == held.sum():
            p, test = bootstrap.mcnemar(first[held, k], second[held, k]), "mcnemar"
            if len(clusters) > 1:
                bounds = bootstrap.rate_difference_bounds(first[held, k], second[held, k], settings.level)
        rows.append(_row(name, float(estimates.point[k]), bounds, p, test, int(held.sum())))
    return rows


def _comparable(first: Array, second: Array, k: int) -> bool:
    """Whether two variants might both have metric k: one has it, and the other has it too or has nothing at all."""
    has = [bool((~np.isnan(values[:, k])).any()) for values in (first, second)]
    lost = [bool(np.isnan(values).all()) for values in (first, second)]
    return all(has) or (has[0] and lost[1]) or (has[1] and lost[0])


def _row(metric: str, difference: float, bounds: tuple[float, float], p: float, test: str, n: int) -> dict[str, Any]:
    found = {"metric": metric, "difference": difference, "ci_low": bounds[0], "ci_high": bounds[1]}
    return found | {"p": p, "test": test, "n": n}


def set_interval(name: str, point: float, resampled: Array, level: float) -> tuple[float, float]:
    """Interval of FID, KID or their difference (name = "" for a difference); NaN where resamples do not vary."""
    if np.isfinite(resampled).sum() < 2 or np.nanstd(resampled) == 0:
        return np.nan, np.nan
    low, high = bootstrap.recentred(np.float64(point), resampled, level)  # type: ignore[arg-type]
    floor = 0.0 if name == "fid" else -np.inf
    return max(float(low), floor), float(high)


def _set_differences(data: TaskScores, sets: SetBootstrap, pair: tuple[int, int], level: float) -> list[dict[str, Any]]:
    a, b = (data.variants[i] for i in pair)
    if not sets.names or a not in data.features or b not in data.features:
        return []
    rows_a, rows_b = data.features[a][0], data.features[b][0]
    common = None if np.array_equal(np.sort(rows_a), np.sort(rows_b)) else np.intersect1d(rows_a, rows_b)
    n = len(rows_a) if common is None else len(common)
    left, right = sets.estimate(a, common), sets.estimate(b, common)
    if left is None or right is None:
        return [_row(name, np.nan, (np.nan, np.nan), np.nan, "", n) for name in sets.names]
    rows = []
    for name in sets.names:
        gap, resampled = left[name][0] - right[name][0], left[name][1] - right[name][1]
        p = bootstrap.normal_test(gap, resampled)
        rows.append(_row(name, gap, set_interval("", gap, resampled, level), p, "bootstrap", n))
    return rows
