"""Scores of a task of mask quality, arranged by edit and mask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.taskscores import TaskScores

EXACT = "exact"


@dataclass(frozen=True)
class MaskTable:
    """Scores of U edits (one per repeat) with K masks each.

    Attributes:
        kinds: of the masks, the exact one first, then from the most to the least like it.
        values: [U, V, M, K], NaN where there is none.
        iou: [U, K] with the exact mask.
        cluster: [U], the source image of each edit.
    """

    kinds: tuple[str, ...]
    values: Array
    iou: Array
    cluster: npt.NDArray[np.intp]


def mask_table(cases: Sequence[Case], scores: TaskScores) -> MaskTable:
    """Arrange scores; raise `UserError` if a case does not say which mask it has, or no case has the exact one.

    Args:
        cases: of the task; `design` has mask, iou and noise (see `microworld.mask_quality`).
        scores: of its variants.
    """
    designs = {case.case_id: json.loads(case.design or "{}") for case in cases}
    for case_id, design in designs.items():
        if not {"mask", "iou", "noise"} <= set(design):
            raise UserError(
                f"case {case_id}: its design says nothing of a mask, expected mask, iou and noise. Name an experiment "
                "on a task of the data set mask_quality."
            )
    rows = [designs[case_id] for case_id in scores.case_ids]
    units = {name: i for i, name in enumerate(dict.fromkeys(str(row["noise"]) for row in rows))}
    overlaps: dict[str, list[float]] = {}
    for row in rows:
        overlaps.setdefault(str(row["mask"]), []).append(float(row["iou"]))
    if EXACT not in overlaps:
        raise UserError(
            f"task '{scores.task}': no case has the exact mask, with which the others are compared. Add some."
        )
    kinds = (EXACT, *sorted(set(overlaps) - {EXACT}, key=lambda kind: -float(np.mean(overlaps[kind]))))
    _, v, m = scores.values.shape
    values, iou = np.full((len(units), v, m, len(kinds)), np.nan), np.full((len(units), len(kinds)), np.nan)
    cluster = np.zeros(len(units), dtype=np.intp)
    for number, row in enumerate(rows):
        place = units[str(row["noise"])], kinds.index(str(row["mask"]))
        values[place[0], :, :, place[1]] = scores.values[number]
        iou[place] = float(row["iou"])
        cluster[place[0]] = scores.cluster[number]
    return MaskTable(kinds, values, iou, np.unique(cluster, return_inverse=True)[1].astype(np.intp))
