"""UltraEdit, free-form (Zhao et al., NeurIPS 2024): Stable Diffusion 3 that is trained to follow an instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editfrontier.editing.editor import EditBatch, Editor, check_range, check_sampling

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class UltraEditParams:
    """Hyperparameters of UltraEdit.

    Attributes:
        guidance_scale: guidance by the instruction, at least 1; 7.5 (the paper and the official example).
        image_guidance_scale: guidance by the source, at least 1; 1.5 (official example; the paper gives none).
        num_inference_steps: Euler steps of the flow; 50 (the official example; a flow model has no DDIM).
    """

    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    num_inference_steps: int = 50

    def __post_init__(self) -> None:
        check_sampling(self)
        check_range(self, "image_guidance_scale", 1.0)


def edit(model: Any, batch: EditBatch, params: UltraEditParams) -> Float[Tensor, "batch 3 height width"]:
    """Edit a batch: three forwards a step, in one call of the network."""
    return run(model, batch, None, params)


def run(model: Any, batch: EditBatch, masks: Tensor | None, params: UltraEditParams) -> Tensor:
    """Edit a batch with the free-form model, or with the model that reads masks [B, 1, H, W] as well."""
    import torch

    from editfrontier.editing.methods import ultraedit_sampling

    with torch.no_grad():
        latents = ultraedit_sampling.sample(
            model,
            ultraedit_sampling.conditions(model, batch.images, masks),
            batch.instructions,
            batch.generators,
            params.num_inference_steps,
            params.guidance_scale,
            params.image_guidance_scale,
        )
        return ultraedit_sampling.decode_unshifted(model, latents)


EDITOR = Editor(
    name="ultraedit",
    label="UltraEdit",
    colour="#D55E00",
    marker="h",
    params=UltraEditParams,
    edit=edit,
    needs=frozenset({"instruction"}),
    model="ultraedit_freeform",
)
