"""Means and intervals of one task, by one paired clustered bootstrap; and the files of all its statistics."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.parquet import write_parquet
from editfrontier.data.cases import read_cases
from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics import bootstrap
from editfrontier.statistics.absence import absence_of, failures_of
from editfrontier.statistics.composites import frontier
from editfrontier.statistics.differences import differences, set_interval
from editfrontier.statistics.set_bootstrap import SETS, SetBootstrap
from editfrontier.statistics.subsets import groups_of, part_of
from editfrontier.statistics.taskscores import REFERENCE, Settings, TaskScores, read_scores, task_weights

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

COLUMNS = (
    *("task", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed", "reason"),
    *("failures", "cases"),
)
"""Of `summary`."""


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
    for parts of the task's cases (in the case table `cases`) that `splits` (keys of `subsets.SPLITS`) tell apart.
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

    Each part has a bootstrap of its own clusters, so that parts are not paired. Metrics of sets are left out.
    """
    import pandas as pd

    columns = ["split", "subset", *COLUMNS]
    settings = replace(settings, metrics=tuple(name for name in settings.metrics if METRICS[name].per_image))
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

    Returns columns task, variant, metric, value, ci_low, ci_high, n (cases with a value), failed, reason, failures,
    cases. The bounds are NaN where there is but one cluster. A metric that no case of a variant has, but other variants
    have or tables ask for, has a row with the value NaN and the reason, which is "" elsewhere. failures: the reasons of
    the failed cases with their counts. cases: a digest of the cases with a value, equal where they are the same.
    """
    import pandas as pd

    n, v, m = data.values.shape
    estimates = bootstrap.means(data.values.reshape(n, v * m), data.cluster, task_weights(data, settings)).reshape(v, m)
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    rows: list[tuple[Any, ...]] = []
    failures = [failures_of(data, i) for i in range(v)]
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
            elif METRICS[name].binary:
                bounds = bootstrap.rate_interval(data.values[held, i, j], data.cluster[held], settings.level)
            row = data.task, variant, name, point, *bounds, int(held.sum()), data.failed[i]
            rows.append((*row, "", failures[i], _digest(held)))
    rows += _set_rows(data, sets or SetBootstrap(data, settings), settings.level)
    rows += _absent_rows(data, settings, {(row[1], row[2]) for row in rows})
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
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
        if estimate is None and variant != REFERENCE:
            continue
        n, failed, failures, cases = len(sets.held_out), 0, "", ""
        if variant != REFERENCE:
            place, held = data.variants.index(variant), data.features[variant][0]
            n, failed, failures = len(held), data.failed[place], failures_of(data, place)
            cases = _digest(np.isin(np.arange(len(data.values)), held))
        for name in SETS:
            if estimate is not None and name in estimate:
                point, resampled = estimate[name]
                bounds = set_interval(name, point, resampled, level)
                rows.append((data.task, variant, name, point, *bounds, n, failed, "", failures, cases))
            elif reason := sets.reason(variant, name):
                rows.append((data.task, variant, name, np.nan, np.nan, np.nan, 0, failed, reason, failures, ""))
    return rows


def _absent_rows(data: TaskScores, settings: Settings, present: Set[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """Rows of the metrics that tables ask for, or that some variant has, of the variants that have them of no case."""
    asked = {name for _, name in present} | set(settings.metrics)
    nothing = (np.nan, np.nan, np.nan, 0)
    return [
        (data.task, variant, name, *nothing, data.failed[i], absence_of(data, i, name), failures_of(data, i), "")
        for i, variant in enumerate(data.variants)
        for name in METRICS
        if name in asked and (variant, name) not in present
    ]


def _digest(held: npt.NDArray[np.bool_]) -> str:
    """Return 12 hexadecimal digits that stand for a choice of the task's cases, bool [N]."""
    return hashlib.sha256(np.packbits(held).tobytes()).hexdigest()[:12]
