"""The kinds of models of editors, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from editfrontier.base.registry import Registry


@dataclass(frozen=True)
class ModelKind:
    """A kind of diffusers pipeline; `Editor.model` names the kind of an editor's model.

    Attributes:
        pipeline: the diffusers class of its networks.
        channels: input channels of its denoiser, which distinguish folders of other kinds.
        t5: its T5 encoders, of 4.8 billion parameters each.
        flow: whether its denoiser is a transformer that was trained by rectified flow, not a UNet by diffusion.
        whole: whether `from_pretrained` loads it; otherwise its parts are loaded one by one, because diffusers lacks
            the class in its model_index.json.
        safety_checker: whether the pipeline has one, which would blacken images and is left out.
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
