"""The door for editors of other packages: what `docs/adding_an_editor.md` lets them import."""

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import (
    EDITORS,
    EditBatch,
    Editor,
    Measured,
    NoParams,
    check_range,
    check_sampling,
    get_editor,
    make_params,
)

__all__ = [
    "EDITORS",
    "EditBatch",
    "Editor",
    "Measured",
    "NoParams",
    "UserError",
    "check_range",
    "check_sampling",
    "get_editor",
    "make_params",
]
