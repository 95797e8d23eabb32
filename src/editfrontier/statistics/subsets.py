"""Parts of a task's cases: which property of a case tells them apart, and the scores of one part."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.data.cases import Case

if TYPE_CHECKING:
    from editfrontier.statistics.taskscores import TaskScores

SIZES = ("small", "medium", "large")


def _size(case: Case) -> str:
    """Return the grade of a case's first drag, "" if it has none."""
    try:
        drags = json.loads(case.drags or "[]")
        return str(drags[0].get("grade") or "")
    except (ValueError, IndexError, AttributeError, TypeError, KeyError):
        return ""  # such a case fails for every editor that needs its drags, with a message of its own


SPLITS: dict[str, Callable[[Case], str]] = {
    "kind": lambda case: case.edit_type,
    "size": _size,
    "attribute": lambda case: case.attribute,
}
"""What tables may be split by -> the part that a case belongs to, "" for none."""


def groups_of(cases: Sequence[Case], split: str) -> dict[str, list[str]]:
    """Return the case ids of each part, sizes from small to large, other parts as they appear.

    Args:
        split: a key of `SPLITS`; cases that have nothing there belong to no part.

    Raises:
        UserError: the split is unknown, or no case belongs to any part.
    """
    if split not in SPLITS:
        raise UserError(f"by '{split}': tables cannot be split by this.{did_you_mean(split, SPLITS)} Correct the name.")
    parts: dict[str, list[str]] = {}
    for case in cases:
        if name := SPLITS[split](case):
            parts.setdefault(name, []).append(case.case_id)
    if cases and not parts:
        problem = f"no case of task '{cases[0].task}' has a {split}"
        raise UserError(f"by '{split}': {problem}. Remove it from the experiment's `by`.")
    known = {name: place for place, name in enumerate(SIZES)}
    return dict(sorted(parts.items(), key=lambda item: known.get(item[0], len(known)))) if split == "size" else parts


def part_of(data: TaskScores, case_ids: Sequence[str]) -> TaskScores:
    """Return the scores of some cases of a task, with clusters numbered anew and without the features of sets."""
    wanted = set(case_ids)
    rows = [row for row, case_id in enumerate(data.case_ids) if case_id in wanted]
    clusters = np.unique(data.cluster[rows], return_inverse=True)[1]
    failures = tuple({case: why for case, why in failed.items() if case in wanted} for failed in data.failures)
    absent = tuple(
        {metric: kept for metric, reasons in found.items() if (kept := _among(reasons, wanted))}
        for found in data.absent
    )
    return replace(
        data,
        values=data.values[rows],
        cluster=clusters.astype(np.intp),
        failed=[len(failed) for failed in failures],
        features={},
        reference=None,
        case_ids=tuple(data.case_ids[row] for row in rows),
        failures=failures,
        absent=absent,
    )


def _among(reasons: Mapping[str, Sequence[str]], wanted: Set[str]) -> dict[str, list[str]]:
    kept = {reason: [case for case in cases if case in wanted] for reason, cases in reasons.items()}
    return {reason: cases for reason, cases in kept.items() if cases}
