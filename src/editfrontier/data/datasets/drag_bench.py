"""DragBench-DR and DragBench-SR (RegionDrag, ECCV 2024): the samples of two drag benchmarks, with regions.

A sample is a folder with `original_image.png`, `meta_data.pkl` (a few handles and their targets) and
`meta_data_region.pkl` (the same drag as regions: a pair of points for each pixel). Pickles can run programs;
`safe_pickle` reads them and runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import safe_name, same_size
from editfrontier.data.pictures import read_rgb
from editfrontier.data.reading.build import raw_file
from editfrontier.data.reading.safe_pickle import load_plain

if TYPE_CHECKING:
    from editfrontier.data.cases import Case
    from editfrontier.data.pictures import Mask
    from editfrontier.data.reading.published_drags import DragSample

FOLDERS = {"dr": "dragbench-dr", "sr": "dragbench-sr"}
LICENCE = "Apache-2.0"
_KEYS = ("prompt", "points", "mask")


@dataclass(frozen=True, kw_only=True)
class DragBenchOptions(Options):
    """Options of DragBench.

    Attributes:
        subset: "dr" (205 samples, of DragDiffusion's benchmark), "sr" (100, of SDE-Drag's), or "both".
        fit: "stretch" makes the sides of the whole picture equal and so keeps every region; "crop" keeps the largest
            square around the regions, and fails if it does not hold them.
    """

    subset: Literal["dr", "sr", "both"] = "dr"
    fit: Literal["crop", "stretch"] = "stretch"


def build(request: Request) -> list[Case]:
    """Return the first samples by name."""
    from editfrontier.data.reading.published_drags import drag_case

    options: DragBenchOptions = request.options
    parts = ("dr", "sr") if options.subset == "both" else (options.subset,)
    named = [pair for part in parts for pair in sample_folders(request.raw, part)]
    return [drag_case(read_sample(folder, name), request) for name, folder in named[: request.cases]]


def sample_folders(raw: Path, part: str) -> list[tuple[str, Path]]:
    """Return names and folders of the samples of a part, "dr" or "sr", by name, at any depth.

    Raises:
        UserError: the part is not there or holds no sample, or two samples have one name.
    """
    place = raw_file(DATASET, raw, f"{FOLDERS[part]}/")
    folders = sorted(file.parent for file in place.rglob("original_image.png"))
    if not folders:
        raise UserError(f"{place}: holds no sample, expected folders with original_image.png. {DATASET.by_hand}")
    named: dict[str, Path] = {}
    for folder in folders:
        name = safe_name([part, *folder.relative_to(place).parts])
        if name in named:
            raise UserError(f"{folder}: has the same name as {named[name]} in a case id. Rename one of the folders.")
        named[name] = folder
    return list(named.items())


def read_sample(folder: Path, name: str) -> DragSample:
    """Read the sample in a folder, with its name in case ids.

    Raises:
        UserError: a file is missing, malformed, of another size, or a pickle of more than plain data.
    """
    from editfrontier.data.reading.drag_pairs import regions_of, split_pairs
    from editfrontier.data.reading.published_drags import DragSample, with_handles

    image = read_rgb(folder / "original_image.png")
    picture = (image.shape[0], image.shape[1])
    file = folder / "meta_data_region.pkl"
    content = read_meta(file)
    sources, targets = split_pairs(content["points"], str(file))
    handles = folder / "meta_data.pkl"
    starts, ends = split_pairs(read_meta(handles)["points"], str(handles))
    pairs = [((x, y), (u, v)) for (x, y), (u, v) in zip(starts.tolist(), ends.tolist(), strict=True)]
    regions, left_out = with_handles(regions_of(sources, targets, picture, str(file)), pairs)
    prompt = str(content["prompt"]).strip()
    return DragSample(
        name=name,
        image=image,
        regions=regions,
        mask=_mask(content["mask"], picture, file),
        source_caption=prompt,
        target_caption=prompt,  # a drag moves things, the text stays true
        instruction="",
        licence=LICENCE,
        where=str(folder),
        left_out=left_out,
    )


def read_meta(file: Path) -> dict[str, Any]:
    """Read the pickle of a sample: a dict with prompt, points and mask."""
    content = load_plain(file)
    if not isinstance(content, dict) or any(key not in content for key in _KEYS):
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{file}: holds {held}, expected {', '.join(_KEYS)}. Unpack the data set again.")
    return content


def _mask(value: Any, picture: tuple[int, int], file: Path) -> Mask | None:
    """Return where the picture may change; None where nobody drew, which the labelling tool writes as zeros."""
    array = np.asarray(value)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise UserError(f"{file}: 'mask' is no array [height, width] of numbers. Unpack the data set again.")
    mask = same_size(array > 0, picture, f"{file}, mask")
    return mask if mask.any() else None


DATASET = Dataset(
    name="drag_bench",
    title="DragBench-DR and DragBench-SR",
    home="https://github.com/Visual-AI/RegionDrag",
    licence=LICENCE,
    terms="Apache-2.0 by the tag of its page; the rights in the pictures themselves are not stated there.",
    files=(
        ExpectedFile(path="dragbench-dr/", what="205 folders of samples in folders of ten categories"),
        ExpectedFile(path="dragbench-sr/", what="100 folders of samples", optional=True),
    ),
    by_hand=(
        "Download drag_data from the Google Drive link in the README of https://github.com/Visual-AI/RegionDrag, or "
        "from https://huggingface.co/datasets/LuJingyi/DragBench, and put its folders dragbench-dr and dragbench-sr "
        "in the folder of raw files."
    ),
    build=build,
    options=DragBenchOptions,
)
