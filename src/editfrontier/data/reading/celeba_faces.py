"""The raw files of CelebAMask-HQ: labels, the mapping from CelebA-HQ to CelebA, its parts and people.

CelebA-HQ has its own, shuffled numbers: by the mapping file, image `<idx>.jpg` is `orig_file` of CelebA. Its column
`orig_idx` counts from 0 while file names count from 1, so that tables are joined on `orig_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.base.errors import UserError
from editfrontier.data.dataset import Dataset
from editfrontier.data.framing import read_square
from editfrontier.data.reading.build import optional_file, raw_file
from editfrontier.data.reading.face_attributes import NEEDED, read_attribute_table, read_lines

if TYPE_CHECKING:
    from editfrontier.data.framing import Pixels

IMAGES = "CelebA-HQ-img/"
MASKS = "CelebAMask-HQ-mask-anno/"
ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
PARTITION = "list_eval_partition.txt"
IDENTITIES = "identity_CelebA.txt"
ARCHIVE = "CelebAMask-HQ.zip"
LICENCE = "CelebAMask-HQ agreement: non-commercial research only, no redistribution"
SPLITS = {"train": "0", "val": "1", "test": "2"}


@dataclass(frozen=True)
class Faces:
    """The tables of the data set, and the folders of its images and masks.

    Attributes:
        images, masks: folders.
        labels: number -> attribute of CelebA -> value.
        identities: number -> person, empty if it is not known.
        numbers: numbers of the images of the split, in increasing order.
    """

    images: Path
    masks: Path
    labels: Mapping[str, Mapping[str, bool]]
    identities: Mapping[str, str]
    numbers: Sequence[str]


def read_faces(dataset: Dataset, raw: Path, split: str) -> Faces:
    """Read the tables of CelebA-HQ and find its folders; `split` is a key of `SPLITS`, or "all".

    Raises:
        UserError: a file is missing or damaged, or the tables do not match.
    """
    folders = raw_file(dataset, raw, IMAGES), raw_file(dataset, raw, MASKS)
    table = raw_file(dataset, raw, ATTRIBUTES)
    labels = {Path(file).stem: row for file, row in read_attribute_table(table).items()}
    lacking = sorted({*NEEDED} - set(next(iter(labels.values()), {})))
    if lacking:
        raise UserError(f"{table}: has no attribute '{lacking[0]}' in line 2. It is damaged: unpack it again.")
    originals = read_mapping(raw_file(dataset, raw, MAPPING))
    missing = [name for name in labels if name not in originals]
    if missing:
        raise UserError(f"{raw / MAPPING}: has no row of {missing[0]}, which {ATTRIBUTES} labels. Unpack it again.")
    identity_file = optional_file(dataset, raw, IDENTITIES)
    people = read_pairs(identity_file) if identity_file is not None else {}
    if identity_file is not None:
        _check_whole(identity_file, people, originals, labels)
    identities = {name: f"celeba-{people[originals[name]]}" for name in labels if people}
    numbers = sorted(labels, key=int)
    if split != "all":
        parts = read_pairs(raw_file(dataset, raw, PARTITION))
        _check_whole(raw / PARTITION, parts, originals, numbers)
        if wrong := sorted(set(parts.values()) - set(SPLITS.values())):
            raise UserError(f"{raw / PARTITION}: has the part '{wrong[0]}', expected 0, 1 or 2. Download it again.")
        numbers = [name for name in numbers if parts[originals[name]] == SPLITS[split]]
    return Faces(*folders, labels, identities, numbers)


def _check_whole(path: Path, rows: Mapping[str, str], originals: Mapping[str, str], names: Iterable[str]) -> None:
    """Raise `UserError` unless a table of CelebA has a row of every image."""
    absent = next((originals[name] for name in names if originals[name] not in rows), None)
    if absent:
        raise UserError(f"{path}: has no row of {absent}. It is truncated: download it again.")


def read_mapping(path: Path) -> dict[str, str]:
    """Read `CelebA-HQ-to-CelebA-mapping.txt`: number in CelebA-HQ -> file name in CelebA.

    Raises:
        UserError: another format, a repeated number, or a row whose `orig_idx` and `orig_file` do not differ by one.
    """
    lines = read_lines(path)
    if lines[0].split() != ["idx", "orig_idx", "orig_file"]:
        raise UserError(f"{path}: starts with {lines[0][:40]!r}, expected 'idx orig_idx orig_file'. Unpack it again.")
    originals: dict[str, str] = {}
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
        if words[0] in originals:
            raise UserError(f"{path}, line {number}: image {words[0]} comes twice. It is damaged: unpack it again.")
        originals[words[0]] = words[2]
    return originals


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines of a file name of CelebA and a value; raise `UserError` for another format."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        words = line.split()
        if len(words) not in (0, 2):
            raise UserError(f"{path}, line {number}: {line[:60]!r}, expected file name and number. Download it again.")
        if words:
            pairs[words[0]] = words[1]
    return pairs


def read_face(faces: Faces, name: str, size: int) -> Pixels:
    """Return an image as uint8 [size, size, 3]."""
    return read_square(faces.images / f"{name}.jpg", size)
