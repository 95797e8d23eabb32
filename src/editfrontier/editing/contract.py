"""The rules of an editor: which fields of a batch it may read, which results it returns, and when it is broken."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import Tensor

from editfrontier.base.errors import EditorError, UserError
from editfrontier.editing.editor import EditBatch, Editor, Measured

NEED_OF = {
    "masks": "mask",
    "true_edits": "true_edit",
    "others": "other",
    "drags": "drags",
    "backgrounds": "drags",
    "exemplars": "exemplar",
    "exemplar_masks": "exemplar",
    "origins": "origin",
}
"""Fields of a batch that are None -> the need that fills them."""

TRIES = 8
"""Cases that an editor may break, one after the other from the first one on, before its job stops."""


@contextmanager
def rules_of(editor: Editor, batch: EditBatch) -> Iterator[EditBatch]:
    """Give a batch to an editor; an error that comes of a field that is None says which need would fill it.

    Raises:
        EditorError: in place of an error that speaks of None, after a field without its need was read.
    """
    empty: set[str] = set()

    class Watched(EditBatch):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if value is None and name in NEED_OF:
                empty.add(name)
            return value

    try:
        yield Watched(**{field.name: getattr(batch, field.name) for field in fields(EditBatch)})
    except (AttributeError, TypeError, AssertionError) as error:
        # An assertion may come without a word, or with what pytest makes of it.
        if not empty or (error.args and "None" not in str(error)):
            raise
        names = sorted(empty)
        needs = ", ".join(f'"{need}"' for need in sorted({NEED_OF[name] for name in names}))
        what = f"{type(error).__name__}: {error}" if error.args else type(error).__name__
        raise EditorError(
            f"editor '{editor.name}': reads {' and '.join(f'batch.{name}' for name in names)}, which is None unless "
            f"`needs` names {needs} ({what}). Add it to the `needs` of its EDITOR."
        ) from error


def checked(result: Any, editor: str, expected: tuple[int, ...]) -> Tensor | Measured:
    """Return what an editor returned.

    Args:
        expected: shape of the images, (B, 3, H, W).

    Raises:
        EditorError: it is no tensor of floating-point numbers of this shape, nor `Measured` with one.
    """
    images = result.images if isinstance(result, Measured) else result
    if not isinstance(images, Tensor):
        kind = type(images)
        returned = "None" if images is None else f"an object of type {kind.__module__}.{kind.__qualname__}"
    elif not images.is_floating_point():
        returned = f"numbers of type {images.dtype}"
    elif tuple(images.shape) != expected:
        returned = str(tuple(images.shape))
    else:
        return result
    raise EditorError(
        f"editor '{editor}': returned {returned}, expected a torch tensor of floating-point numbers in [-1, 1] of "
        f"shape {expected}. Mend its function `edit`."
    )


class EditorTrial:
    """Whether an editor runs at all. It is broken if it broke every case that it was given: `TRIES`, or all there are.

    An error that it meant (`UserError`) and an image that is not finite are faults of a case. The cases are counted
    in their order, so that the size of the batches makes no difference.
    """

    def __init__(self, ran: bool, say: Callable[[str], None]) -> None:
        self.ran, self.say = ran, say
        self.broke = 0
        self._seen: set[str] = set()
        self._untold: list[Exception] = []

    def note(self, error: Exception | None) -> None:
        """Count a case: with the error that broke it, or None if the editor ran. Raises the first one of too many."""
        if error is None:
            self.ran = True
        else:
            self.broke += 1
            kind = f"{type(error)} {traceback.extract_tb(error.__traceback__)[-1:]}"
            if kind not in self._seen:
                self._seen.add(kind)
                self._untold.append(error)
        if self.ran:
            self._tell()
        elif self.broke >= TRIES:
            raise self._untold[0]

    def end(self) -> None:
        """Raise what broke the first case if no case was better."""
        if not self.ran and self._untold:
            raise self._untold[0]

    def _tell(self) -> None:
        """Print the traceback of each kind of error once: the reason in a record does not say where it came from."""
        for error in self._untold:
            if not isinstance(error, UserError):
                self.say("".join(traceback.format_exception(error)).rstrip())
        self._untold.clear()
