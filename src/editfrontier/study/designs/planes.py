"""Editors in the plane of fidelity and controllability, task by task and over all tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from editfrontier.statistics.bootstrap import Array, Estimates
from editfrontier.statistics.composites import composites
from editfrontier.study.inputs import Inputs
from editfrontier.study.results.naming import Row

ALL = "all"
"""Name of the plane of all tasks together."""


@dataclass(frozen=True)
class TradeoffPlane:
    """Editors of a task in the plane of composites.

    Attributes:
        name: of the task, or `ALL`.
        rows: of the editors.
        fidelity, controllability: estimates [E].
        cases: [E] behind each; of all tasks together, the number of tasks.
    """

    name: str
    rows: tuple[Row, ...]
    fidelity: Estimates
    controllability: Estimates
    cases: tuple[int, ...]

    @property
    def variants(self) -> list[str]:
        return [row.variant for row in self.rows]

    @property
    def keys(self) -> list[str]:
        """What names each editor in every task: the editor for its first row, the variant for further ones.

        An editor may run with other settings on another task, with fewer steps for example.
        """
        first: dict[str, str] = {}
        for row in self.rows:
            first.setdefault(row.editor, row.variant)
        return [row.editor if first[row.editor] == row.variant else row.variant for row in self.rows]

    @property
    def points(self) -> Array:
        """[E, 2]"""
        return np.stack([self.fidelity.point, self.controllability.point], axis=-1)

    @property
    def resampled(self) -> Array:
        """[R, E, 2]"""
        return np.stack([self.fidelity.resampled, self.controllability.resampled], axis=-1)


def planes_of(inputs: Inputs) -> tuple[list[TradeoffPlane], dict[str, str]]:
    """Return the plane of every task that has composites, most editors first, and task -> reason for the others."""
    planes, absent = [], {}
    for name, table in inputs.experiments.items():
        data = inputs.scores(name)
        axes = composites(data, inputs.settings_of(name))
        if isinstance(axes, str):
            absent[table.task] = axes
            continue
        rows = list({row.variant: row for row in inputs.editors(name)}.values())
        places = [data.variants.index(row.variant) for row in rows]
        held = [
            place for place in places if math.isfinite(axes[0].point[place]) and math.isfinite(axes[1].point[place])
        ]
        if not held:
            absent[table.task] = "no editor has both composites"
            continue
        x, y = (Estimates(axis.point[held], axis.resampled[:, held], axis.jackknife[:, held]) for axis in axes)
        kept = tuple(row for row, place in zip(rows, places, strict=True) if place in held)
        cases = tuple(int((~np.isnan(data.values[:, place])).any(axis=1).sum()) for place in held)
        planes.append(TradeoffPlane(table.task, kept, x, y, cases))
    return sorted(planes, key=lambda plane: -len(plane.rows)), absent


def together(planes: Sequence[TradeoffPlane]) -> TradeoffPlane:
    """Return the plane of all editors of all tasks: the mean of each one's composites over the tasks that it ran in.

    Editors are found again by `TradeoffPlane.keys`; the first task that has one gives its row.
    """
    rows = {key: row for plane in reversed(planes) for key, row in zip(plane.keys, plane.rows, strict=True)}
    order = list(dict.fromkeys(key for plane in planes for key in plane.keys))
    axes = []
    for axis in ("fidelity", "controllability"):
        points, resampled = [], []
        for key in order:
            parts = [(getattr(plane, axis), plane.keys.index(key)) for plane in planes if key in plane.keys]
            points.append(np.mean([estimates.point[i] for estimates, i in parts]))
            resampled.append(np.mean([estimates.resampled[:, i] for estimates, i in parts], axis=0))
        axes.append(Estimates(np.array(points), np.stack(resampled, axis=1), np.empty((0, len(order)))))
    count = tuple(sum(key in plane.keys for plane in planes) for key in order)
    return TradeoffPlane(ALL, tuple(rows[key] for key in order), axes[0], axes[1], count)
