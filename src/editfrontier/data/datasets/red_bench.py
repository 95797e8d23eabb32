"""ReD-Bench (DragFlow, ICLR 2026): pictures with regions to drag, in folders of a few files each.

A sample is a folder whose name is one letter and digits. It holds `original_image.png`, `operation.png` (all regions in
one mask, white), and `instruction.json`. The target regions and the area that may change are rebuilt from these as the
authors' code does, because their own copies (`temp/`, `mask.png`) may be missing.

The paper says 500 annotations; 120 are published (E17).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.fetching.files import ExpectedFile, data_folder
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import same_size
from editfrontier.data.pictures import grey, open_picture, read_rgb
from editfrontier.data.reading.build import raw_file
from editfrontier.data.reading.json_files import read_object

if TYPE_CHECKING:
    from editfrontier.data.cases import Case
    from editfrontier.data.pictures import Mask
    from editfrontier.data.reading.published_drags import DragSample
    from editfrontier.data.regions import Region

TASKS = {
    "transformation": "relocation",
    "relocation": "relocation",
    "deformation": "deformation",
    "rotation": "rotation",
}
LEAST_AREA = 5  # a contour of a smaller area is a speck of the drawing (the authors' threshold)
LICENCE = "DragFlow (NTUITIVE): non-commercial use only"
_NAME = re.compile(r"^[A-Za-z]\d+$")
_FAR = 1e6  # pixels, more than any picture has; NaN and infinity, which JSON may hold, are not smaller


@dataclass(frozen=True, kw_only=True)
class RedBenchOptions(Options):
    """Options of ReD-Bench.

    Attributes:
        fit: "stretch" makes the sides of the whole picture equal and so keeps every region; "crop" keeps the largest
            square around the regions, and fails if it does not hold them.
        masks: "rebuilt" from the regions, or "published": the area `mask.png` that the authors ship for their metrics.
        caption_words: number of words of the captions that are kept, 0 = all. The texts have 40 to 70 words, and the
            text encoder of Stable Diffusion reads 77 tokens; a case with a longer text fails there.
        pool: parts of DragBench, "dr" and "sr", that follow ReD-Bench.
        drag_bench_root: folder of DragBench's raw files for `pool`; "" as for the option `root` there.
    """

    fit: Literal["crop", "stretch"] = "stretch"
    masks: Literal["rebuilt", "published"] = "rebuilt"
    caption_words: int = 0
    pool: tuple[Literal["dr", "sr"], ...] = ()
    drag_bench_root: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.caption_words < 0:
            raise UserError(f"option 'caption_words': {self.caption_words}, expected at least 0. Correct the value.")


def build(request: Request) -> list[Case]:
    """Return the first samples by number, then those of the pool."""
    from editfrontier.data.reading.published_drags import drag_case

    options: RedBenchOptions = request.options
    cases = []
    for folder in sample_folders(request.raw)[: request.cases]:
        sample = read_sample(folder, masks=options.masks, caption_words=options.caption_words)
        cases.append(drag_case(sample, request))
    if options.pool and len(cases) < request.cases:
        from editfrontier.data.datasets import drag_bench

        root = data_folder("drag_bench", options.drag_bench_root)
        named = [pair for part in dict.fromkeys(options.pool) for pair in drag_bench.sample_folders(root, part)]
        for name, folder in named[: request.cases - len(cases)]:
            cases.append(drag_case(drag_bench.read_sample(folder, name), request))
    return cases


def sample_folders(raw: Path) -> list[Path]:
    """Return the folders of the samples by number and name, in `ReD_Bench` or in the folder itself."""
    places = [raw] if _samples(raw) else [raw_file(DATASET, raw, "ReD_Bench/")]
    folders = _samples(places[0])
    if not folders:
        raise UserError(
            f"{places[0]}: holds no sample, expected folders whose names are a letter and digits, such as a12. "
            f"{DATASET.by_hand}"
        )
    return folders


def _samples(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    samples = [entry for entry in folder.iterdir() if entry.is_dir() and _NAME.match(entry.name)]
    return sorted(samples, key=lambda entry: (int(entry.name[1:]), entry.name))


def read_sample(folder: Path, *, masks: str = "rebuilt", caption_words: int = 0) -> DragSample:
    """Read the sample in a folder; `masks` and `caption_words` as in `RedBenchOptions`.

    Raises:
        UserError: a file is missing or malformed, or an operation matches no region; the message names it.
    """
    from editfrontier.data.reading.published_drags import DragSample

    image = read_rgb(folder / "original_image.png")
    picture = (image.shape[0], image.shape[1])
    drawn = _drawn(folder / "operation.png", picture, 127)
    content = read_object(folder / "instruction.json", "Clone the data set again.")
    regions, left_out = read_regions(content, drawn, folder / "instruction.json")
    before = _text(content, "background_prompt", folder / "instruction.json")
    change = _text(content, "editing_prompt", folder / "instruction.json")
    mask = None
    if masks == "published":
        mask = _drawn(folder / "mask.png", picture, 0)  # the authors count every pixel above 0 as editable
    return DragSample(
        name=folder.name,
        image=image,
        regions=regions,
        mask=mask,
        source_caption=_shortened(before, caption_words),
        # The authors' target prompt: the content of the picture, then the change, which is never cut.
        target_caption=f"{_shortened(before, caption_words, len(change.split()))} {change}".strip(),
        instruction=change,
        licence=LICENCE,
        where=str(folder),
        left_out=left_out,
    )


def _drawn(file: Path, picture: tuple[int, int], above: int) -> Mask:
    """Read a drawing of the size of its picture: bool [H, W], True where it is brighter than a level of 0 to 255."""
    return same_size(grey(open_picture(file), where=str(file)) > above, picture, str(file))


def _shortened(text: str, words: int, taken: int = 0) -> str:
    """Return the first `words` - `taken` words of a text; the whole text if `words` is 0."""
    return " ".join(text.split()[: max(words - taken, 0)]) if words else text


def read_regions(content: dict[str, Any], drawn: Mask, file: Path) -> tuple[tuple[Region, ...], int]:
    """Read the operations of a sample, each with the part of the drawing that it moves.

    Args:
        content: content of `instruction.json`.
        drawn: bool [H, W], all regions.
        file: the file that messages name.

    Returns:
        The regions in the authors' order, and the number of handles that lie in none of them.

    Source:
        DragFlow: the external contours of the drawing are its regions, and an operation moves the region that holds its
        first centroid. A deformation moves like a relocation. The map takes one centroid to the other, as in their
        metrics; their masks of targets start from the mean of the pixels, which is at most a pixel off.
    """
    from editfrontier.data.reading.published_drags import rotation, translation, with_handles
    from editfrontier.data.regions import Region, holds, warp_mask

    operations = content.get("region_operations")
    if not isinstance(operations, dict) or not operations:
        raise UserError(f"{file}: 'region_operations' holds no operation, expected at least one. Get the file again.")
    parts = _parts(drawn)
    regions = []
    for key in sorted(operations):
        where, operation = f"{file}, operation {key!r}", operations[key]
        kind = _kind(operation, where)
        start, end = _centroids(operation, where)
        source = next((part for part in parts if holds(part, start)), None)
        if source is None:
            raise UserError(
                f"{where}: its first centroid ({start[0]:g}, {start[1]:g}) lies in none of the {len(parts)} regions of "
                "operation.png. Get both files again."
            )
        anchor = None
        if kind == "rotation":
            anchor = _anchor(operation, where)
            affine = rotation(anchor, _turn(start, end, anchor, where))
        else:
            affine = translation(end[0] - start[0], end[1] - start[1])
        regions.append(Region(kind, source, affine, warp_mask(source, affine), (), anchor))
    return with_handles(regions, _handles(content, file))


def _parts(drawn: Mask) -> list[Mask]:
    """Return the drawn regions, without holes and specks: the filled external contours."""
    import cv2

    contours, _ = cv2.findContours(drawn.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for contour in contours:
        if cv2.contourArea(contour) >= LEAST_AREA:
            filled = np.zeros(drawn.shape, np.uint8)
            cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
            parts.append(filled.astype(bool))
    return parts


def _turn(start: tuple[float, float], end: tuple[float, float], anchor: tuple[float, float], where: str) -> float:
    """Return the angle from `start` to `end` around the anchor, in (-pi, pi]."""
    if start == anchor or end == anchor:
        raise UserError(f"{where}: a centroid lies on the anchor, so its rotation has no angle. Get the file again.")
    turn = math.atan2(end[1] - anchor[1], end[0] - anchor[0]) - math.atan2(start[1] - anchor[1], start[0] - anchor[0])
    return math.remainder(turn, 2 * math.pi)


def _kind(operation: Any, where: str) -> str:
    if not isinstance(operation, dict):
        raise UserError(f"{where}: is {operation!r}, expected an object with task and centroids. Get the file again.")
    task = operation.get("task")
    if not isinstance(task, str) or task not in TASKS:
        near = did_you_mean(task, TASKS) if isinstance(task, str) else ""
        raise UserError(f"{where}: its task is {task!r}, expected one of {', '.join(TASKS)}.{near} Get the file again.")
    return TASKS[task]


def _centroids(operation: dict[str, Any], where: str) -> tuple[tuple[float, float], tuple[float, float]]:
    pair = operation.get("centroids")
    if not isinstance(pair, list) or len(pair) != 2:
        raise UserError(f"{where}: 'centroids' is {pair!r}, expected two points. Get the file again.")
    return _point(pair[0], where), _point(pair[1], where)


def _anchor(operation: dict[str, Any], where: str) -> tuple[float, float]:
    anchor = operation.get("anchors")
    if anchor is None:
        raise UserError(f"{where}: is a rotation without 'anchors', expected the point that stays. Get the file again.")
    return _point(anchor, where)


def _point(value: Any, where: str) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2
    if not numbers or not all(isinstance(part, int | float) and abs(part) < _FAR for part in value):
        raise UserError(f"{where}: {value!r} is no point [x, y]. Get the file again.")
    return float(value[0]), float(value[1])


def _handles(content: dict[str, Any], file: Path) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    points = content.get("point_operations") or {}
    if not isinstance(points, dict):
        raise UserError(f"{file}: 'point_operations' is {points!r:.60}, expected an object. Get the file again.")
    starts, ends = points.get("begin_points") or [], points.get("target_points") or []
    if not isinstance(starts, list) or not isinstance(ends, list):
        raise UserError(f"{file}: its begin_points or target_points are no list. Get the file again.")
    if len(starts) != len(ends):
        raise UserError(
            f"{file}: has {len(starts)} begin_points and {len(ends)} target_points, expected as many. Get the file "
            "again."
        )
    return [(_point(start, str(file)), _point(end, str(file))) for start, end in zip(starts, ends, strict=True)]


def _text(content: dict[str, Any], key: str, file: Path) -> str:
    text = content.get(key)
    if not isinstance(text, str):
        raise UserError(f"{file}: '{key}' is {text!r}, expected a text. Get the file again.")
    return text.strip()


DATASET = Dataset(
    name="red_bench",
    title="ReD-Bench",
    home="https://huggingface.co/datasets/Edennnnn/ReD_Bench",
    licence=LICENCE,
    terms=(
        "Non-commercial use only, by the licence of the DragFlow repository, whose clauses on passing the data on "
        "contradict each other; the licence that the page of the data set names is not verified."
    ),
    files=(ExpectedFile(path="ReD_Bench/", what="120 folders of samples, about 200 MB"),),
    by_hand=(
        "Run `git lfs install` and `git clone https://huggingface.co/datasets/Edennnnn/ReD_Bench` in the folder of raw "
        "files."
    ),
    build=build,
    options=RedBenchOptions,
)
