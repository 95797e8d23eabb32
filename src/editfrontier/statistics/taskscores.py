"""Scores of all variants of a task as one array, and the settings of their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.integrity.arrays import read_npz
from editfrontier.base.parquet import read_parquet
from editfrontier.base.seeding import stable_seed
from editfrontier.scoring.metrics import METRICS, get_metric
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array

REFERENCE = "reference"
"""Name of the row that compares reference images with other reference images."""

TABLE_1 = (
    *("fid", "kid", "id_sim", "clip_score", "clip_cos", "clip_directional", "success", "lpips_bg_masked"),
    *("lpips_bg_spatial", "psnr_bg", "ssim_bg", "quality", "artifact", "l2_true"),
)
"""The metrics of Table 1."""

FIX = "Make it again with the rule `score`."


@dataclass(frozen=True)
class Settings:
    """How a task is summarised.

    resamples, set_resamples: bootstrap resamples for means, and for FID and KID. level: of the intervals.
    interval: "studentized", "bca" or "percentile" (means; rates take Wilson's, FID and KID recentred percentiles).
    permutations: of the paired test. seed: of all of them. controls: variants that are no editors; they take no part
    in the front. fidelity, controllability: metrics of the composite scores. fidelity_anchors, controllability_anchors:
    the variants at which every metric of a composite is 0 and 1; a number stands for the metric's value itself.
    prenamed: metrics that tests were planned for before any result was seen. experiments: name -> its variants; only
    variants of one experiment are compared, so that a further experiment on the task weakens no test of another.
    metrics: those that tables of the task show, so that one which a variant has of no case stands there with a reason.
    """

    resamples: int = 1000
    set_resamples: int = 500
    level: float = 0.95
    interval: str = "studentized"
    permutations: int = 9999
    seed: int = 0
    controls: tuple[str, ...] = ()
    fidelity: tuple[str, ...] = ("id_sim", "lpips_bg_spatial")
    controllability: tuple[str, ...] = ("clip_directional", "success")
    fidelity_anchors: tuple[str | float, str | float] = ("random_image", "source")
    controllability_anchors: tuple[str | float, str | float] = ("source", "true_edit")
    prenamed: tuple[str, ...] = TABLE_1
    experiments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.interval not in bootstrap.INTERVALS:
            expected = "studentized, bca or percentile"
            raise UserError(f"statistics.interval: '{self.interval}' is unknown, expected {expected}.")
        if not 0 < self.level < 1:
            raise UserError(f"statistics.level: got {self.level}, expected a number between 0 and 1, such as 0.95.")
        for key in ("resamples", "set_resamples", "permutations"):
            if getattr(self, key) < 10:
                raise UserError(f"statistics.{key}: got {getattr(self, key)}, expected at least 10.")
        for name in (*self.prenamed, *self.metrics):
            get_metric(name)
        for key in ("fidelity", "controllability"):
            for name in getattr(self, key):
                if not get_metric(name).per_image:
                    problem = f"'{name}' is a metric of sets and cannot enter a composite"
                    raise UserError(f"statistics.{key}: {problem}. Remove it.")
            if len(getattr(self, f"{key}_anchors")) != 2:
                raise UserError(f"statistics.{key}_anchors: expected two entries, the variants at 0 and at 1.")

    @property
    def tails(self) -> tuple[float, float]:
        """The quantiles that a percentile interval of this level ends at."""
        return (1 - self.level) / 2, (1 + self.level) / 2

    @classmethod
    def of(cls, mapping: Mapping[str, Any], task: str = "") -> Settings:
        """Settings from the config's mapping; raise `UserError` for an unknown key.

        Args:
            mapping: key -> value; its key `tasks` maps tasks to settings of their own.
            task: whose settings; "" = without settings of a task.
        """
        different = dict(mapping.get("tasks", {})).get(task, {})
        mapping = {key: value for key, value in {**mapping, **different}.items() if key != "tasks"}
        known = [f.name for f in fields(cls)]
        for key in mapping:
            if key not in known:
                raise UserError(f"statistics.{key}: no such setting.{did_you_mean(key, known)} Correct the config.")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in mapping.items()}
        return cls(**values)


@dataclass(frozen=True)
class TaskScores:
    """Scores of all variants of a task on the same cases.

    values: [N,V,M], NaN where there is none. cluster: [N] in 0..C-1. features: variant -> (rows in 0..N-1, [n,D]).
    reference: [m,D] or None. moments: mean [D] and covariance [D,D] of reference features that are published without
    the images, or None. failed: failed cases of each variant. case_ids: of the rows. failures: of each variant, the
    failed cases with their reasons. absent: of each variant, metric -> reason -> the cases that it cannot speak of.
    silent: of each variant, metric -> why it speaks of no case at all. The last three are () where they are not known.
    """

    task: str
    variants: list[str]
    metrics: list[str]
    values: Array
    cluster: npt.NDArray[np.intp]
    failed: list[int]
    features: dict[str, tuple[npt.NDArray[np.intp], Array]]
    reference: Array | None
    case_ids: tuple[str, ...] = ()
    failures: tuple[Mapping[str, str], ...] = ()
    moments: tuple[Array, Array] | None = None
    absent: tuple[Mapping[str, Mapping[str, Sequence[str]]], ...] = ()
    silent: tuple[Mapping[str, str], ...] = ()

    @property
    def clusters(self) -> int:
        """Number of clusters, all of them resampled whether or not a variant has values there."""
        return int(self.cluster.max()) + 1


def read_scores(scores: Sequence[Path], features: Sequence[Path], sources: Path) -> TaskScores:
    """Read the files of one task's variants; raise `UserError` if they do not belong together."""
    from editfrontier.scoring.source_features import read_sources

    source = read_sources(sources)
    clusters = [str(name) for name in source.arrays["clusters"]]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    names, tables, tasks, notes = [], [], set(), []
    for path in scores:
        frame, provenance = read_parquet(path, FIX)
        name = str(provenance.get("variant", ""))
        if not name or name in names:
            raise UserError(
                f"{path}: {'a second file of' if name else 'names no'} variant {name}. Give each variant once."
            )
        foreign = set(frame["case_id"]) - set(source.row)
        if foreign:
            raise UserError(f"{path}: case {sorted(foreign)[0]} is not among the task's sources. {FIX}")
        names.append(name)
        notes.append(provenance)
        tasks.add(str(provenance.get("task", "")))
        tables.append(frame)
    if len(tasks) != 1:
        raise UserError(f"{scores[0] if scores else 'scores'}: expected scores of one task, found {sorted(tasks)}.")
    held = {metric for frame in tables for metric in frame["metric"].unique()}
    metrics = [name for name in METRICS if name in held]
    values = np.full((len(clusters), len(names), len(metrics)), np.nan)
    column = {name: i for i, name in enumerate(metrics)}
    for v, frame in enumerate(tables):
        rows, columns = (  # a table without rows, of a variant whose cases all failed, has no type of its own
            series.to_numpy(dtype=np.intp) for series in (frame["case_id"].map(source.row), frame["metric"].map(column))
        )
        values[rows, v, columns] = frame["value"].to_numpy()
    sets = {}
    for path in features:
        arrays = read_npz(path, FIX, ("variant", "case_ids", "features"))
        if not {"variant", "case_ids"} <= set(arrays):
            raise UserError(f"{path}: holds no features of a variant. Delete it. {FIX}")
        name, ids = str(arrays["variant"]), [str(case_id) for case_id in arrays["case_ids"]]
        held_features = arrays["features"].astype(np.float64) if "features" in arrays else None
        if name not in names:
            raise UserError(f"{path}: belongs to variant '{name}', of which there are no scores. Give both files.")
        if held_features is not None:
            sets[name] = np.array([source.row[case_id] for case_id in ids], dtype=np.intp), held_features
    reference, moments = source.arrays.get("reference"), None
    if "reference_mean" in source.arrays:
        moments = source.arrays["reference_mean"], source.arrays["reference_covariance"]
    return TaskScores(
        tasks.pop(), names, metrics, values, np.array([numbers[name] for name in clusters], dtype=np.intp),
        [int(note["counts"]["failed"]) for note in notes],
        sets, None if reference is None else reference.astype(np.float64),
        tuple(sorted(source.row, key=source.row.__getitem__)),
        tuple(note.get("failures") or {} for note in notes), moments,
        tuple(note.get("absent") or {} for note in notes), tuple(note.get("silent") or {} for note in notes),
    )  # fmt: skip


def task_weights(data: TaskScores, settings: Settings) -> Array:
    """Resample weights of a task, the same for all its variants and metrics."""
    seed = stable_seed("bootstrap", data.task, settings.seed)
    return bootstrap.cluster_weights(data.clusters, settings.resamples, seed)
