"""Stable Diffusion inpainting (Rombach et al., CVPR 2022): a 9-channel model repaints the masked region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.editing.editor import EditBatch, Editor, check_range, check_sampling

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class SDInpaintParams:
    """Hyperparameters of inpainting.

    Attributes:
        strength: in (0, 1]; 1 repaints from pure noise (default of `StableDiffusionInpaintPipeline`).
        guidance_scale: w, at least 1; 7.5 (the paper, section 4.2).
        num_inference_steps: 50 (the paper).
        eta: in [0, 1], noise of the DDIM step; 0, as the paper says DDIM.
        sampler: "ddim" (the paper), or "ddpm" for ancestral sampling.
        dilation: latent cells by which the mask grows, at least 0; 0. The mask is pooled by maximum before that, as
            the pipeline resizes it to the latent grid by nearest neighbour, where thin masks vanish.
        composite: "soft" (the pipeline's own output) or "locked" (the source is pasted back outside the mask).
        feather: pixels over which a locked composite fades out around the mask, at least 0; 2 (one 32nd of 64 pixels).
    """

    strength: float = 1.0
    guidance_scale: float = 7.5
    num_inference_steps: int = 50
    eta: float = 0.0
    sampler: Literal["ddim", "ddpm"] = "ddim"
    dilation: int = 0
    composite: Literal["soft", "locked"] = "soft"
    feather: int = 2

    def __post_init__(self) -> None:
        check_sampling(self)
        check_range(self, "dilation", 0)
        check_range(self, "feather", 0)


def edit(model: Any, batch: EditBatch, params: SDInpaintParams) -> Float[Tensor, "batch 3 height width"]:
    """Edit a batch with `StableDiffusionInpaintPipeline`."""
    import torch
    from diffusers import StableDiffusionInpaintPipeline
    from torch.nn import functional

    from editfrontier.diffusion import blending, sampling

    assert batch.masks is not None
    pipeline = sampling.as_pipeline(model, StableDiffusionInpaintPipeline, params.sampler)
    height, width = batch.images.shape[-2:]
    with torch.no_grad():
        source = sampling.encode(model, batch.images)
        cells = blending.dilate(
            blending.latent_mask(batch.masks, (source.shape[-2], source.shape[-1])), params.dilation
        )
        # Blocks of whole cells come back unchanged from the pipeline's nearest-neighbour resizing.
        blocks = functional.interpolate(cells, size=(height, width))
        latents = pipeline(
            prompt=batch.target_captions,
            image=source,  # latents are taken as they are
            mask_image=blocks,
            masked_image_latents=sampling.encode(model, batch.images * (1.0 - blocks)),
            height=height,
            width=width,
            strength=params.strength,
            num_inference_steps=params.num_inference_steps,
            guidance_scale=params.guidance_scale,
            eta=params.eta,
            generator=batch.generators,
            output_type="latent",
        ).images
        edited = sampling.decode(model, latents)
    if params.composite == "soft":
        return edited
    return blending.paste(edited, batch.images, batch.masks, params.feather)


EDITOR = Editor(
    name="sd_inpaint",
    label="SD inpainting",
    colour="#009E73",
    marker="^",
    params=SDInpaintParams,
    edit=edit,
    needs=frozenset({"target_caption", "mask"}),
    model="inpainting",
)
