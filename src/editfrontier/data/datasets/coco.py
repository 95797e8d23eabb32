"""COCO 2017, validation part: edits of single objects, with masks and captions by people.

Images are chosen without a random generator, in the order of a salted hash of their ids: an image is taken if one of
its objects is the only one of its category and no crowd, lies nearly whole in the square around it, and covers a share
of this square within bounds.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.base.errors import UserError, file_that_is_meant
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, write_case
from editfrontier.data.dataset import Dataset, MaskOptions, Request
from editfrontier.data.framing import frame_of
from editfrontier.data.language import check_share
from editfrontier.data.pictures import read_rgb
from editfrontier.data.reading.build import raw_file
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.coco_texts import KINDS, EditTexts, edit_texts
from editfrontier.data.reading.json_files import read_object

if TYPE_CHECKING:
    from editfrontier.data.framing import Frame, Mask, Pixels

IMAGES = "val2017/"
INSTANCES = "annotations/instances_val2017.json"
CAPTIONS = "annotations/captions_val2017.json"
ANNOTATIONS = "annotations_trainval2017.zip"
AGAIN = "Get annotations_trainval2017.zip again and unpack it."
LEAST_INSIDE = 0.9
"""Least share of an object that lies in the square that its image is cropped to."""


@dataclass(frozen=True, kw_only=True)
class CocoOptions(MaskOptions):
    """Options of COCO.

    Attributes:
        kinds: edits, in the order in which cases are balanced over them.
        least_share, most_share: bounds of the share of the square that the object covers, in [0, 1].
        free_form_share: expected share of free-form instructions, in [0, 1].
        exclude: text file of ids of COCO, one a line, of images that are left out, for example those of another task;
            "" = none.
    """

    kinds: tuple[Literal["replace", "recolour", "remove"], ...] = KINDS  # type: ignore[assignment]
    least_share: float = 0.02
    most_share: float = 0.5
    free_form_share: float = 0.2
    exclude: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kinds:
            raise UserError(f"option 'kinds': names no edit, expected some of {', '.join(KINDS)}. Name one.")
        if not 0 <= self.least_share < self.most_share <= 1:
            raise UserError(
                f"options 'least_share' and 'most_share': {self.least_share} and {self.most_share}, expected numbers "
                "from 0 to 1, the first below the second. Correct them."
            )
        check_share(self.free_form_share)


@dataclass(frozen=True)
class Tables:
    """The annotation files, by id of the image or category, as texts or numbers.

    Attributes:
        images: id -> {file_name, width, height, license, ...}
        objects: id -> annotations, the largest area first.
        captions: id -> texts, in the order of their ids.
        categories: id -> (name, name of the group).
        licences: id -> name.
    """

    images: Mapping[str, Mapping[str, Any]]
    objects: Mapping[str, Sequence[Mapping[str, Any]]]
    captions: Mapping[str, Sequence[str]]
    categories: Mapping[int, tuple[str, str]]
    licences: Mapping[int, str]


def build(request: Request) -> list[Case]:
    """Build edits of objects, balanced over kinds, one an image."""
    options: CocoOptions = request.options
    tables = read_tables(raw_file(DATASET, request.raw, INSTANCES), raw_file(DATASET, request.raw, CAPTIONS))
    pictures = raw_file(DATASET, request.raw, IMAGES)
    excluded = _excluded(options.exclude)
    cases: list[Case] = []
    counts: Counter[str] = Counter()
    for name in salted([name for name in tables.images if name not in excluded], f"coco-{request.seed}"):
        if len(cases) == request.cases:
            break
        # The kind with the fewest cases so far that the image allows.
        for kind in sorted(options.kinds, key=lambda kind: (counts[kind], options.kinds.index(kind))):
            edit = _edit(request, tables, name, kind)
            if edit is not None:
                counts[kind] += 1
                cases.append(_case(request, tables, name, kind, edit, pictures, len(cases)))
                break
    return cases


def images(request: Request) -> Iterator[tuple[str, Pixels]]:
    """Yield the central squares of images that are large enough, with their names, by a salted hash."""
    tables = read_tables(raw_file(DATASET, request.raw, INSTANCES), raw_file(DATASET, request.raw, CAPTIONS))
    pictures = raw_file(DATASET, request.raw, IMAGES)
    for name in salted(tables.images, f"coco-reference-{request.seed}"):
        entry = tables.images[name]
        if min(entry["height"], entry["width"]) >= request.options.size:
            frame = frame_of((entry["height"], entry["width"]), request.options.size, "crop")
            yield f"coco-{name}", frame.image(_picture(pictures, entry))


def _edit(request: Request, tables: Tables, name: str, kind: str) -> tuple[Frame, Mask, EditTexts] | None:
    """Return the square, the mask and the texts of the first object of an image that a kind of edit suits."""
    from editfrontier.data.reading.coco_masks import instance_mask

    options: CocoOptions = request.options
    entry = tables.images[name]
    height, width = entry["height"], entry["width"]
    if min(height, width) < options.size:
        return None
    objects = tables.objects.get(name, ())
    counts = Counter(thing["category_id"] for thing in objects)
    for thing in objects:
        category, group = tables.categories[thing["category_id"]]
        # The area counts the mask in the whole image, which the square is a part of.
        too_small = thing["area"] < options.least_share * min(height, width) ** 2
        if thing["iscrowd"] or counts[thing["category_id"]] > 1 or too_small:
            continue
        if category == "person" and kind != "remove":
            continue  # nobody else is of its group, and people are not painted
        others = [
            other
            for number, (other, theirs) in sorted(tables.categories.items())
            if theirs == group and number not in counts
        ]
        rng = random.Random(stable_seed("coco edit", request.seed, name, kind, category))
        texts = edit_texts(
            kind, category, others, tables.captions.get(name, ()), request.language, rng, options.free_form_share
        )
        if texts is None:
            continue
        mask = instance_mask(thing["segmentation"], height, width, f"{INSTANCES}, annotation {thing['id']}")
        frame = frame_of((height, width), options.size, "crop", about=mask)
        inside = mask[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        share = float(inside.mean())
        if options.least_share <= share <= options.most_share and inside.sum() >= LEAST_INSIDE * mask.sum():
            return frame, frame.mask(mask), texts
    return None


def _case(
    request: Request,
    tables: Tables,
    name: str,
    kind: str,
    edit: tuple[Frame, Mask, EditTexts],
    pictures: Path,
    number: int,
) -> Case:
    frame, mask, texts = edit
    picture = _picture(pictures, tables.images[name])
    request.note_source(f"coco-{name}", picture)
    stated = tables.images[name].get("license")
    licence = tables.licences.get(stated if isinstance(stated, int) else -1, "licence of the image not stated")
    return write_case(
        request.folder,
        f"{request.task}-{number:05d}-{kind}",
        {"image": frame.image(picture), "mask": mask},
        task=request.task,
        source_caption=texts.source_caption,
        target_caption=texts.target_caption,
        instruction=texts.instruction.text,
        instruction_origin=texts.instruction.origin,
        edit_type=kind,
        mask_origin="human",
        cluster=f"coco-{name}",
        frame=frame.text(str(tables.images[name]["file_name"])),
        split="val2017",
        licence=f"{licence} (image, Flickr), CC BY 4.0 (annotations)",
    )


# --- raw files -------------------------------------------------------------------------------------------------------


def read_tables(instances: Path, captions: Path) -> Tables:
    """Read the annotation files; raise `UserError` that names file and entry if a key is missing or an id repeated."""
    content, texts = read_object(instances, AGAIN), read_object(captions, AGAIN)
    rows = {str(entry["id"]): entry for entry in _entries(instances, content, "images", _IMAGE)}
    categories = {
        entry["id"]: (entry["name"], entry["supercategory"])
        for entry in _entries(instances, content, "categories", _CATEGORY)
    }
    objects: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in _entries(instances, content, "annotations", _OBJECT):
        if str(entry["image_id"]) not in rows or entry["category_id"] not in categories:
            raise UserError(
                f"{instances}: annotation {entry['id']} names the image {entry['image_id']} and the category "
                f"{entry['category_id']}, one of which the file does not have. {AGAIN}"
            )
        objects[str(entry["image_id"])].append(entry)
    for things in objects.values():
        things.sort(key=lambda entry: (-entry["area"], entry["id"]))
    captions_of: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(_entries(captions, texts, "annotations", _CAPTION), key=lambda entry: entry["id"]):
        captions_of[str(entry["image_id"])].append(entry["caption"])
    licences = {}
    if "licenses" in content:
        licences = {entry["id"]: entry["name"] for entry in _entries(instances, content, "licenses", _LICENCE)}
    return Tables(rows, objects, captions_of, categories, licences)


_Types = Mapping[str, type | tuple[type, ...]]
_IMAGE: _Types = {"id": int, "file_name": str, "width": int, "height": int}
_CATEGORY: _Types = {"id": int, "name": str, "supercategory": str}
_OBJECT: _Types = {
    **dict.fromkeys(("id", "image_id", "category_id", "iscrowd"), int),
    "segmentation": (list, dict),
    "area": (int, float),
}
_CAPTION: _Types = {"id": int, "image_id": int, "caption": str}
_LICENCE: _Types = {"id": int, "name": str}


def _entries(path: Path, content: Mapping[str, Any], key: str, needed: _Types) -> list[Mapping[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: has no list '{key}', expected the format of COCO. {AGAIN}")
    seen: set[Any] = set()
    for number, entry in enumerate(entries):
        lacking = [name for name in needed if not isinstance(entry, dict) or name not in entry]
        if lacking:
            raise UserError(f"{path}: entry {number} of '{key}' has no '{lacking[0]}'. {AGAIN}")
        for name, kinds in needed.items():
            if not isinstance(entry[name], kinds):
                raise UserError(f"{path}: entry {number} of '{key}' has the {name} {entry[name]!r:.60}. {AGAIN}")
        if entry["id"] in seen:
            raise UserError(f"{path}: '{key}' has the id {entry['id']} twice. {AGAIN}")
        seen.add(entry["id"])
    return entries


def _picture(folder: Path, entry: Mapping[str, Any]) -> Pixels:
    path = folder / entry["file_name"]
    if path.parent != folder:
        raise UserError(f"{INSTANCES}: the file_name {entry['file_name']!r} leads out of {folder}. {AGAIN}")
    pixels = read_rgb(path)  # as stored, without the rotation of its EXIF data: the annotators saw it like this
    if pixels.shape[:2] != (entry["height"], entry["width"]):
        raise UserError(
            f"{path}: is {pixels.shape[1]}x{pixels.shape[0]} pixels but {INSTANCES} says {entry['width']}x"
            f"{entry['height']}. Get val2017.zip again; images that were resized do not fit their masks."
        )
    return pixels


def _excluded(path: str) -> frozenset[str]:
    if not path:
        return frozenset()
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        meant = file_that_is_meant(Path(path))
        raise UserError(f"option 'exclude': {path} cannot be read ({error}).{meant} Correct the path.") from None
    wrong = [line for line in lines if not line.isdecimal()]
    if wrong:
        raise UserError(f"option 'exclude': {path} has {wrong[0]!r}, expected one id of COCO a line. Correct it.")
    return frozenset(str(int(line)) for line in lines)


DATASET = Dataset(
    name="coco",
    title="Microsoft COCO 2017, validation part",
    home="https://cocodataset.org",
    licence="images: licences of Flickr, mostly non-commercial; annotations: CC BY 4.0",
    terms="The consortium does not own the images; each has the licence that its case names, and Flickr's terms.",
    files=(
        ExpectedFile(path=IMAGES, what="5,000 JPEG images", archive="val2017.zip", size=815585330,
                     url="http://images.cocodataset.org/zips/val2017.zip", md5="442b8da7639aecaf257c1dceb8ba8c80"),
        ExpectedFile(path=INSTANCES, what="masks and categories of objects", archive=ANNOTATIONS, size=252907541,
                     url=f"http://images.cocodataset.org/annotations/{ANNOTATIONS}",
                     md5="f4bbac642086de4f52a3fdda2de5fa2c"),
        ExpectedFile(path=CAPTIONS, what="five captions of each image", archive=ANNOTATIONS, size=252907541,
                     url=f"http://images.cocodataset.org/annotations/{ANNOTATIONS}",
                     md5="f4bbac642086de4f52a3fdda2de5fa2c"),
    ),
    by_hand="Read https://cocodataset.org/#termsofuse; the archives val2017.zip and annotations_trainval2017.zip are "
    "on https://cocodataset.org/#download.",
    build=build,
    images=images,
    options=CocoOptions,
    splits=("kind",),
)  # fmt: skip
