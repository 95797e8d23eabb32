"""Chains of edits of real faces: one edit repeated, and several edits in two orders.

The cases are built like those of `microworld.chains`, except that no true edit is known.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, compact_json, read_image, read_mask, write_images
from editfrontier.data.chains import COMPOSED_CASES, ORDERS
from editfrontier.data.dataset import Request
from editfrontier.data.language import HAIR_COLOURS
from editfrontier.data.reading.face_attributes import editable, edited_attributes, known_attributes

if TYPE_CHECKING:
    from editfrontier.data.framing import Pixels
    from editfrontier.data.masks import Mask
    from editfrontier.data.reading.celeba_faces import Faces


class Maker(Protocol):
    """A maker of single cases of faces (`celeba_hq`)."""

    faces: Faces
    order: list[str]
    names: Sequence[str]

    def mask(self, name: str, edit: tuple[str, bool]) -> Mask | None: ...

    def case(
        self,
        name: str,
        edit: tuple[str, bool],
        case_id: str,
        images: Mapping[str, Pixels | Mask],
        before: Mapping[str, bool] | None = None,
        shared: Mapping[str, str] | None = None,
    ) -> Case: ...

    def shared(self, name: str, label: str) -> dict[str, str]: ...


def repeated_cases(case: Case, steps: int, folder: Path) -> list[Case]:
    """Return the chain that repeats the instruction of a case, which adds an attribute.

    From the second step on the attribute is there already: a good editor then changes nothing.

    Args:
        case: the first step.
        steps: number of steps, at least 1.
        folder: the folder that the paths of the case are relative to.
    """
    image = read_image(folder / case.image)
    mask = read_mask(folder / case.mask, (image.shape[0], image.shape[1]))
    background = write_images(folder, case.case_id, {"background_mask": ~mask})["background_mask"]
    chain = f"{case.cluster}-{case.attribute}"
    first = replace(case, chain=chain, background_mask=background, design=compact_json({"design": "repeated"}))
    again = replace(first, source_caption=case.target_caption, source_attributes=case.target_attributes)
    return [
        replace(first if step == 1 else again, case_id=f"{case.case_id}-k{step}", step=step)
        for step in range(1, steps + 1)
    ]


def composed_cases(request: Request, maker: Maker, n: int) -> list[Case]:
    """Return sequences of two and of three attributes for each of up to `n` faces, forward and reversed.

    All edits add an attribute, and none of the three hides or replaces another. The words that ask for an attribute do
    not depend on its place.
    """
    cases: list[Case] = []
    for name in maker.order:
        if len(cases) == n * COMPOSED_CASES:
            break
        rng = random.Random(stable_seed("celeba_hq composed", request.seed, name))
        masks = three_edits(maker, name, rng)
        if masks is not None:
            cases += _face_chains(request, maker, name, masks, len(cases) // COMPOSED_CASES)
    return cases


def three_edits(maker: Maker, name: str, rng: random.Random) -> dict[str, Mask] | None:
    """Return three attributes that can be added to a face, with their masks; None if there are no three."""
    masks: dict[str, Mask] = {}
    names = [attribute for attribute in maker.names if editable(maker.faces.labels[name], attribute, True)]
    for attribute in rng.sample(names, len(names)):
        if any(_in_the_way(attribute, other) for other in masks):
            continue
        mask = maker.mask(name, (attribute, True))
        if mask is not None:
            masks[attribute] = mask
        if len(masks) == 3:
            return masks
    return None


def _in_the_way(first: str, second: str) -> bool:
    """Whether one of two attributes hides or replaces the other."""
    hidden = {*HAIR_COLOURS, "bangs"}
    return (
        {first, second} <= set(HAIR_COLOURS)
        or (first == "hat" and second in hidden)
        or (second == "hat" and first in hidden)
    )


def _face_chains(request: Request, maker: Maker, name: str, masks: Mapping[str, Mask], number: int) -> list[Case]:
    cases = []
    names = list(masks)
    shared = maker.shared(name, f"{request.task}-{number:05d}")
    for length, orders in ORDERS.items():
        for order, places in zip(("forward", "reversed"), orders, strict=True):
            label = f"{length}-{order}"
            values = known_attributes(maker.faces.labels[name])
            background: Mask = np.ones(masks[names[0]].shape, dtype=np.bool_)
            for step, place in enumerate(places, start=1):
                attribute = names[place]
                background = background & ~masks[attribute]
                case_id = f"{request.task}-{number:05d}-{label}-k{step}"
                roles: dict[str, Pixels | Mask] = {"mask": masks[attribute], "background_mask": background}
                case = maker.case(name, (attribute, True), case_id, roles, values, shared)
                design = compact_json({"design": "composed", "order": order, "length": len(places)})
                cases.append(replace(case, chain=f"{case.cluster}-{label}", step=step, design=design))
                values = edited_attributes(values, attribute, True)
    return cases
