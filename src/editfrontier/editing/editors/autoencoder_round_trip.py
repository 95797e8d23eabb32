"""Control: the source encoded and decoded. What every latent editor loses before it has edited anything (E20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from editfrontier.editing.editor import EditBatch, Editor, NoParams

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def edit(model: Any, batch: EditBatch, params: NoParams) -> Float[Tensor, "batch 3 height width"]:
    """Return the decoded modes of the sources' latent distributions."""
    import torch

    from editfrontier.diffusion import sampling

    with torch.no_grad():
        return sampling.decode(model, sampling.encode(model, batch.images))


EDITOR = Editor(
    name="autoencoder_round_trip",
    label="Autoencoder round trip",
    colour="#6B6B6B",
    marker="s",
    control=True,
    params=NoParams,
    edit=edit,
    model="text_to_image",
)
