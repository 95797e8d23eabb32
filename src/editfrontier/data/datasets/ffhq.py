"""FFHQ: aligned portraits without attributes, parsing masks or captions.

So there are three honest uses: the reference of FID and KID; images to reconstruct (the paper's Table 2); and, where a
classifier has labelled them, sources of attribute edits without masks. The authors assign images 0 to 59,999 to
training and the rest to validation.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.base.errors import UserError, did_you_mean, file_that_is_meant
from editfrontier.base.fetching.files import ExpectedFile, digest
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, write_case
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import read_square
from editfrontier.data.language import Language, check_share, pick
from editfrontier.data.reading.balance import balanced
from editfrontier.data.reading.build import optional_file, raw_file
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.face_attributes import PLAIN, changes, directions, edit_columns

if TYPE_CHECKING:
    from editfrontier.data.framing import Pixels

IMAGES = "images1024x1024/"
METADATA = "ffhq-dataset-v2.json"
SPLITS = {"training": range(60000), "validation": range(60000, 70000), "all": range(70000)}
SURE = 0.9
"""Least probability that a classifier gives an attribute, or its absence, for it to count as known."""

LICENCE = "CC BY-NC-SA 4.0 (data set); licence of the photo not looked up"


@dataclass(frozen=True, kw_only=True)
class FfhqOptions(Options):
    """Options of FFHQ.

    Attributes:
        split: part of the images.
        labels: CSV file with a column `id`, the number of the image, and a column for each attribute of the language
            that a classifier knows: the probability that the image has it, or 0 and 1; an empty cell = not known.
            Images that it does not name are left out. The classifier that judges edits must not write it, because it
            would agree with itself. "" = no attribute is known, and cases only ask to reconstruct the image.
        free_form_share: expected share of free-form instructions of attribute edits, in [0, 1].
    """

    split: Literal["validation", "training", "all"] = "validation"
    labels: str = ""
    free_form_share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.free_form_share)


@dataclass(frozen=True)
class Photo:
    """The metadata of an image: the checksum of its file, the licence and author of the photo."""

    md5: str
    licence: str


def chosen(split: str, seed: int, purpose: str = "cases") -> list[str]:
    """Return the numbers of a split in the order in which they are taken, which depends on no data.

    Args:
        split: a key of `SPLITS`.
        seed: seed of the data.
        purpose: "cases" or "reference", whose orders differ.
    """
    return salted(SPLITS[split], f"ffhq-{purpose}-{seed}")


def build(request: Request) -> list[Case]:
    """Build reconstructions, or attribute edits without masks where there are labels."""
    options: FfhqOptions = request.options
    source = _find_images(request)
    order = chosen(options.split, request.seed)
    if not options.labels:
        caption = PLAIN[0].format(person=pick(request.language.young_person, None))
        texts = {"source_caption": caption, "target_caption": caption, "instruction": ""}
        return [
            _case(request, source, name, f"{request.task}-{int(name):05d}", edit_type="reconstruction", **texts)
            for name in order[: request.cases]
        ]
    labels = read_labels(Path(options.labels), request.language)
    order = [name for name in order if name in labels]
    known = {attribute for row in labels.values() for attribute in row}
    names = [attribute for attribute in request.language.attributes if attribute in known]
    candidates = {edit: [name for name in order if changes(labels[name], *edit)] for edit in directions(names)}
    cases = []
    for number, (name, edit, _) in enumerate(balanced(candidates, request.cases, lambda name, edit: True)):
        rng = random.Random(stable_seed("ffhq instruction", request.seed, name, *edit))
        columns = edit_columns(request.language, labels[name], edit, rng, options.free_form_share)
        case_id = f"{request.task}-{number:05d}-{edit[0]}-{'add' if edit[1] else 'remove'}"
        cases.append(_case(request, source, name, case_id, **columns))
    return cases


def images(request: Request) -> Iterator[tuple[str, Pixels]]:
    """Yield images of the split with their names, in the order of a salted hash, another than that of the cases."""
    source = _find_images(request)
    for name in chosen(request.options.split, request.seed, "reference"):
        yield f"ffhq-{int(name):05d}", _image(source, name, request.options.size)


@dataclass(frozen=True)
class _Images:
    """The folder of the images, and the metadata by number, empty if their file is not there."""

    folder: Path
    photos: Mapping[str, Photo]


def _find_images(request: Request) -> _Images:
    metadata = optional_file(DATASET, request.raw, METADATA)
    return _Images(raw_file(DATASET, request.raw, IMAGES), read_metadata(metadata) if metadata is not None else {})


def _case(request: Request, source: _Images, name: str, case_id: str, **columns: Any) -> Case:
    return write_case(
        request.folder,
        case_id,
        {"image": _image(source, name, request.options.size)},
        task=request.task,
        identity=f"ffhq-{int(name):05d}",
        cluster=f"ffhq-{int(name):05d}",
        split=request.options.split,
        licence=source.photos[name].licence if name in source.photos else LICENCE,
        **columns,
    )


# --- raw files -------------------------------------------------------------------------------------------------------


def _image(source: _Images, name: str, size: int) -> Pixels:
    number = int(name)
    # The authors' script makes a folder for every thousand images; mirrors often put all images in one.
    flat = source.folder / f"{number:05d}.png"
    nested = source.folder / f"{number - number % 1000:05d}" / flat.name
    path = flat if flat.is_file() and not nested.is_file() else nested
    photo = source.photos.get(name)
    if photo is not None and path.is_file() and (md5 := digest(path, "md5")) != photo.md5:
        raise UserError(
            f"{path}: has the md5 {md5}, expected {photo.md5} by {METADATA}. It is truncated or another file: "
            "download it again by download_ffhq.py."
        )
    return read_square(path, size)


def read_metadata(path: Path) -> dict[str, Photo]:
    """Read `ffhq-dataset-v2.json`: number -> photo. Lists, the face landmarks, would fill gigabytes and are dropped.

    Raises:
        UserError: the file is truncated, no JSON, or has other entries.
    """

    def trimmed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if not isinstance(value, list)}

    try:
        with path.open(encoding="utf-8") as file:
            content = json.load(file, object_pairs_hook=trimmed)
        return {
            str(int(name)): Photo(
                entry["image"]["file_md5"], f"{entry['metadata']['license']} (photo by {entry['metadata']['author']})"
            )
            for name, entry in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is truncated or in another format ({type(error).__name__}: {error}). Download it again by "
            "`download_ffhq.py --json`, or remove it."
        ) from None


def read_labels(path: Path, lang: Language) -> dict[str, dict[str, bool]]:
    """Read the labels of a classifier: number -> attribute of the language -> value, if it is known.

    Raises:
        UserError: the file cannot be read, a column is no attribute, a cell is no probability, or an image is repeated.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        meant = file_that_is_meant(path)
        raise UserError(f"option 'labels': {path} cannot be read ({error}).{meant} Correct the path.") from None
    if not rows or "id" not in columns:
        raise UserError(
            f"{path}: has no column 'id' or no rows, expected labels of images, separated by commas. Correct the file."
        )
    for name in columns:
        if name != "id" and name not in lang.attributes:
            raise UserError(f"{path}: column '{name}' is no attribute.{did_you_mean(name, lang.attributes)} Rename it.")
        if columns.count(name) > 1:
            raise UserError(f"{path}: has the column '{name}' twice. Remove one of them.")
    labels: dict[str, dict[str, bool]] = {}
    for line, row in enumerate(rows, start=2):
        name = row.pop("id") or ""
        if None in row:
            raise UserError(f"{path}, line {line}: has more cells than columns. Remove them.")
        if not name.strip().isdecimal():
            raise UserError(f"{path}, line {line}: id {name!r}, expected the number of an image. Correct it.")
        name = str(int(name))
        if name in labels:
            raise UserError(f"{path}, line {line}: image {name} comes twice. Remove one of the rows.")
        labels[name] = _known(path, line, row)
    return labels


def _known(path: Path, line: int, row: Mapping[str, str | None]) -> dict[str, bool]:
    values: dict[str, bool] = {}
    for attribute, text in row.items():
        if not (text or "").strip():
            continue
        try:
            probability = float(text or "")
        except ValueError:
            probability = -1.0
        if not 0 <= probability <= 1:
            raise UserError(f"{path}, line {line}: {attribute} is {text!r}, expected 0 to 1, or nothing. Correct it.")
        if probability >= SURE or probability <= 1 - SURE:
            values[attribute] = probability >= SURE
    return values


DATASET = Dataset(
    name="ffhq",
    title="Flickr-Faces-HQ",
    home="https://github.com/NVlabs/ffhq-dataset",
    licence="CC BY-NC-SA 4.0 (data set); photos: CC BY 2.0, CC BY-NC 2.0, public domain, CC0 or US government works",
    terms="Non-commercial use; some photos need their author's name; not for developing or improving face recognition.",
    files=(
        ExpectedFile(path=IMAGES, what="70,000 PNG images of 1024x1024, 89 GB; those of the split are enough"),
        ExpectedFile(
            path=METADATA,
            what="licence, author and checksum of each image",
            size=267793842,
            md5="425ae20f06a4da1d4dc0f46d40ba5fd6",
            optional=True,
        ),
    ),
    by_hand="Get the images by `python download_ffhq.py --json --images` of https://github.com/NVlabs/ffhq-dataset "
    "(Google Drive, whose quota is often used up), and put images1024x1024 and ffhq-dataset-v2.json there. Sets of "
    "256x256 that others made were scaled by filters that nobody states, which shifts FID.",
    build=build,
    images=images,
    options=FfhqOptions,
)
