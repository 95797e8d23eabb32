"""CelebA-HQ: aligned portraits with 40 attributes and parsing masks, from CelebAMask-HQ.

Edits are single, repeated, composed in two orders, or given in several wordings, as in the micro world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.cases import Case
from editfrontier.data.chains import count_units
from editfrontier.data.dataset import Dataset, MaskOptions, Request
from editfrontier.data.language import check_share
from editfrontier.data.reading.celeba_faces import (
    ARCHIVE,
    ATTRIBUTES,
    IDENTITIES,
    IMAGES,
    LICENCE,
    MAPPING,
    MASKS,
    PARTITION,
    read_face,
    read_faces,
)
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.face_attributes import check_names, face_caption
from editfrontier.data.reading.face_designs import Maker, composed_cases, repeated_cases
from editfrontier.data.wordings import worded_cases

if TYPE_CHECKING:
    from editfrontier.data.framing import Pixels


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
    maker = Maker(request, read_faces(DATASET, request.raw, options.split))
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
