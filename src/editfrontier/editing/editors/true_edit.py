"""Control: the true result of the edit, where the data know it. The best that a metric can say of an editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from editfrontier.editing.editor import EditBatch, Editor, NoParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def edit(model: Any, batch: EditBatch, params: NoParams) -> Float[Tensor, "batch 3 height width"]:
    """Return the true edits."""
    assert batch.true_edits is not None
    return batch.true_edits


EDITOR = Editor(
    name="true_edit",
    label="True edit",
    colour="#6B6B6B",
    marker="*",
    control=True,
    params=NoParams,
    edit=edit,
    needs=frozenset({"true_edit"}),
)
