"""CelebA-HQ: aligned portraits with 40 attributes and parsing masks, from CelebAMask-HQ.

Numbers of images are those of CelebA-HQ, which were shuffled: image `<idx>.jpg` is `orig_file` of CelebA, by the
mapping file. Its column `orig_idx` counts from 0 while file names count from 1, so everything is joined on `orig_file`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.datasets import Dataset, MaskOptions, Request
from editfrontier.datasets.balance import balanced
from editfrontier.datasets.choice import salted
from editfrontier.datasets.face_attributes import (
    CELEBA,
    USUAL,
    check_names,
    directions,
    editable,
    edited_attributes,
    face_caption,
    known_attributes,
    read_attribute_table,
    read_lines,
)
from editfrontier.datasets.files import ExpectedFile
from editfrontier.errors import UserError
from editfrontier.seeding import stable_seed

if TYPE_CHECKING:
    from editfrontier.cases import Case
    from editfrontier.framing import Pixels
    from editfrontier.masks import Mask

IMAGES = "CelebA-HQ-img/"
MASKS = "CelebAMask-HQ-mask-anno/"
ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
PARTITION = "list_eval_partition.txt"
IDENTITIES = "identity_CelebA.txt"
ARCHIVE = "CelebAMask-HQ.zip"
SPLITS = {"train": "0", "val": "1", "test": "2"}
LICENCE = "CelebAMask-HQ agreement: non-commercial research only, no redistribution"

Edit = tuple[str, bool]
"""(attribute, value after the edit)"""


@dataclass(frozen=True, kw_only=True)
class CelebaHqOptions(MaskOptions):
    """Options of the data set, beside those of `MaskOptions`.

    Attributes:
        attributes: that are edited, in the order in which cases are balanced over them; empty = all that CelebA labels
            well enough (`face_attributes.USUAL`).
        split: part of CelebA (`list_eval_partition.txt`) that images come from. The classifier that judges edits is
            trained on "train", so cases should not come from there. "all" does without that file.
        free_form_share: expected share of free-form instructions, in [0, 1].
    """

    attributes: tuple[str, ...] = ()
    split: Literal["test", "val", "train", "all"] = "test"
    free_form_share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.attributes, "attributes")
        if not 0 <= self.free_form_share <= 1:
            raise UserError(f"option 'free_form_share': {self.free_form_share}, expected 0 to 1. Correct the value.")


@dataclass(frozen=True)
class Faces:
    """The tables of the data set, and where its images and masks are.

    Attributes:
        images, masks: folders.
        labels: number -> attribute of CelebA -> value.
        identities: number -> person, empty if that is not known.
        numbers: of the images of the split, in increasing order.
    """

    images: Path
    masks: Path
    labels: Mapping[str, Mapping[str, bool]]
    identities: Mapping[str, str]
    numbers: Sequence[str]


def build(request: Request) -> list[Case]:
    """Build attribute edits, balanced over attributes and directions, each with an exemplar."""
    from editfrontier.cases import Case
    from editfrontier.datasets.output import write_images, write_regions
    from editfrontier.datasets.parsing import edit_mask, face_regions, read_parts

    options: CelebaHqOptions = request.options
    faces = _faces(request.raw, options.split)
    order = salted(faces.numbers, f"celeba_hq-{request.seed}")
    edits = directions(options.attributes or USUAL)
    candidates = {edit: [name for name in order if editable(faces.labels[name], *edit)] for edit in edits}
    parts_of = lru_cache(maxsize=64)(lambda name: read_parts(faces.masks, int(name), options.size))
    cases = []
    made = balanced(candidates, request.cases, lambda name, edit: edit_mask(parts_of(name), *edit))
    for number, (name, (attribute, desired), mask) in enumerate(made):
        before = known_attributes(faces.labels[name])
        after = edited_attributes(before, attribute, desired)
        direction = "add" if desired else "remove"
        case_id = f"{request.task}-{number:05d}-{attribute}-{direction}"
        instruction, origin = _instruction(request, name, (attribute, desired))
        written: dict[str, Pixels | Mask] = {"image": _image(faces, name, options.size), "mask": mask}
        donor = _donor(faces, order, name, (attribute, desired), lambda other: parts_of(other))
        if donor is not None:
            written |= {"exemplar": _image(faces, donor[0], options.size), "exemplar_mask": donor[1]}
        paths = write_images(request.folder, case_id, written)
        cases.append(
            Case(
                case_id=case_id,
                task=request.task,
                image=paths["image"],
                mask=paths["mask"],
                exemplar=paths.get("exemplar", ""),
                exemplar_mask=paths.get("exemplar_mask", ""),
                source_caption=face_caption(request.language, before),
                target_caption=face_caption(request.language, after),
                instruction=instruction,
                instruction_origin=origin,
                edit_type=f"attribute_{direction}",
                attribute=attribute,
                desired=desired,
                mask_origin="human",
                source_attributes=json.dumps(before, separators=(",", ":")),
                target_attributes=json.dumps(after, separators=(",", ":")),
                identity=faces.identities.get(name, f"celeba_hq-{name}"),
                cluster=f"celeba_hq-{name}",
                regions=write_regions(request.folder, case_id, face_regions(parts_of(name))),
                split=options.split,
                licence=LICENCE,
            )
        )
    return cases


def images(request: Request) -> Iterator[tuple[str, Pixels]]:
    """Yield images of the split with their names, by a salted hash."""
    faces = _faces(request.raw, request.options.split)
    for name in salted(faces.numbers, f"celeba_hq-reference-{request.seed}"):
        yield f"celeba_hq-{name}", _image(faces, name, request.options.size)


def _instruction(request: Request, name: str, edit: Edit) -> tuple[str, str]:
    rng = random.Random(stable_seed("celeba_hq instruction", request.seed, name, *edit))
    entry, desired = request.language.attributes[edit[0]], edit[1]
    if rng.random() < request.options.free_form_share:
        return rng.choice(entry.free_form_add if desired else entry.free_form_remove).text, "free_form"
    return rng.choice(entry.add if desired else entry.remove), "template"


def _donor(faces: Faces, order: Sequence[str], name: str, edit: Edit, parts_of: Any) -> tuple[str, Mask] | None:
    """Return another person's face that shows what an edit asks for, and where; None if there is none."""
    from editfrontier.datasets.parsing import edit_mask

    attribute, desired = edit
    theirs, sense = CELEBA[attribute]
    start = stable_seed("celeba_hq exemplar", name, *edit) % len(order)
    for other in (*order[start:], *order[:start]):
        if other == name or faces.labels[other][theirs] != (sense == desired):
            continue
        if name in faces.identities and faces.identities[name] == faces.identities.get(other):
            continue
        # Where an edit in the other direction may change the exemplar is where the exemplar shows it.
        mask = edit_mask(parts_of(other), attribute, not desired)
        if mask is not None:
            return other, mask
    return None


# --- raw files -------------------------------------------------------------------------------------------------------


def _faces(raw: Path, split: str) -> Faces:
    from editfrontier.datasets.build import optional_file, raw_file

    folders = raw_file(DATASET, raw, IMAGES), raw_file(DATASET, raw, MASKS)
    table = raw_file(DATASET, raw, ATTRIBUTES)
    labels = {Path(file).stem: row for file, row in read_attribute_table(table).items()}
    originals = read_mapping(raw_file(DATASET, raw, MAPPING))
    missing = [name for name in labels if name not in originals]
    if missing:
        raise UserError(
            f"{raw / MAPPING}: has no row of image {missing[0]}, which {ATTRIBUTES} labels. Unpack it again."
        )
    identity_file = optional_file(DATASET, raw, IDENTITIES)
    people = read_pairs(identity_file) if identity_file is not None else {}
    identities = {name: f"celeba-{people[originals[name]]}" for name in labels if originals[name] in people}
    numbers = sorted(labels, key=int)
    if split != "all":
        parts = read_pairs(raw_file(DATASET, raw, PARTITION))
        absent = [name for name in numbers if originals[name] not in parts]
        if absent:
            raise UserError(f"{raw / PARTITION}: has no row of {originals[absent[0]]}. Download it again.")
        numbers = [name for name in numbers if parts[originals[name]] == SPLITS[split]]
    return Faces(*folders, labels, identities, numbers)


def read_mapping(path: Path) -> dict[str, str]:
    """Read `CelebA-HQ-to-CelebA-mapping.txt`: number in CelebA-HQ -> file name in CelebA.

    Raises:
        UserError: another format, a number twice, or rows whose `orig_idx` and `orig_file` do not differ by one.
    """
    lines = read_lines(path)
    if lines[0].split() != ["idx", "orig_idx", "orig_file"]:
        raise UserError(f"{path}: starts with {lines[0][:40]!r}, expected 'idx orig_idx orig_file'. Unpack it again.")
    found: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        words = line.split()
        if not words:
            continue
        stem = words[2].partition(".")[0] if len(words) == 3 else ""
        if not (stem.isdigit() and words[0].isdigit() and words[1].isdigit()) or int(stem) != int(words[1]) + 1:
            raise UserError(
                f"{path}, line {number}: {line.strip()[:60]!r}, expected a number, the number of CelebA from 0, and "
                "its file name, which counts from 1. It is damaged: unpack it again."
            )
        if words[0] in found:
            raise UserError(f"{path}, line {number}: image {words[0]} comes twice. It is damaged: unpack it again.")
        found[words[0]] = words[2]
    return found


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines of a file name of CelebA and a value; raise `UserError` for another format."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        words = line.split()
        if len(words) not in (0, 2):
            raise UserError(
                f"{path}, line {number}: {line[:60]!r}, expected a file name and a number. Download it again."
            )
        if words:
            found[words[0]] = words[1]
    return found


def _image(faces: Faces, name: str, size: int) -> Pixels:
    from editfrontier.datasets.output import read_square

    return read_square(faces.images / f"{name}.jpg", size)


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
