"""MagicBrush (NeurIPS 2023): instructions that people wrote, with masks, in sessions of one to three turns.

The dev split is public, as parquet files. The test split is an archive with a password that may not be passed on, so
that it is read from where the user unpacked it (E18). Both layouts are read; the one with folders has captions beside
it.

A mask is no mask: it is the source picture with an alpha channel, transparent where the edit is, and sometimes of
another resolution than the picture.
"""

from __future__ import annotations

import hashlib
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
from editfrontier.data.cases import Case, write_images
from editfrontier.data.cases import read_mask as read_png_mask
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import frame_of, safe_name
from editfrontier.data.pictures import alpha_mask, open_picture, read_rgb
from editfrontier.data.reading.build import raw_file
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
        test_folder: where the test archive was unpacked; "" = the folder `test` of the raw files.
        turns: "single", every turn edits the picture that the data set gives it, or "chain", every turn edits what the
            editor made of the turn before it (the authors' multi-turn setting).
        captions: "global" describe the whole picture, "local" the edit alone (the authors' CLIP-T); both need the
            caption files of the archive, without which captions are empty.
        fit: "crop" keeps the largest square around the mask, "stretch" the whole picture.
    """

    split: Literal["dev", "test"] = "dev"
    test_folder: str = ""
    turns: Literal["single", "chain"] = "single"
    captions: Literal["global", "local"] = "global"
    fit: Literal["crop", "stretch"] = "crop"


def build(request: Request) -> list[Case]:
    """Return the turns of sessions in an order that depends on the seed only, all turns of a session together."""
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
    made = [cases[place] for place in sorted(cases)]
    return _chained(request, made) if options.turns == "chain" else made


def choose(turns: Sequence[Turn], count: int, seed: int, kind: str = "single") -> list[Turn]:
    """Return at most `count` turns: whole sessions in the order of a hash of seed and session, the last one cut to fit.

    Args:
        turns: all turns.
        count: at least 1.
        seed: of the order.
        kind: "chain" leaves out what stands behind a turn that is missing.

    Raises:
        UserError: a turn stands twice.
    """
    sessions: dict[str, dict[int, Turn]] = {}
    for turn in turns:
        own = sessions.setdefault(turn.session, {})
        if turn.number in own:
            raise UserError(
                f"MagicBrush, session {turn.session}: turn {turn.number} stands twice. Keep each raw file once: the "
                "same parquet file may lie there under two names."
            )
        own[turn.number] = turn
    ordered = sorted(sessions, key=lambda name: hashlib.sha256(f"magicbrush:{seed}:{name}".encode()).hexdigest())
    chosen: list[Turn] = []
    for name in ordered:
        own = sessions[name]
        numbers = sorted(own)
        if kind == "chain":
            numbers = [number for place, number in enumerate(numbers, start=1) if number == place]
            if len(numbers) < len(own):
                log.warning("MagicBrush, session %s: turn %d is missing, it ends before that", name, len(numbers) + 1)
        chosen += [own[number] for number in numbers]
    return chosen[:count]


def _split_folder(raw: Path, options: MagicBrushOptions) -> Path | None:
    """The unpacked archive of the split, None for parquet files."""
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
        f"edit_sessions.json and caption files). {DATASET.by_hand} Give its folder by the option `test_folder`."
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
        str(one) if isinstance(one, Path) else f"{where}, {role}" for one, role in zip(images, IMAGES, strict=True)
    ]
    source, target = (read_rgb(images[i], names[i]) for i in (0, 2))
    picture = (source.shape[0], source.shape[1])
    mask = read_mask(images[1], names[1], picture)
    # The pictures of a session share the frame of its first one, or a chain would jump.
    about = mask if options.turns == "single" else None
    frame = frame_of(picture, request.options.size, options.fit, about)
    cluster = f"{request.task}-{safe_name([turn.session])}"
    request.note_source(cluster, source)
    case_id = f"{cluster}-t{turn.number}"
    written: dict[str, Any] = {"image": frame.image(source), "true_edit": frame.image(_like(target, picture))}
    if (framed := frame.mask(mask)).any():
        written["mask"] = framed
    paths = write_images(request.folder, case_id, written)
    return Case(
        case_id=case_id,
        task=request.task,
        image=paths["image"],
        mask=paths.get("mask", ""),
        true_edit=paths["true_edit"],
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
    made: list[Case] = []
    changed: dict[str, Any] = {}
    sessions: dict[str, list[Case]] = {}
    for case in cases:
        steps = sessions.setdefault(case.cluster, [])
        steps.append(case)
        own = read_png_mask(request.folder / case.mask, size) if case.mask else np.zeros(size, np.bool_)
        changed[case.cluster] = changed.get(case.cluster, np.zeros(size, np.bool_)) | own
        paths = write_images(request.folder, case.case_id, {"background_mask": ~changed[case.cluster]})
        if len(steps) > 1:
            (request.folder / case.image).unlink()  # what the data set edits at this turn; no editor sees it
        background = paths["background_mask"]
        made.append(
            replace(case, image=steps[0].image, background_mask=background, chain=case.cluster, step=len(steps))
        )
    return made


def read_mask(source: Path | bytes, where: str, picture: tuple[int, int]) -> Mask:
    """Return where an edit is, bool [H, W] of the size of its picture: where the alpha channel is transparent.

    Args:
        source: the mask as it is published, of any resolution.
        where: for messages.
        picture: (height, width).

    Raises:
        UserError: it is no image, has no alpha channel, or another shape than the picture.
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
    # As the authors advise: resize the alpha channel, then cut it at one half.
    alpha = image.convert("RGBA").getchannel("A").resize(picture[::-1], Image.Resampling.BILINEAR)
    found: Mask = np.asarray(alpha) < 128
    return found


def _like(target: Pixels, picture: tuple[int, int]) -> Pixels:
    """Return the edited picture in the size of its source; DALL-E gave some back larger."""
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
