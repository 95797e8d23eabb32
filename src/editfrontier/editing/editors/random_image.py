"""Control: the source image of another case, drawn by seed. A perfectly real image that keeps nothing of its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from editfrontier.editing.editor import EditBatch, Editor, NoParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def edit(model: Any, batch: EditBatch, params: NoParams) -> Float[Tensor, "batch 3 height width"]:
    """Return the other images."""
    assert batch.others is not None
    return batch.others


EDITOR = Editor(
    name="random_image",
    label="Random other image",
    colour="#6B6B6B",
    marker="X",
    control=True,
    params=NoParams,
    edit=edit,
    needs=frozenset({"other"}),
)
