"""Ready-made edits: files that were made elsewhere, by a closed service for example, scored like those of an editor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from editfrontier.base.errors import UserError, composed
from editfrontier.data.cases import PICTURE_ENDINGS
from editfrontier.data.pictures import read_rgb
from editfrontier.editing.editor import EditBatch, Editor
from editfrontier.editing.origin import origins

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from editfrontier.data.cases import Case
    from editfrontier.data.pictures import Pixels
    from editfrontier.editing.origin import Origin

VARIABLE = "EDITFRONTIER_READY_MADE"
SHAPE_TOLERANCE = 0.02
SHOWN = 5
"""Names that a line of the log lists."""

Files = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class ReadyMadeParams:
    """Where ready-made edits lie; no model takes part.

    Attributes:
        folder: name of a folder of edits in the folder of all of them, which is `$EDITFRONTIER_READY_MADE`, or
            `ready_made` where that is not set. An edit is called by the id of its case, with or without the task before
            it, or by the name of its picture where only one case has that; its ending is one of `PICTURE_ENDINGS`.
        resize: whether an edit of another size is resized (Lanczos); else such a case fails. One of the size of the
            whole picture is cropped and resized as its source was, in any case. One of another shape fails.
    """

    folder: str = "edits"
    resize: bool = False

    def __post_init__(self) -> None:
        if not self.folder or Path(self.folder).name != self.folder or self.folder == "..":
            raise UserError(
                f"hyperparameter 'folder': {self.folder!r}, expected the name of a folder in {home()}. Put the edits "
                f"there, or set the environment variable {VARIABLE} to the folder above."
            )


def home() -> Path:
    """Return the folder of all folders of ready-made edits."""
    return Path(os.environ.get(VARIABLE) or "ready_made").expanduser()


def edit(model: Any, batch: EditBatch, params: ReadyMadeParams) -> Float[Tensor, "batch 3 height width"]:
    """Read the edits of a batch."""
    from editfrontier.data.pixels import to_images

    assert batch.origins is not None
    size = (batch.images.shape[2], batch.images.shape[3])
    folder = home() / params.folder
    files = edits_in(folder)
    edits = [read_edit(folder, files, origin, size, params.resize) for origin in batch.origins]
    return to_images(edits).to(batch.images.device)


def edits_in(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of a folder by their names without endings; raise `UserError` if it is not there."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder of ready-made edits. Make it, or set {VARIABLE} to the folder above it."
        )
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICTURE_ENDINGS and not file.name.startswith(".") and file.is_file():
            files.setdefault(composed(file.stem), []).append(file)
    return files


def _called(files: Files, origin: Origin) -> list[Path]:
    return [file for name in origin.names for file in files.get(composed(name), ())]


def survey(cases: Sequence[Case], params: ReadyMadeParams) -> list[str]:
    """Return lines on the cases of a task that have no file, and on files that belong to no case.

    Raises:
        UserError: no case has a file, or the folder is not there.
    """
    folder = home() / params.folder
    files, known = edits_in(folder), origins(cases)
    used = {name: _called(files, origin) for name, origin in known.items()}
    taken = {file for edits in used.values() for file in edits}
    free = [file.name for group in files.values() for file in group if file not in taken]
    missing = [name for name, edits in used.items() if not edits]
    if missing and len(missing) == len(cases):
        wanted = " or ".join(f"{name}.png" for name in known[missing[0]].names)
        held = f"holds {_first_names(free)}" if free else "holds no picture"
        raise UserError(
            f"{folder}: no file in it is called like one of the {len(cases)} cases; it {held}, expected {wanted} for "
            "the first case. Rename the files; the column case_id of the case table lists the names."
        )
    lines = []
    if missing:
        lines.append(f"{len(missing)} of {len(cases)} cases have no edit in {folder}: {_first_names(missing)}")
    if free:
        lines.append(f"{len(free)} files in {folder} belong to no case: {_first_names(free)}")
    return lines


def _first_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def read_edit(folder: Path, files: Files, origin: Origin, size: tuple[int, int], resize: bool) -> Pixels:
    """Read one edit.

    Args:
        origin: names of the case, and the frame of its source in the user's picture.
        size: (height, width) of its source.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UserError: it is missing, there twice, unreadable, or of another size or shape.
    """
    named = _called(files, origin)
    if not named:
        others = "".join(f" or {name}.png" for name in origin.names[1:])
        raise UserError(f"{folder / origin.names[0]}.png{others}: there is no such ready-made edit. Put it there.")
    if len(named) > 1:
        raise UserError(f"{named[0]} and {named[1].name}: two ready-made edits of one case. Keep one of them.")
    pixels = read_rgb(named[0], upright=True)
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    frame = origin.frame if origin.frame and size == (origin.frame.size, origin.frame.size) else None
    if frame and (height, width) == frame.picture:
        return frame.scaled_image(pixels)
    what = f"{named[0]}: is {width}x{height} but its source is {size[1]}x{size[0]} pixels"
    if frame:
        what += f", cropped from {frame.picture[1]}x{frame.picture[0]}"
    as_source = _unlike((height, width), size)
    as_picture = _unlike((height, width), frame.picture) if frame else np.inf
    if min(as_source, as_picture) > SHAPE_TOLERANCE:
        raise UserError(f"{what}, which is another shape. Crop it to what the source shows.")
    if not resize:
        raise UserError(f"{what}. Resize it, or give the hyperparameter `resize: true`.")
    if frame and as_picture < as_source:
        return frame.scaled_image(pixels)
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def _unlike(shape: tuple[int, int], other: tuple[int, int]) -> float:
    """Return how much two shapes (height, width) differ: 0 for the same ratio of their sides."""
    return abs(shape[0] * other[1] / (shape[1] * other[0]) - 1)


def fingerprint(params: ReadyMadeParams) -> str:
    """Return a hash of the names and contents of the edits, so that changed files are scored anew."""
    state = hashlib.sha256()
    folder = home() / params.folder
    for group in edits_in(folder).values() if folder.is_dir() else ():
        for file in group:
            about = file.stat()
            state.update(file.name.encode() + b"\0" + _content_hash(file, about.st_size, about.st_mtime_ns))
    return state.hexdigest()[:12]


@cache
def _content_hash(file: Path, size: int, changed: int) -> bytes:
    """Return the sha256 of a file; each job of a graph asks for all of them."""
    return hashlib.sha256(file.read_bytes()).digest()


EDITOR = Editor(
    name="ready_made",
    label="Ready-made edits",
    colour="#0A3D62",
    marker="D",
    params=ReadyMadeParams,
    edit=edit,
    needs=frozenset({"origin"}),
    fingerprint=fingerprint,
    survey=survey,
)
