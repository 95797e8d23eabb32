"""Results of one variant in a design of wordings and seeds: values and images of every cell, edit by edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_image
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.components import cell_distances, pair_means

if TYPE_CHECKING:
    from editfrontier.study.inputs import Inputs

Cells = npt.NDArray[np.intp]


@dataclass(frozen=True)
class WordingDesign:
    """Edits with a case for every wording and seed.

    Attributes:
        cases: of the task.
        cells: [E, W, S] places of the cases, edits in the order of the table.
    """

    cases: tuple[Case, ...]
    cells: Cells

    def edit(self, number: int) -> Case:
        """Return the first case of an edit."""
        return self.cases[int(self.cells[number, 0, 0])]


def read_design(cases: Sequence[Case], analysis: str) -> WordingDesign:
    """Arrange cases by the factors "wording" and "repeat" of their designs; an edit is a cluster.

    Edits that lack a cell, such as the last one of a task that is cut short, are left out.

    Raises:
        UserError: no case has a wording, or there are fewer than two wordings or seeds.
    """
    places: dict[str, dict[tuple[int, int], int]] = {}
    for place, case in enumerate(cases):
        factors = json.loads(case.design or "{}")
        if "wording" in factors:
            places.setdefault(case.cluster, {})[int(factors["wording"]), int(factors.get("repeat", 0))] = place
    levels = [sorted({key[factor] for cells in places.values() for key in cells}) for factor in (0, 1)]
    if min(map(len, levels)) < 2:
        raise UserError(
            f"analysis '{analysis}': its task has {len(levels[0])} wordings and {len(levels[1])} seeds, expected at "
            "least two of each. Take the data set 'wordings' and set `repeats` of the task."
        )
    wanted = [(wording, seed) for wording in levels[0] for seed in levels[1]]
    complete = [[cells[key] for key in wanted] for cells in places.values() if all(key in cells for key in wanted)]
    shape = (-1, len(levels[0]), len(levels[1]))
    return WordingDesign(tuple(cases), np.array(complete, dtype=np.intp).reshape(shape))


def clip_towards_first(inputs: Inputs, task: str, variant: str, design: WordingDesign) -> Array:
    """Return the CLIP direction [N] of every case, against the captions of its edit's first wording; NaN where missing.

    The metric of the table compares with each wording's own caption, whose embedding varies by itself.
    """
    import torch

    from editfrontier.scoring.metrics.alignment import clip_directional

    sources, features = inputs.sources(task), inputs.features(task, variant)
    values = np.full(len(design.cases), np.nan)
    if "clip_image" not in sources or "clip_image" not in features:
        return values
    edited = {str(name): row for name, row in zip(features["case_ids"], features["clip_image"], strict=True)}
    row_of = {str(name): i for i, name in enumerate(sources["case_ids"])}
    for cells in design.cells:
        first = row_of[design.cases[int(cells[0, 0])].case_id]
        held = [int(place) for place in cells.flat if design.cases[int(place)].case_id in edited]
        if not held:
            continue
        images = torch.from_numpy(np.stack([edited[design.cases[place].case_id] for place in held]))
        others = [
            torch.from_numpy(sources[array][sources[key][first]]).expand_as(images)
            for array, key in (
                ("clip_image", "image_row"),
                ("clip_text", "source_text_row"),
                ("clip_text", "target_text_row"),
            )
        ]
        values[held] = clip_directional(others[0], images, others[1], others[2]).numpy()
    return values


@dataclass(frozen=True)
class Outputs:
    """Differences between the images of the edits whose cells are all there.

    Attributes:
        edits: [e] their numbers in the design.
        wordings, seeds: [e] mean RMS difference of two wordings at one seed, and of two seeds at one wording.
        change: [e] mean RMS difference of output and source.
        worst: [e] (distance, wording, other wording, seed) of the two wordings that are farthest apart at one seed.
    """

    edits: list[int]
    wordings: Array
    seeds: Array
    change: Array
    worst: list[tuple[float, int, int, int]]


def compare_outputs(inputs: Inputs, task: str, variant: str, design: WordingDesign) -> Outputs:
    """Compare all images of each edit with one another and with their source, pixel values in [0, 1]."""
    folder, images = inputs.folder(task), inputs.images(task, variant)
    edits, rows, worst = [], [], []
    for number, cells in enumerate(design.cells):
        names = [design.cases[int(place)].case_id for place in cells.flat]
        if any(name not in images for name in names):
            continue
        pixels = np.stack([read_image(images[name]) for name in names]).astype(np.float64) / 255
        source = read_image(folder / design.edit(number).image).astype(np.float64) / 255
        distances = cell_distances(pixels.reshape(*cells.shape, *source.shape))
        change = np.sqrt(((pixels - source) ** 2).mean(axis=(1, 2, 3))).mean()
        edits.append(number)
        rows.append((*map(float, pair_means(distances)), float(change)))
        worst.append(_farthest(distances))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Outputs(edits, table[:, 0], table[:, 1], table[:, 2], worst)


def _farthest(distances: Array) -> tuple[float, int, int, int]:
    seeds = np.arange(distances.shape[1])
    same = distances[:, seeds, :, seeds]  # [S, W, W]
    seed, first, second = np.unravel_index(int(np.argmax(same)), same.shape)
    low, high = sorted((int(first), int(second)))
    return float(same.max()), low, high, int(seed)
