"""InstructPix2Pix (Brooks et al., CVPR 2023): a model that is trained to follow an instruction, given the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.editing.editor import EditBatch, Editor, check_range, check_sampling

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# diffusers drops the image guidance too when the text guidance is exactly 1. This keeps it on.
_SMALLEST_GUIDANCE = 1.0 + 1e-6


@dataclass(frozen=True)
class InstructPix2PixParams:
    """Hyperparameters of InstructPix2Pix.

    Attributes:
        guidance_scale: guidance by the instruction, at least 1; 7.5 (the paper and the official edit_cli.py).
        image_guidance_scale: guidance by the source, at least 1; 1.5 (official edit_cli.py; the paper gives none).
        num_inference_steps: 50 (the paper; 100 Euler-ancestral steps in the official code).
        eta: in [0, 1], noise of the DDIM step; 0, as the paper says DDIM.
        sampler: "ddim" (the paper), or "ddpm" for ancestral sampling.
    """

    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    num_inference_steps: int = 50
    eta: float = 0.0
    sampler: Literal["ddim", "ddpm"] = "ddim"

    def __post_init__(self) -> None:
        check_sampling(self)
        check_range(self, "image_guidance_scale", 1.0)


def edit(model: Any, batch: EditBatch, params: InstructPix2PixParams) -> Float[Tensor, "batch 3 height width"]:
    """Edit a batch with `StableDiffusionInstructPix2PixPipeline`.

    A step makes three forwards, in one call of the network; one less where the guidance by the source is 1, one less
    where it is the guidance by the instruction.
    """
    import torch
    from diffusers import StableDiffusionInstructPix2PixPipeline

    from editfrontier.diffusion import branches, sampling
    from editfrontier.diffusion.guidance import instruction_weights

    pipeline = sampling.as_pipeline(model, StableDiffusionInstructPix2PixPipeline, params.sampler)
    # The pipeline's batch has the order of the weights.
    wanted = [weight != 0.0 for weight in instruction_weights(params.guidance_scale, params.image_guidance_scale)]
    with torch.no_grad(), branches.only(model.unet, wanted):
        latents = pipeline(
            prompt=batch.instructions,
            image=batch.images / 2 + 0.5,  # the pipeline takes [0, 1] and encodes the mode of the whole batch
            num_inference_steps=params.num_inference_steps,
            guidance_scale=max(params.guidance_scale, _SMALLEST_GUIDANCE),
            image_guidance_scale=params.image_guidance_scale,
            eta=params.eta,
            generator=batch.generators,
            output_type="latent",
        ).images
        return sampling.decode(model, latents)


EDITOR = Editor(
    name="instruct_pix2pix",
    label="InstructPix2Pix",
    colour="#C2528B",
    marker="D",
    params=InstructPix2PixParams,
    edit=edit,
    needs=frozenset({"instruction"}),
    model="instruct_pix2pix",
)
