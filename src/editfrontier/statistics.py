"""Intervals, paired differences and the front of one task, by one paired clustered bootstrap."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier import bootstrap
from editfrontier.bootstrap import Array, Estimates
from editfrontier.cases import read_cases
from editfrontier.metrics import METRICS
from editfrontier.parquet import write_parquet
from editfrontier.seeding import stable_seed
from editfrontier.set_bootstrap import SetBootstrap
from editfrontier.subsets import groups_of, part_of
from editfrontier.taskscores import REFERENCE, Settings, TaskScores, read_scores, task_weights

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Settings",
    "TaskScores",
    "differences",
    "frontier",
    "read_scores",
    "subset_summaries",
    "summarise_task",
    "summary",
]

log = logging.getLogger(__name__)


def summarise_task(
    scores: Sequence[Path],
    features: Sequence[Path],
    sources: Path,
    settings: Mapping[str, Any],
    out: Path,
    differences_out: Path,
    frontier_out: Path,
    subsets_out: Path | None = None,
    cases: Path | None = None,
    splits: Sequence[str] = (),
) -> None:
    """Write the statistics, paired differences and frontier of a task (three parquet files). CLI: `statistics`.

    scores, features: files of `score_variant` for every variant, controls included. sources: file of `prepare_sources`.
    settings: the config's `statistics` mapping (see Settings); {} = defaults. subsets_out: file of the same statistics
    for parts of the task's cases, those of the case table `cases` that `splits` (keys of `subsets.SPLITS`) tell apart.
    """
    chosen = Settings.of(settings)
    data = read_scores(scores, features, sources)
    provenance = {"stage": "statistics", "task": data.task, "settings": asdict(chosen)}
    sets = SetBootstrap(data, chosen)
    write_parquet(out, summary(data, chosen, sets), provenance)
    write_parquet(differences_out, differences(data, chosen, sets), provenance)
    front, reason = frontier(data, chosen)
    if reason:
        log.warning("%s: no frontier: %s", data.task, reason)
    write_parquet(frontier_out, front, provenance | {"absent": reason})
    if subsets_out is not None:
        write_parquet(subsets_out, subset_summaries(data, chosen, cases, splits), provenance | {"splits": list(splits)})


def subset_summaries(data: TaskScores, settings: Settings, cases: Path | None, splits: Sequence[str]) -> pd.DataFrame:
    """The columns of `summary` for each part of the cases, behind the columns split and subset.

    Each part has a bootstrap of its own clusters, which is not paired with that of another part. Metrics of sets are
    left out.
    """
    import pandas as pd

    columns = ["split", "subset", "task", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed"]
    table = read_cases(cases) if cases is not None and splits else []
    frames = []
    for split in splits:
        for name, case_ids in groups_of(table, split).items():
            frame = summary(part_of(data, case_ids), settings)
            frame.insert(0, "split", split)
            frame.insert(1, "subset", name)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def summary(data: TaskScores, settings: Settings, sets: SetBootstrap | None = None) -> pd.DataFrame:
    """Mean and interval of every metric of every variant.

    Returns columns task, variant, metric, value, ci_low, ci_high, n (cases with a value), failed. The bounds are NaN
    where there is but one cluster. A metric that no case of a variant has is left out.
    """
    import pandas as pd

    n, v, m = data.values.shape
    estimates = bootstrap.means(data.values.reshape(n, v * m), data.cluster, task_weights(data, settings)).reshape(v, m)
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    rows: list[tuple[Any, ...]] = []
    for i, variant in enumerate(data.variants):
        for j, name in enumerate(data.metrics):
            held = ~np.isnan(data.values[:, i, j])
            if not held.any():
                continue
            point = float(estimates.point[i, j])
            bounds = float(low[i, j]), float(high[i, j])
            units = len(np.unique(data.cluster[held]))
            if units < 2:
                bounds = np.nan, np.nan
            elif METRICS[name].binary and point in (0.0, 1.0):
                bounds = bootstrap.rate_bounds(point, units, settings.level)
            rows.append((data.task, variant, name, point, *bounds, int(held.sum()), data.failed[i]))
    rows += _set_rows(data, sets or SetBootstrap(data, settings), settings.level)
    columns = ["task", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed"]
    frame = pd.DataFrame(rows, columns=columns)
    rank = {name: i for i, name in enumerate([*data.variants, REFERENCE])}
    metric_rank = {name: i for i, name in enumerate(METRICS)}
    keys = pd.DataFrame({"a": frame["variant"].map(rank), "b": frame["metric"].map(metric_rank)})
    return frame.iloc[keys.sort_values(["a", "b"], kind="stable").index].reset_index(drop=True)


def _set_rows(data: TaskScores, sets: SetBootstrap, level: float) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    if not sets.names:
        return rows
    for variant in (*data.variants, REFERENCE):
        estimate = sets.estimate(variant)
        if estimate is None:
            continue
        n = len(sets.held_out) if variant == REFERENCE else len(data.features[variant][0])
        failed = 0 if variant == REFERENCE else data.failed[data.variants.index(variant)]
        for name, (point, resampled) in estimate.items():
            low, high = _set_interval(name, point, resampled, level)
            rows.append((data.task, variant, name, point, low, high, n, failed))
    return rows


def _set_interval(name: str, point: float, resampled: Array, level: float) -> tuple[float, float]:
    if np.isfinite(resampled).sum() < 2 or np.nanstd(resampled) == 0:
        return np.nan, np.nan
    low, high = bootstrap.recentred(np.float64(point), resampled, level)  # type: ignore[arg-type]
    floor = 0.0 if name == "fid" else -np.inf
    return max(float(low), floor), float(high)


def differences(data: TaskScores, settings: Settings, sets: SetBootstrap | None = None) -> pd.DataFrame:
    """Paired differences of all pairs of variants, on the cases that both have.

    Returns columns task, metric, variant_a, variant_b, difference (a - b), ci_low, ci_high, p, p_holm, family, n.
    p: sign flips of clusters (means), recentred bootstrap (FID and KID). p_holm: adjusted over the pairs of one metric
    and family; the family "controls" holds the pairs with a control, "editors" all others.
    """
    import pandas as pd

    weights = task_weights(data, settings)
    seed = stable_seed("sign-flips", data.task, settings.seed)
    signs = bootstrap.random_signs(settings.permutations, data.clusters, seed)
    sets = sets or SetBootstrap(data, settings)
    rows: list[tuple[Any, ...]] = []
    for i, j in itertools.combinations(range(len(data.variants)), 2):
        a, b = data.variants[i], data.variants[j]
        family = "controls" if {a, b} & set(settings.controls) else "editors"
        gap = data.values[:, i] - data.values[:, j]
        estimates = bootstrap.means(gap, data.cluster, weights)
        low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
        sums = np.zeros((data.clusters, gap.shape[1]))
        np.add.at(sums, data.cluster, np.nan_to_num(gap))
        p = bootstrap.sign_flip_test(sums, signs)
        for k, name in enumerate(data.metrics):
            held = ~np.isnan(gap[:, k])
            if not held.any():
                continue
            known = len(np.unique(data.cluster[held])) > 1
            bounds = (float(low[k]), float(high[k])) if known else (np.nan, np.nan)
            rows.append(
                (data.task, name, a, b, float(estimates.point[k]), *bounds, float(p[k]), family, int(held.sum()))
            )
        rows += _set_differences(data, sets, a, b, family, settings.level)
    columns = ["task", "metric", "variant_a", "variant_b", "difference", "ci_low", "ci_high", "p", "family", "n"]
    frame = pd.DataFrame(rows, columns=columns)
    adjusted = np.full(len(frame), np.nan)
    for index in frame.groupby(["metric", "family"]).indices.values():
        adjusted[index] = bootstrap.holm(frame["p"].to_numpy()[index])
    frame.insert(8, "p_holm", adjusted)
    return frame


def _set_differences(
    data: TaskScores, sets: SetBootstrap, a: str, b: str, family: str, level: float
) -> list[tuple[Any, ...]]:
    if not sets.names or a not in data.features or b not in data.features:
        return []
    rows_a, rows_b = data.features[a][0], data.features[b][0]
    common = None if np.array_equal(np.sort(rows_a), np.sort(rows_b)) else np.intersect1d(rows_a, rows_b)
    left, right = sets.estimate(a, common), sets.estimate(b, common)
    if left is None or right is None:
        return []
    n = len(rows_a) if common is None else len(common)
    rows: list[tuple[Any, ...]] = []
    for name in sets.names:
        gap, resampled = left[name][0] - right[name][0], left[name][1] - right[name][1]
        low, high = _set_interval("", gap, resampled, level)
        spread = np.abs(resampled - np.nanmean(resampled))
        p = (1 + int((spread >= abs(gap)).sum())) / (len(resampled) + 1)
        rows.append((data.task, name, a, b, gap, low, high, p, family, n))
    return rows


def frontier(data: TaskScores, settings: Settings) -> tuple[pd.DataFrame, str]:
    """Composite scores of every variant and the probability of standing on the Pareto front of the editors.

    A composite is the mean of its metrics, each scaled so that it is 0 and 1 at the anchors; the anchors are resampled
    with the rest. Controls have composites but take no part in the front. Returns the table (task, variant, control,
    fidelity, fidelity_low, fidelity_high, controllability, ..._low, ..._high, on_front, probability, n) and "" or the
    reason why it is empty.
    """
    import pandas as pd

    columns = ["task", "variant", "control"]
    columns += [f"{axis}{end}" for axis in ("fidelity", "controllability") for end in ("", "_low", "_high")]
    columns += ["on_front", "probability", "n"]
    axes: list[Estimates] = []
    n, v, m = data.values.shape
    means = bootstrap.means(data.values.reshape(n, v * m), data.cluster, task_weights(data, settings)).reshape(v, m)
    for key in ("fidelity", "controllability"):
        composite = _composite(data, means, getattr(settings, key), getattr(settings, f"{key}_anchors"))
        if isinstance(composite, str):
            return pd.DataFrame(columns=columns), f"{key}: {composite}"
        axes.append(composite)
    editors = np.array([name not in settings.controls for name in data.variants])
    x, y = axes
    on_front, share = np.zeros(v, dtype=bool), np.zeros(v)
    on_front[editors] = bootstrap.pareto_front(x.point[editors], y.point[editors])
    share[editors] = bootstrap.pareto_front(x.resampled[:, editors], y.resampled[:, editors]).mean(axis=0)
    bounds = [bootstrap.intervals(axis, settings.level, settings.interval) for axis in axes]
    rows = []
    for i, name in enumerate(data.variants):
        numbers = [
            float(b) for axis, (low, high) in zip(axes, bounds, strict=True) for b in (axis.point[i], low[i], high[i])
        ]
        held = int((~np.isnan(data.values[:, i])).any(axis=1).sum())
        rows.append((data.task, name, not editors[i], *numbers, bool(on_front[i]), float(share[i]), held))
    return pd.DataFrame(rows, columns=columns), ""


def _composite(
    data: TaskScores, means: Estimates, metrics: Sequence[str], anchors: tuple[str | float, str | float]
) -> Estimates | str:
    """Composite of all variants, or why there is none."""
    for anchor in anchors:
        if isinstance(anchor, str) and anchor not in data.variants:
            return f"the control '{anchor}' was not run"
    for name in metrics:
        if name not in data.metrics:
            return f"no case has the metric '{name}'"
    chosen = [data.metrics.index(name) for name in metrics]

    def scaled(values: Array) -> Array:
        picked = values[..., chosen]
        zero, one = (
            picked[..., data.variants.index(anchor) : data.variants.index(anchor) + 1, :]
            if isinstance(anchor, str)
            else anchor
            for anchor in anchors
        )
        span = np.where(np.abs(np.asarray(one) - zero) > 1e-9, np.asarray(one) - zero, np.nan)
        return ((picked - zero) / span).mean(axis=-1)

    point = scaled(means.point)
    if np.isnan(point).all():
        return "the anchors do not differ in one of " + ", ".join(metrics)
    return Estimates(point, scaled(means.resampled), scaled(means.jackknife))
