"""PIE-Bench (PnPInversion, ICLR 2024): 700 pictures of 512x512 pixels in ten types of edits, with prompts and masks.

`mapping_file.json` names the pictures below `annotation_images`. A mask is a list of runs over the pixels row by row,
alternately a start and a length. In their metrics the authors count the outermost pixels as edited, "to avoid
annotation errors in boundary": so does the background mask here, while editors get the mask as it was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.cases import Case, write_case
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import frame_of, safe_name
from editfrontier.data.pictures import read_rgb
from editfrontier.data.reading.build import raw_file
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.json_files import read_object

if TYPE_CHECKING:
    from editfrontier.data.framing import Mask

SIDE = 512
LICENCE = "on request by the authors' form; rights in the pictures not stated"
KEYS = ("image_path", "original_prompt", "editing_prompt", "editing_instruction", "editing_type_id", "mask")
Type = Literal[
    "random",
    "change_object",
    "add_object",
    "delete_object",
    "change_content",
    "change_pose",
    "change_color",
    "change_material",
    "change_background",
    "change_style",
]
TYPES: tuple[Type, ...] = get_args(Type)


@dataclass(frozen=True, kw_only=True)
class PieBenchOptions(Options):
    """Options of PIE-Bench.

    Attributes:
        types: types of edits, empty = all. "random" mixes the other nine.
    """

    types: tuple[Type, ...] = ()


def build(request: Request) -> list[Case]:
    """Return entries in an order that depends on the seed only."""
    options: PieBenchOptions = request.options
    path = raw_file(DATASET, request.raw, "mapping_file.json")
    pictures = raw_file(DATASET, request.raw, "annotation_images/")
    entries = read_mapping(path)
    kept = [name for name, entry in entries.items() if not options.types or _type(entry) in options.types]
    order = salted(kept, f"pie_bench:{request.seed}")
    return [_case(request, name, entries[name], path, pictures) for name in order[: request.cases]]


def read_mapping(path: Path) -> dict[str, dict[str, Any]]:
    """Read and check the entries of mapping_file.json by id; raise `UserError` that names file, entry and key."""
    content = read_object(path, "Get PIE-Bench's file again.")
    for name, entry in content.items():
        if not isinstance(entry, dict):
            raise UserError(f"{path}, entry {name}: is {entry!r:.60}, expected an object. Get the file again.")
        for key in KEYS:
            if key not in entry:
                near = did_you_mean(key, entry)
                raise UserError(f"{path}, entry {name}: has no '{key}'.{near} It is another data set or version.")
        _type(entry, f"{path}, entry {name}")
        for key in ("image_path", "original_prompt", "editing_prompt", "editing_instruction"):
            if not isinstance(entry[key], str) and (key, entry[key]) != ("editing_instruction", None):
                raise UserError(f"{path}, entry {name}: its {key} is {entry[key]!r:.60}, expected a text.")
    return content


def decode_mask(runs: Any, where: str) -> Mask:
    """Return a mask bool [512, 512] from runs, alternately a start and a length; a run that is too long is cut.

    Raises:
        UserError: `runs` is no such list; the message starts with `where`.
    """
    if isinstance(runs, str):
        raise UserError(
            f"{where}: its mask is a text, as in PIE-Bench++, whose prompts and masks differ (many are the whole "
            "picture). Get the original PIE-Bench."
        )
    whole = isinstance(runs, list) and all(isinstance(value, int) and not isinstance(value, bool) for value in runs)
    if not whole or len(runs) % 2 or any(value < 0 for value in runs):
        raise UserError(f"{where}: its mask is no list of starts and lengths, {runs!r:.60}. Get the file again.")
    if any(start >= SIDE * SIDE for start in runs[0::2]):
        raise UserError(
            f"{where}: a run of its mask starts behind the last of {SIDE * SIDE} pixels. Get the file again."
        )
    flat = np.zeros(SIDE * SIDE, dtype=np.bool_)
    for start, length in zip(runs[0::2], runs[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(SIDE, SIDE)


def _case(request: Request, name: str, entry: Mapping[str, Any], path: Path, pictures: Path) -> Case:
    where = f"{path}, entry {name}"
    file = _inside(pictures, entry["image_path"], where)
    image = read_rgb(file)
    if image.shape[:2] != (SIDE, SIDE):
        raise UserError(
            f"{file}: is {image.shape[1]}x{image.shape[0]}, expected {SIDE}x{SIDE} pixels, to which its mask belongs. "
            "Get the original picture."
        )
    mask = decode_mask(entry["mask"], where)
    edited = mask.copy()
    edited[[0, -1]] = edited[:, [0, -1]] = True
    frame = frame_of((SIDE, SIDE), request.options.size, "stretch")
    case_id = f"{request.task}-{safe_name([name])}"
    return write_case(
        request.folder,
        case_id,
        {
            "image": frame.image(image),
            "mask": frame.mask(mask) if mask.any() else None,
            "background_mask": _untouched(edited, request.options.size),
        },
        task=request.task,
        source_caption=_plain(entry["original_prompt"]),
        target_caption=_plain(entry["editing_prompt"]),
        instruction=(entry["editing_instruction"] or "").strip(),
        instruction_origin="free_form",
        edit_type=_type(entry),
        mask_origin="human",
        cluster=case_id,
        frame=frame.text(str(entry["image_path"])),
        licence=LICENCE,
    )


def _untouched(edited: Mask, size: int) -> Mask:
    """Return the pixels of the result that hold no part of an edited pixel, bool [size, size]: the border is narrow."""
    shares = Image.fromarray(edited.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    free: Mask = np.asarray(shares) < 1e-6
    return free


def _plain(prompt: str) -> str:
    """Return a prompt without the brackets around the words that differ."""
    return prompt.replace("[", "").replace("]", "").strip()


def _type(entry: Mapping[str, Any], where: str = "") -> str:
    number = str(entry["editing_type_id"])
    if number not in map(str, range(len(TYPES))):
        raise UserError(
            f"{where}: its editing_type_id is {number!r}, expected 0 to {len(TYPES) - 1}. Get the file again."
        )
    return TYPES[int(number)]


def _inside(folder: Path, name: str, where: str) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{where}: its image_path {name!r} leads out of {folder}. Get the original mapping_file.json.")
    return folder / name


DATASET = Dataset(
    name="pie_bench",
    title="PIE-Bench",
    home="https://github.com/cure-lab/PnPInversion",
    licence=LICENCE,
    terms="The authors give it out through a form, whose terms are not known here: read them there.",
    files=(
        ExpectedFile(path="mapping_file.json", what="700 entries with prompts and masks"),
        ExpectedFile(path="annotation_images/", what="the pictures, in folders by type of edit"),
    ),
    by_hand=(
        "Fill in the form that the README of https://github.com/cure-lab/PnPInversion links to, and put "
        "mapping_file.json and annotation_images into the folder of raw files. PIE-Bench++ is no substitute."
    ),
    build=build,
    options=PieBenchOptions,
    splits=("kind",),
)
