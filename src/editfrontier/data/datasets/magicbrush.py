"""MagicBrush (NeurIPS 2023): instructions by people, with masks, in sessions of one to three turns.

The dev split is public, as parquet files. The test split is an archive with a password that may not be passed on, so
the user unpacks it and names its folder (E18). Both layouts are read; the folders also hold captions.

A mask is stored as the source picture with an alpha channel, transparent where the edit is, sometimes in another
resolution than the picture.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.cases import Case, write_case, write_images
from editfrontier.data.cases import read_mask as read_case_mask
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import frame_of, safe_name
from editfrontier.data.pictures import alpha_mask, open_picture, read_rgb
from editfrontier.data.reading.build import raw_file
from editfrontier.data.reading.choice import salted
from editfrontier.data.reading.magicbrush_files import (
    IMAGES,
    SessionCaptions,
    Turn,
    image_files,
    read_captions,
    read_folder,
    read_images,
    read_index,
)

if TYPE_CHECKING:
    from editfrontier.data.framing import Mask, Pixels

log = logging.getLogger(__name__)

LICENCE = "CC BY 4.0 (MagicBrush); photos: MS-COCO, terms of Flickr"


@dataclass(frozen=True, kw_only=True)
class MagicBrushOptions(Options):
    """Options of MagicBrush.

    Attributes:
        split: "dev" (528 turns of 266 sessions, public) or "test" (1,053 turns of 535 sessions).
        test_folder: folder of the unpacked test archive; "" = the folder `test` of the raw files.
        turns: "single", every turn edits the data set's own source picture, or "chain", every turn edits the editor's
            result of the turn before (the authors' multi-turn setting).
        captions: "global" describe the whole picture, "local" the edit alone (the authors' CLIP-T); captions are empty
            without the caption files of the archive.
        fit: "crop" keeps the largest square around the mask, "stretch" the whole picture.
    """

    split: Literal["dev", "test"] = "dev"
    test_folder: str = ""
    turns: Literal["single", "chain"] = "single"
    captions: Literal["global", "local"] = "global"
    fit: Literal["crop", "stretch"] = "crop"


def build(request: Request) -> list[Case]:
    """Return the turns of sessions, whose order depends on the seed alone."""
    options: MagicBrushOptions = request.options
    folder = _split_folder(request.raw, options)
    captions = SessionCaptions()
    if folder is not None:
        captions = read_captions(folder)
        turns = read_folder(folder)
        chosen = choose(turns, request.cases, request.seed, options.turns)
        content: Iterator[tuple[Turn, tuple[Any, Any, Any]]] = ((turn, image_files(folder, turn)) for turn in chosen)
    else:
        files = _parquet_files(request.raw)
        chosen = choose(read_index(files), request.cases, request.seed, options.turns)
        content = read_images(files, chosen)
    order = {(turn.session, turn.number): place for place, turn in enumerate(chosen)}
    cases: dict[int, Case] = {}
    for turn, images in content:
        cases[order[turn.session, turn.number]] = _case(request, turn, images, captions)
    ordered = [cases[place] for place in sorted(cases)]
    return _chained(request, ordered) if options.turns == "chain" else ordered


def choose(turns: Sequence[Turn], count: int, seed: int, kind: str = "single") -> list[Turn]:
    """Return at most `count` turns: whole sessions in the order of a hash of seed and session, the last one cut to fit.

    Args:
        turns: all turns.
        count: at least 1.
        seed: seed of the order.
        kind: "chain" leaves out the turns after a missing one.

    Raises:
        UserError: a turn is repeated.
    """
    sessions: dict[str, dict[int, Turn]] = {}
    for turn in turns:
        session = sessions.setdefault(turn.session, {})
        if turn.number in session:
            raise UserError(
                f"MagicBrush, session {turn.session}: turn {turn.number} stands twice. Keep each raw file once: the "
                "same parquet file may lie there under two names."
            )
        session[turn.number] = turn
    chosen: list[Turn] = []
    for name in salted(sessions, f"magicbrush:{seed}"):
        session = sessions[name]
        numbers = sorted(session)
        if kind == "chain":
            numbers = [number for place, number in enumerate(numbers, start=1) if number == place]
            if len(numbers) < len(session):
                log.warning("MagicBrush, session %s: turn %d is missing, it ends before that", name, len(numbers) + 1)
        chosen += [session[number] for number in numbers]
    return chosen[:count]


def _split_folder(raw: Path, options: MagicBrushOptions) -> Path | None:
    """Return the unpacked archive of the split, None for parquet files."""
    place = raw / options.split
    if options.split == "test" and options.test_folder:
        place = Path(options.test_folder).expanduser()
    inner = [entry for entry in sorted(place.iterdir()) if entry.is_dir()] if place.is_dir() else []
    for folder in (place, *inner):
        if (folder / "edit_sessions.json").is_file():
            return folder
    if options.split == "dev":
        return None
    raise UserError(
        f"{place}: holds no edit_sessions.json, expected the unpacked test split of MagicBrush (images/, "
        f"edit_sessions.json and caption files). {DATASET.by_hand} Name its folder by the option `test_folder`."
    )


def _parquet_files(raw: Path) -> list[Path]:
    places = [raw] if list(raw.glob("dev-*.parquet")) else [raw_file(DATASET, raw, "data/")]
    files = sorted(places[0].glob("dev-*.parquet"))
    if not files:
        raise UserError(f"{places[0]}: holds no dev-*.parquet, expected four such files. {DATASET.by_hand}")
    counts = {match.group(1) for file in files if (match := re.search(r"-of-(\d+)", file.name))}
    if len(counts) == 1 and int(counts.copy().pop()) > len(files):
        raise UserError(
            f"{places[0]}: holds {len(files)} of {int(counts.pop())} files dev-*.parquet. Download the others. "
            f"{DATASET.by_hand}"
        )
    return files


def _case(request: Request, turn: Turn, images: tuple[Any, Any, Any], captions: SessionCaptions) -> Case:
    options: MagicBrushOptions = request.options
    where = f"MagicBrush, session {turn.session}, turn {turn.number}"
    names = [
        str(image) if isinstance(image, Path) else f"{where}, {role}"
        for image, role in zip(images, IMAGES, strict=True)
    ]
    source, target = (read_rgb(images[i], names[i]) for i in (0, 2))
    picture = (source.shape[0], source.shape[1])
    mask = read_mask(images[1], names[1], picture)
    # All pictures of a session share one frame, so that the content does not jump within a chain.
    about = mask if options.turns == "single" else None
    frame = frame_of(picture, request.options.size, options.fit, about)
    cluster = f"{request.task}-{safe_name([turn.session])}"
    request.note_source(cluster, source)
    case_id = f"{cluster}-t{turn.number}"
    framed = frame.mask(mask)
    return write_case(
        request.folder,
        case_id,
        {
            "image": frame.image(source),
            "mask": framed if framed.any() else None,
            "true_edit": frame.image(_like(target, picture)),
        },
        task=request.task,
        source_caption=captions.of(turn.session, turn.names[0], "global"),
        target_caption=captions.of(turn.session, turn.names[2], options.captions),
        instruction=turn.instruction,
        instruction_origin="free_form",
        edit_type="instruction",
        mask_origin="human",
        cluster=cluster,
        frame=frame.text(),
        split=options.split,
        licence=LICENCE,
    )


def _chained(request: Request, cases: Sequence[Case]) -> list[Case]:
    """Make the turns of a session a chain: each has the first picture, and the background of all turns so far."""
    size = (request.options.size, request.options.size)
    chained: list[Case] = []
    changed: dict[str, Mask] = {}
    sessions: dict[str, list[Case]] = {}
    for case in cases:
        steps = sessions.setdefault(case.cluster, [])
        steps.append(case)
        mask = read_case_mask(request.folder / case.mask, size) if case.mask else np.zeros(size, np.bool_)
        changed[case.cluster] = changed.get(case.cluster, np.zeros(size, np.bool_)) | mask
        path = write_images(request.folder, case.case_id, {"background_mask": ~changed[case.cluster]})[
            "background_mask"
        ]
        if len(steps) > 1:
            (request.folder / case.image).unlink()  # the data set's source of this turn, which no editor sees
        chained.append(replace(case, image=steps[0].image, background_mask=path, chain=case.cluster, step=len(steps)))
    return chained


def read_mask(source: Path | bytes, where: str, picture: tuple[int, int]) -> Mask:
    """Return the mask of an edit, bool [H, W] in the size of its picture: the transparent pixels.

    Args:
        source: the mask as it is published, of any resolution.
        where: start of messages.
        picture: (height, width).

    Raises:
        UserError: the mask is no image, has no alpha channel, or another aspect ratio than the picture.
    """
    image = open_picture(source, where)
    clear = alpha_mask(image)
    if clear is None:
        raise UserError(
            f"{where}: has no alpha channel, expected the picture with a transparent area where the edit is. It was "
            "converted on the way: get the original file."
        )
    if clear.shape == picture:
        return clear
    if abs(clear.shape[0] * picture[1] / (clear.shape[1] * picture[0]) - 1) > 0.02:
        raise UserError(
            f"{where}: is {clear.shape[1]}x{clear.shape[0]} but its image is {picture[1]}x{picture[0]} pixels, "
            "expected the same shape. Get the original files."
        )
    # As the authors advise: resize the alpha channel, then threshold it at one half.
    alpha = image.convert("RGBA").getchannel("A").resize(picture[::-1], Image.Resampling.BILINEAR)
    resized: Mask = np.asarray(alpha) < 128
    return resized


def _like(target: Pixels, picture: tuple[int, int]) -> Pixels:
    """Return the edited picture in the size of its source; DALL-E returned some in a larger size."""
    if target.shape[:2] == picture:
        return target
    return np.asarray(Image.fromarray(target).resize(picture[::-1], Image.Resampling.LANCZOS), dtype=np.uint8)


DATASET = Dataset(
    name="magicbrush",
    title="MagicBrush",
    home="https://huggingface.co/datasets/osunlp/MagicBrush",
    licence=LICENCE,
    terms=(
        "CC BY 4.0. The unpacked test split must not be put online, and no split may be trained on that is then "
        "evaluated; the photos are from MS-COCO."
    ),
    files=(
        ExpectedFile(path="data/", what="four files dev-0000?-of-00004-*.parquet, 1.5 GB"),
        ExpectedFile(
            path="test/", what="the unpacked test archive: images/, edit_sessions.json, captions", optional=True
        ),
    ),
    by_hand=(
        "Download the files data/dev-*.parquet from https://huggingface.co/datasets/osunlp/MagicBrush into the folder "
        "`data` of the raw files. The test split is a zip file behind the link in the README of "
        "https://github.com/OSU-NLP-Group/MagicBrush (password MagicBrush), to be unpacked into the folder `test`."
    ),
    build=build,
    options=MagicBrushOptions,
    splits=("kind",),
)
