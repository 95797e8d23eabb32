"""Ready-made edits: files that were made elsewhere, by a closed service for example, scored like those of an editor."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.cases import PICTURE_ENDINGS
from editfrontier.editors import EditBatch, Editor
from editfrontier.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from editfrontier.editing.inputs import Pixels

VARIABLE = "EDITFRONTIER_READY_MADE"
SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True)
class ReadyMadeParams:
    """Where ready-made edits lie; no model takes part.

    Attributes:
        folder: name of a folder of edits in the folder of all of them, which is `$EDITFRONTIER_READY_MADE`, or
            `ready_made` where that is not set. An edit is called <case id>.png (or another of `PICTURE_ENDINGS`).
        resize: whether an edit of another size is resized to its source (Lanczos); else such a case fails. One of
            another shape fails in any case.
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


def edit(model: Any, batch: EditBatch, params: ReadyMadeParams) -> Tensor:
    """Read the edits of a batch."""
    from editfrontier.editing.inputs import to_images

    size = (batch.images.shape[2], batch.images.shape[3])
    found = [read_edit(home() / params.folder, case_id, size, params.resize) for case_id in batch.case_ids]
    return to_images(found).to(batch.images.device)


def read_edit(folder: Path, case_id: str, size: tuple[int, int], resize: bool) -> Pixels:
    """Read one edit.

    Args:
        folder: of the edits.
        case_id: of the case.
        size: (height, width) of its source.
        resize: whether an edit of another size is resized.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UserError: it is missing, there twice, unreadable, or of another size or shape.
    """
    import numpy as np
    from PIL import Image

    from editfrontier.pictures import read_rgb

    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder of ready-made edits. Make it, or set {VARIABLE} to the folder above it."
        )
    endings = (*PICTURE_ENDINGS, *(ending.upper() for ending in PICTURE_ENDINGS))
    named = [file for ending in endings if (file := folder / f"{case_id}{ending}").is_file()]
    files = list({file.stat().st_ino: file for file in named}.values())  # some disks take .png and .PNG for the same
    if not files:
        raise UserError(f"{folder / case_id}.png: there is no such ready-made edit. Put it there.")
    if len(files) > 1:
        raise UserError(f"{files[0]} and {files[1].name}: two ready-made edits of one case. Keep one of them.")
    pixels = read_rgb(files[0], upright=True)
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    what = f"{files[0]}: is {width}x{height} but its source is {size[1]}x{size[0]} pixels"
    if abs(height * size[1] / (width * size[0]) - 1) > SHAPE_TOLERANCE:
        raise UserError(f"{what}, which is another shape. Crop it to what the source shows.")
    if not resize:
        raise UserError(f"{what}. Resize it, or give the hyperparameter `resize: true`.")
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def fingerprint(params: ReadyMadeParams) -> str:
    """Return a hash of the names and contents of the edits, so that changed files are scored anew."""
    state = hashlib.sha256()
    folder = home() / params.folder
    if folder.is_dir():
        for file in sorted(
            entry for entry in folder.iterdir() if entry.suffix.lower() in PICTURE_ENDINGS and entry.is_file()
        ):
            about = file.stat()
            state.update(file.name.encode() + b"\0" + _content_hash(file, about.st_size, about.st_mtime_ns))
    return state.hexdigest()[:12]


@cache
def _content_hash(file: Path, size: int, changed: int) -> bytes:
    """Return the sha256 of a file; each job of a graph asks for all of them."""
    return hashlib.sha256(file.read_bytes()).digest()


EDITOR = Editor(name="ready_made", params=ReadyMadeParams, edit=edit, fingerprint=fingerprint)
