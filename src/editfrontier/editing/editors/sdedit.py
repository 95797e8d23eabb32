"""SDEdit (Meng et al., ICLR 2022): noise the source to an intermediate level, denoise it with the target caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.editing.editor import EditBatch, Editor, check_sampling

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class SDEditParams:
    """Hyperparameters of SDEdit.

    Attributes:
        strength: where the trajectory starts, in (0, 1]; 0.5 (the paper, section 4.2).
        guidance_scale: w, at least 1; 7.5 (the paper, section 4.2; default of `StableDiffusionImg2ImgPipeline`).
        num_inference_steps: of the whole trajectory; 50 (the paper); int(50 * 0.5) = 25 of them are made.
        eta: in [0, 1], noise of the DDIM step; 0, as the paper says DDIM (the original is a full stochastic sampler).
        sampler: "ddim" (the paper), or "ddpm" for ancestral sampling.
        posterior: "mode" of the latent distribution, so that all editors start from the same latents, or "sample" as
            diffusers does when it is given images.
    """

    strength: float = 0.5
    guidance_scale: float = 7.5
    num_inference_steps: int = 50
    eta: float = 0.0
    sampler: Literal["ddim", "ddpm"] = "ddim"
    posterior: Literal["mode", "sample"] = "mode"

    def __post_init__(self) -> None:
        check_sampling(self)


def edit(model: Any, batch: EditBatch, params: SDEditParams) -> Float[Tensor, "batch 3 height width"]:
    """Edit a batch with `StableDiffusionImg2ImgPipeline`."""
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline

    from editfrontier.diffusion import sampling

    pipeline = sampling.as_pipeline(model, StableDiffusionImg2ImgPipeline, params.sampler)
    with torch.no_grad():
        source = sampling.encode(model, batch.images, params.posterior, batch.generators)
        latents = pipeline(
            prompt=batch.target_captions,
            image=source,  # latents are taken as they are, which encodes the batch at once instead of one by one
            strength=params.strength,
            num_inference_steps=params.num_inference_steps,
            guidance_scale=params.guidance_scale,
            eta=params.eta,
            generator=batch.generators,
            output_type="latent",
        ).images
        return sampling.decode(model, latents)


EDITOR = Editor(
    name="sdedit",
    label="SDEdit",
    colour="#D98200",
    marker="s",
    params=SDEditParams,
    edit=edit,
    needs=frozenset({"target_caption"}),
    model="text_to_image",
)
