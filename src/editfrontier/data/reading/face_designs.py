"""Designed experiments on real faces: one edit repeated, several in two orders, one in several wordings.

The cases are built as those of `microworld.chains` and `microworld.wordings` are, except that no true edit is known.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, read_image, read_mask, write_images
from editfrontier.data.dataset import Request
from editfrontier.data.language import HAIR_COLOURS, Language, instructions
from editfrontier.data.reading.face_attributes import editable, edited_attributes, face_caption, known_attributes

if TYPE_CHECKING:
    from editfrontier.data.framing import Pixels
    from editfrontier.data.masks import Mask
    from editfrontier.data.reading.celeba_faces import Faces

ORDERS: Mapping[str, Sequence[tuple[int, ...]]] = {"two": ((0, 1), (1, 0)), "three": ((0, 1, 2), (2, 1, 0))}
"""As `microworld.chains.ORDERS`, which would bring the renderer along; a test compares them."""

COMPOSED_CASES = sum(len(order) for orders in ORDERS.values() for order in orders)
_DRAWS = 200


class Maker(Protocol):
    """What makes single cases of faces (`celeba_hq`)."""

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
    """Return the chain that gives the instruction of a case again and again.

    From the second step on the attribute is there already: whoever edits well then changes nothing.

    Args:
        case: it adds an attribute.
        steps: of the chain, at least 1.
        folder: that its paths are relative to.
    """
    image = read_image(folder / case.image)
    mask = read_mask(folder / case.mask, (image.shape[0], image.shape[1]))
    background = write_images(folder, case.case_id, {"background_mask": ~mask})["background_mask"]
    chain = f"{case.cluster}-{case.attribute}"
    first = replace(case, chain=chain, background_mask=background, design=_json({"design": "repeated"}))
    again = replace(first, source_caption=case.target_caption, source_attributes=case.target_attributes)
    return [
        replace(first if step == 1 else again, case_id=f"{case.case_id}-k{step}", step=step)
        for step in range(1, steps + 1)
    ]


def composed_cases(request: Request, maker: Maker, n: int) -> list[Case]:
    """Return sequences of two and of three attributes for each of up to `n` faces, forward and reversed.

    All edits add an attribute, and none of the three hides or replaces another. An attribute is asked for in the same
    words wherever it stands.
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
    found: dict[str, Mask] = {}
    names = [attribute for attribute in maker.names if editable(maker.faces.labels[name], attribute, True)]
    for attribute in rng.sample(names, len(names)):
        if any(_in_the_way(attribute, other) for other in found):
            continue
        mask = maker.mask(name, (attribute, True))
        if mask is not None:
            found[attribute] = mask
        if len(found) == 3:
            return found
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
                design = _json({"design": "composed", "order": order, "length": len(places)})
                cases.append(replace(case, chain=f"{case.cluster}-{label}", step=step, design=design))
                values = edited_attributes(values, attribute, True)
    return cases


def worded_cases(case: Case, lang: Language, wordings: int) -> list[Case]:
    """Return a case once in every wording of its instruction and target caption, the canonical one first.

    All of them share their noise, so that outputs of two wordings differ by the words alone.

    Args:
        case: an edit of a face, with its attributes.
        lang: the language.
        wordings: how many, at least 1.

    Raises:
        UserError: the language has fewer wordings of the instruction, or of the caption.
    """
    texts = instructions(lang, case.attribute, case.desired)
    values = json.loads(case.target_attributes)
    rng = random.Random(stable_seed("wordings", case.case_id))
    drawn = [face_caption(lang, values), *(face_caption(lang, values, rng) for _ in range(_DRAWS))]
    captions = list(dict.fromkeys(drawn))
    if wordings > min(len(texts), len(captions)):
        raise UserError(
            f"option 'wordings': {wordings}, but case {case.case_id} has {len(texts)} instructions and {len(captions)} "
            "captions in the language. Lower it, or add paraphrases."
        )
    return [
        replace(
            case,
            case_id=f"{case.case_id}-w{number}",
            instruction=texts[number],
            instruction_origin="template",
            target_caption=captions[number],
            design=_json({"wording": number, "noise": case.case_id}),
        )
        for number in range(wordings)
    ]


def _json(values: Mapping[str, object]) -> str:
    return json.dumps(values, separators=(",", ":"))
