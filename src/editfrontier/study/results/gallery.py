"""Records, scores and images of cases, and the choice of shown cases by a rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, read_cases, read_image, read_mask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from editfrontier.data.regions import Region

WORST_METRIC = "id_sim"
"""The worst cases of an editor are those with the least identity similarity."""


@dataclass(frozen=True)
class Record:
    """Result of a case: "ok" with an image, or "failed" with a reason. seconds: its share of its batch."""

    status: str
    reason: str
    image: Path | None
    seconds: float


@dataclass(frozen=True)
class VariantResults:
    """Results of a variant on a task. scores: {case_id: {metric: value}}."""

    name: str
    records: Mapping[str, Record]
    scores: Mapping[str, Mapping[str, float]]

    @property
    def run(self) -> bool:
        """Whether there is any record of the variant."""
        return bool(self.records)

    @cached_property
    def failures(self) -> dict[str, str]:
        """The reason of every failed case."""
        return {case: record.reason for case, record in self.records.items() if record.status != "ok"}


@dataclass(frozen=True)
class TaskResults:
    """The cases of a task and the variants that were run on them."""

    task: str
    folder: Path  # of the case table
    cases: tuple[Case, ...]
    variants: Mapping[str, VariantResults]

    @cached_property
    def by_id(self) -> dict[str, Case]:
        """The cases by their ids."""
        return {case.case_id: case for case in self.cases}


def read_task(root: Path, task: str, variants: Iterable[str]) -> TaskResults:
    """Read the cases of a task and the records and scores of the given variants.

    Args:
        root: results folder of a scale.
        task: name.
        variants: names; one without files has empty records.

    Raises:
        UserError: the case table is missing, or a file is unreadable.
    """
    folder = root / "data" / task
    cases = tuple(read_cases(folder / "cases.parquet"))
    return TaskResults(task, folder, cases, {name: _read_variant(root, task, name) for name in dict.fromkeys(variants)})


def _read_variant(root: Path, task: str, name: str) -> VariantResults:
    records: dict[str, Record] = {}
    for path in sorted((root / "edits" / task / name).glob("shard-*.parquet")):
        for entry in read_parquet(path, "Run again.")[0].to_dict(orient="records"):
            ok = entry["status"] == "ok"
            records[str(entry["case_id"])] = Record(
                str(entry["status"]),
                "" if ok else str(entry.get("reason") or "no reason was recorded"),
                path.parent / str(entry["image"]) if ok else None,
                float(entry.get("seconds") or 0.0),
            )
    return VariantResults(name, records, _read_scores(root / "scores" / task / f"{name}.parquet"))


def _read_scores(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    frame, _ = read_parquet(path, "Make it again with `snakemake scores`.", ["case_id", "metric", "value"])
    scores: dict[str, dict[str, float]] = {}
    for case, metric, value in zip(frame["case_id"], frame["metric"], frame["value"], strict=True):
        if math.isfinite(value):
            scores.setdefault(str(case), {})[str(metric)] = float(value)
    return scores


def balanced_choice(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Choose cases by a fixed rule: one of each edit in turn (attribute and direction), in an order given by the seed.

    No two chosen cases share a source image as long as there are others.

    Args:
        cases: the cases to choose from.
        count: largest number of chosen cases.
        seed: of the order of the edits and of the cases within each.
    """
    groups: dict[tuple[str, str, bool], list[Case]] = {}
    for case in sorted(cases, key=lambda case: stable_seed("gallery", seed, case.case_id)):
        groups.setdefault((case.edit_type, case.attribute, case.desired), []).append(case)
    order = sorted(groups, key=lambda key: stable_seed("gallery", seed, *map(str, key)))
    chosen: list[Case] = []
    seen: set[str] = set()
    while len(chosen) < count and any(groups.values()):
        for key in order:
            group = groups[key]
            if not group or len(chosen) == count:
                continue
            case = next((case for case in group if case.cluster not in seen), group[0])
            group.remove(case)
            seen.add(case.cluster)
            chosen.append(case)
    return chosen


def worst_cases(variant: VariantResults, count: int, metric: str = WORST_METRIC) -> list[str]:
    """Return the ids of the cases with the lowest value of a metric, worst first; equal values are ordered by id."""
    scored = [(scores[metric], case) for case, scores in variant.scores.items() if metric in scores]
    return [case for _, case in sorted(scored)[:count]]


def source_image(results: TaskResults, case: Case) -> npt.NDArray[np.uint8]:
    """Return the source of a case as uint8 [H, W, 3]."""
    return read_image(results.folder / case.image)


def mask_image(results: TaskResults, case: Case) -> npt.NDArray[np.bool_] | None:
    """Return the edit mask of a case as bool [H, W], True = editable, or None if it has none."""
    if not case.mask:
        return None
    height, width = source_image(results, case).shape[:2]
    return read_mask(results.folder / case.mask, (height, width), allow_empty=True)


def edited_image(results: TaskResults, variant: str, case: Case) -> npt.NDArray[np.uint8] | None:
    """Return the edited image of a case as uint8 [H, W, 3], or None if it failed or was not run."""
    record = results.variants[variant].records.get(case.case_id)
    return read_image(record.image) if record is not None and record.image is not None else None


def regions_of(results: TaskResults, case: Case) -> list[Region]:
    """Return the regions of a case, or none if they cannot be read: it then failed for every editor."""
    from editfrontier.data.regions import parse_drags

    height, width = source_image(results, case).shape[:2]
    try:
        return parse_drags(case.drags, results.folder, (height, width), case.case_id) if case.drags else []
    except UserError:
        return []


def readable(results: TaskResults, case: Case) -> bool:
    """Whether the source (and the mask, if any) of a case can be read; else the case failed for every editor."""
    try:
        source_image(results, case)
        mask_image(results, case)
    except UserError:
        return False
    return True
