"""Control: the source image unchanged. Fidelity is perfect, nothing is edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from editfrontier.editing.editor import EditBatch, Editor, NoParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def edit(model: Any, batch: EditBatch, params: NoParams) -> Float[Tensor, "batch 3 height width"]:
    """Return the sources."""
    return batch.images


EDITOR = Editor(
    name="source",
    label="Source, unedited",
    colour="#6B6B6B",
    marker="o",
    control=True,
    params=NoParams,
    edit=edit,
)
