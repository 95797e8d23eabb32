"""CelebA-HQ: aligned portraits with 40 attributes and parsing masks, from CelebAMask-HQ.

Edits are single, repeated, composed in two orders, or given in several wordings, as in the micro world.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, compact_json, write_case, write_images, write_regions
from editfrontier.data.chains import count_units
from editfrontier.data.dataset import Dataset, MaskOptions, Request
from editfrontier.data.language import attribute_instruction, check_share
from editfrontier.data.reading.balance import balanced
from editfrontier.data.reading.celeba_faces import (
    ARCHIVE,
    ATTRIBUTES,
    IDENTITIES,
    IMAGES,
    MAPPING,
    MASKS,
    PARTITION,
    Faces,
    read_face,
    read_faces,
)
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.face_attributes import (
    CELEBA,
    USUAL,
    check_names,
    directions,
    editable,
    edited_attributes,
    face_caption,
    known_attributes,
)
from editfrontier.data.reading.face_designs import composed_cases, repeated_cases
from editfrontier.data.reading.parsing import edit_mask, face_regions, read_parts
from editfrontier.data.wordings import worded_cases

if TYPE_CHECKING:
    from editfrontier.data.framing import Mask, Pixels

LICENCE = "CelebAMask-HQ agreement: non-commercial research only, no redistribution"

Edit = tuple[str, bool]
"""(attribute, value after the edit)"""


@dataclass(frozen=True, kw_only=True)
class CelebaHqOptions(MaskOptions):
    """Options of CelebA-HQ.

    Attributes:
        attributes: edited attributes, in the order in which cases are balanced over them; empty = all that CelebA
            labels well enough (`face_attributes.USUAL`).
        split: part of CelebA (`list_eval_partition.txt`) that images come from. The classifier that judges edits is
            trained on "train", so cases should not come from there. "all" needs no such file.
        free_form_share: expected share of free-form instructions, in [0, 1]; "wordings" uses none.
        design: "single" = one edit a case; "repeated" = chains that add one attribute repeatedly; "composed" = chains
            that add two and three attributes, forward and reversed; "wordings" = each edit in several wordings.
        steps: number of steps of a repeated chain.
        wordings: number of wordings of an edit.
    """

    attributes: tuple[str, ...] = ()
    split: Literal["test", "val", "train", "all"] = "test"
    free_form_share: float = 0.2
    design: Literal["single", "repeated", "composed", "wordings"] = "single"
    steps: int = 8
    wordings: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.attributes, "attributes")
        check_share(self.free_form_share)
        if min(self.steps, self.wordings) < 1:
            raise UserError("options 'steps' and 'wordings': expected whole numbers from 1. Correct them.")
        if self.design != "single" and self.masks != "human":
            raise UserError(f"option 'design': {self.design!r} takes human masks only. Leave out the option 'masks'.")


def build(request: Request) -> list[Case]:
    """Build attribute edits in the design that the options name."""
    options: CelebaHqOptions = request.options
    units = count_units(request.task, request.cases, options.design, options.steps)
    maker = _Maker(request, read_faces(DATASET, request.raw, options.split))
    match options.design:
        case "repeated":
            chains = maker.edits(units, adding=True)
            return [step for case in chains for step in repeated_cases(case, options.steps, request.folder)]
        case "composed":
            return composed_cases(request, maker, units)
        case "wordings":
            edits = maker.edits(-(-units // options.wordings), free_form_share=0.0)
            variants = (worded_cases(case, request.language, options.wordings, face_caption) for case in edits)
            return [worded for cases in variants for worded in cases][:units]
    return maker.edits(units)


class _Maker:
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
        (attribute, desired), lang = edit, self.request.language
        source = known_attributes(self.faces.labels[name]) if before is None else dict(before)
        target = edited_attributes(source, attribute, desired)
        share = self.request.options.free_form_share if free_form_share is None else free_form_share
        rng = random.Random(stable_seed("celeba_hq instruction", self.request.seed, name, *edit))
        instruction = attribute_instruction(lang, attribute, desired, rng, share)
        return write_case(
            self.request.folder,
            case_id,
            images,
            task=self.request.task,
            source_caption=face_caption(lang, source),
            target_caption=face_caption(lang, target),
            instruction=instruction.text,
            instruction_origin=instruction.origin,
            edit_type=f"attribute_{'add' if desired else 'remove'}",
            attribute=attribute,
            desired=desired,
            mask_origin="human",
            source_attributes=compact_json(source),
            target_attributes=compact_json(target),
            identity=self.faces.identities.get(name, f"celeba_hq-{name}"),
            cluster=f"celeba_hq-{name}",
            split=self.request.options.split,
            licence=LICENCE,
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


def images(request: Request) -> Iterator[tuple[str, Pixels]]:
    """Yield images of the split with their names, in the order of a salted hash."""
    faces = read_faces(DATASET, request.raw, request.options.split)
    for name in salted(faces.numbers, f"celeba_hq-reference-{request.seed}"):
        yield f"celeba_hq-{name}", read_face(faces, name, request.options.size)


DATASET = Dataset(
    name="celeba_hq",
    title="CelebA-HQ with the parsing masks and attributes of CelebAMask-HQ",
    home="https://github.com/switchablenorms/CelebAMask-HQ",
    licence=LICENCE,
    terms="Non-commercial research only. No part of the images may be copied, published or handed on, apart from "
    "copies inside of one site of the same organisation.",
    files=(
        ExpectedFile(path=IMAGES, what="30,000 JPEG images, <number>.jpg", archive=ARCHIVE, inside="CelebAMask-HQ"),
        ExpectedFile(path=MASKS, what="parsing masks, <number // 2000>/<number>_<part>.png", archive=ARCHIVE,
                     inside="CelebAMask-HQ"),
        ExpectedFile(path=ATTRIBUTES, what="40 attributes of each image", archive=ARCHIVE, inside="CelebAMask-HQ"),
        ExpectedFile(path=MAPPING, what="which image of CelebA each one is", archive=ARCHIVE, inside="CelebAMask-HQ"),
        ExpectedFile(path=PARTITION, what="train, validation and test part of CelebA",
                     md5="d32c9cbf5e040fd4025c592c306e6668"),
        ExpectedFile(path=IDENTITIES, what="the person of each image of CelebA",
                     md5="32bd1bd63d3c78cd57e08160ec5ed1e2", optional=True),
    ),
    by_hand="Read the agreement on https://github.com/switchablenorms/CelebAMask-HQ and download CelebAMask-HQ.zip "
    "(3.2 GB, Google Drive or Baidu) by a browser; take list_eval_partition.txt, and if you have a right to it "
    "identity_CelebA.txt, from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (folders Eval and Anno).",
    build=build,
    images=images,
    options=CelebaHqOptions,
)  # fmt: skip
