"""The kinds of model that editors run on: one table."""

from __future__ import annotations

from dataclasses import dataclass

from editfrontier.base.registry import Registry


@dataclass(frozen=True)
class ModelKind:
    """A kind of diffusers pipeline. `Editor.model` names the kind that an editor runs on.

    Attributes:
        pipeline: the diffusers class that holds its networks.
        channels: input channels of its denoiser, by which a folder of another kind is told apart.
        t5: its T5 encoders, of 4.8 billion parameters each.
        flow: whether its denoiser is a transformer that was trained by rectified flow, not a UNet by diffusion.
        whole: whether `from_pretrained` loads it; else its parts are loaded one by one, because its model_index.json
            names a class that diffusers does not have.
        safety_checker: whether the pipeline takes one, which would blacken images and is left out.
    """

    pipeline: str
    channels: int
    t5: tuple[str, ...] = ()
    flow: bool = False
    whole: bool = True
    safety_checker: bool = True


_KINDS = {
    "text_to_image": ModelKind("StableDiffusionPipeline", 4),
    "inpainting": ModelKind("StableDiffusionInpaintPipeline", 9),
    "instruct_pix2pix": ModelKind("StableDiffusionInstructPix2PixPipeline", 8),
    "flux": ModelKind("FluxPipeline", 64, ("text_encoder_2",), flow=True, safety_checker=False),
    "ultraedit_freeform": ModelKind("StableDiffusion3Pipeline", 32, ("text_encoder_3",), flow=True, whole=False),
    "ultraedit_mask": ModelKind("StableDiffusion3Pipeline", 48, ("text_encoder_3",), flow=True, whole=False),
}
MODEL_KINDS = Registry("model kind", ModelKind, entries=_KINDS, home="an entry to src/editfrontier/models/kinds.py")
