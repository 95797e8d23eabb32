"""Edits of real faces: single ones, one edit repeated, and several edits in two orders.

The chains are built like those of `microworld.chains`, except that no true edit is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, compact_json, read_image, read_mask, write_case, write_images, write_regions
from editfrontier.data.chains import COMPOSED_CASES, ORDERS
from editfrontier.data.dataset import Request
from editfrontier.data.language import HAIR_COLOURS
from editfrontier.data.reading.balance import balanced
from editfrontier.data.reading.celeba_faces import LICENCE, Faces, read_face
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.face_attributes import (
    CELEBA,
    USUAL,
    Edit,
    directions,
    edit_columns,
    editable,
    edited_attributes,
    known_attributes,
)
from editfrontier.data.reading.parsing import edit_mask, face_regions, read_parts

if TYPE_CHECKING:
    from editfrontier.data.framing import Pixels
    from editfrontier.data.masks import Mask


class Maker:
    """A maker of cases of faces, which keeps the parsing of the last ones.

    Attributes:
        order: numbers of the images in the order in which they are taken.
        names: edited attributes.
    """

    def __init__(self, request: Request, faces: Faces) -> None:
        self.request, self.faces = request, faces
        self.order = salted(faces.numbers, f"celeba_hq-{request.seed}")
        self.names: Sequence[str] = request.options.attributes or USUAL
        self.parts: Callable[[str], Mapping[str, Mask]] = lru_cache(maxsize=64)(
            lambda name: read_parts(faces.masks, int(name), request.options.size)
        )

    def mask(self, name: str, edit: Edit) -> Mask | None:
        """Return the mask of an edit of a face, None if its parts are hidden."""
        return edit_mask(self.parts(name), *edit)

    def edits(self, n: int, *, adding: bool = False, free_form_share: float | None = None) -> list[Case]:
        """Return up to `n` edits, balanced over attributes and directions, each with an exemplar.

        Args:
            n: number of edits.
            adding: whether all edits make an attribute true.
            free_form_share: share of free-form instructions, None = that of the options.
        """
        wanted = [edit for edit in directions(self.names) if edit[1] or not adding]
        labels = self.faces.labels
        candidates = {edit: [name for name in self.order if editable(labels[name], *edit)] for edit in wanted}
        cases = []
        for number, (name, edit, mask) in enumerate(balanced(candidates, n, self.mask)):
            case_id = f"{self.request.task}-{number:05d}-{edit[0]}-{'add' if edit[1] else 'remove'}"
            images: dict[str, Pixels | Mask] = {"mask": mask}
            donor = self._donor(name, edit)
            if donor is not None:
                images |= {"exemplar": self._image(donor[0]), "exemplar_mask": donor[1]}
            cases.append(self.case(name, edit, case_id, images, free_form_share=free_form_share))
        return cases

    def case(
        self,
        name: str,
        edit: Edit,
        case_id: str,
        images: Mapping[str, Pixels | Mask],
        before: Mapping[str, bool] | None = None,
        shared: Mapping[str, str] | None = None,
        free_form_share: float | None = None,
    ) -> Case:
        """Return the case of an edit, and write its images.

        Args:
            name: number of the image.
            edit: edit of the face.
            case_id: id of the case.
            images: column of the case -> image or mask.
            before: attributes of the face before the edit, None = its labels.
            shared: columns that `shared` returned for the cases of this face, None = this case gets its own.
            free_form_share: as for `edits`.
        """
        source = known_attributes(self.faces.labels[name]) if before is None else before
        share = self.request.options.free_form_share if free_form_share is None else free_form_share
        rng = random.Random(stable_seed("celeba_hq instruction", self.request.seed, name, *edit))
        return write_case(
            self.request.folder,
            case_id,
            images,
            task=self.request.task,
            mask_origin="human",
            identity=self.faces.identities.get(name, f"celeba_hq-{name}"),
            cluster=f"celeba_hq-{name}",
            split=self.request.options.split,
            licence=LICENCE,
            **edit_columns(self.request.language, source, edit, rng, share),
            **(self.shared(name, case_id) if shared is None else shared),
        )

    def shared(self, name: str, label: str) -> dict[str, str]:
        """Write the image and the regions of a face under a label; return the columns of a case that name them."""
        regions = write_regions(self.request.folder, label, face_regions(self.parts(name)))
        return {**write_images(self.request.folder, label, {"image": self._image(name)}), "regions": regions}

    def _image(self, name: str) -> Pixels:
        return read_face(self.faces, name, self.request.options.size)

    def _donor(self, name: str, edit: Edit) -> tuple[str, Mask] | None:
        """Return another person's face that shows the result of an edit, and where; None if there is none."""
        attribute, desired = edit
        theirs, sense = CELEBA[attribute]
        people = self.faces.identities
        start = stable_seed("celeba_hq exemplar", name, *edit) % len(self.order)
        for other in (*self.order[start:], *self.order[:start]):
            if other == name or self.faces.labels[other][theirs] != (sense == desired):
                continue
            if name in people and people[name] == people.get(other):
                continue
            # The exemplar shows the attribute where an edit in the other direction may change it.
            mask = self.mask(other, (attribute, not desired))
            # Some faces are in the data set twice, under two numbers and even two people.
            if mask is not None and not (self._image(other) == self._image(name)).all():
                return other, mask
        return None


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
