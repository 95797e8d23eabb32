"""TF-ICON without a foreground: the paper's reading of it, inversion under the exceptional prompt and then a text.

An adaptation, marked as such: TF-ICON composes images and needs a foreground, which a text edit does not have. The
paper describes it as "exceptional-prompt inversion, then text-driven inpainting".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range


@dataclass(frozen=True)
class TFIconTextParams:
    """Hyperparameters of the text-only adaptation of TF-ICON.

    Attributes:
        guidance_scale: w of the generation, at least 1; 5.0 (official code; the paper's general setting is 7.5).
        num_inference_steps: steps of DPM-Solver++ 2M in each direction, at least 2; 20 (the original's paper).
        attention_until: share of the steps in which self-attention within the background comes from the inverted
            source, in [0, 1]; 0.4 (tau_A of the original).
        background_until: share of the steps in which the background is kept, in [0, 1]; 0.8 (tau_B of the original).
        start: what the box around the mask starts from: the "inverted" noise of the source, or with "fresh" noise in
            the part of the box that is not in the mask, as the original fills what its foreground leaves open.
        region: "box" around the mask, as the original has it, or the "mask" itself.
    """

    guidance_scale: float = 5.0
    num_inference_steps: int = 20
    attention_until: float = 0.4
    background_until: float = 0.8
    start: Literal["inverted", "fresh"] = "inverted"
    region: Literal["box", "mask"] = "box"

    def __post_init__(self) -> None:
        check_range(self, "num_inference_steps", 2, 1000)
        check_range(self, "guidance_scale", 1.0)
        check_range(self, "attention_until", 0.0, 1.0)
        check_range(self, "background_until", 0.0, 1.0)


def edit(model: Any, batch: EditBatch, params: TFIconTextParams) -> Measured:
    """Edit a batch: one inversion, then at most three forwards an evaluation, all in one call of the network."""
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.editing.methods import tf_icon_sampling as icon
    from editfrontier.editing.methods.tf_icon_attention import Composition

    assert batch.masks is not None
    with torch.no_grad():
        region = icon.boxes(batch.masks) if params.region == "box" else batch.masks
        source = icon.invert(model, batch.images, params.num_inference_steps, batch.inversions)
        kept = region if params.start == "inverted" else batch.masks
        start = icon.composite_noise(source, source, kept, region, batch.generators)
        latents, layers = icon.generate(
            model,
            start,
            {"background": source},
            batch.target_captions,
            params.guidance_scale,
            icon.Schedule.of(params.num_inference_steps, params.attention_until, params.background_until),
            Composition(None, 1.0 - region, (start.shape[-2], start.shape[-1]), params.guidance_scale != 1.0),
        )
        images = sampling.decode(model, latents)
    return Measured(images, {"attention_layers": [layers] * len(images)})


EDITOR = Editor(
    name="tf_icon_text",
    label="TF-ICON, text only",
    colour="#2F86B4",
    marker="<",
    params=TFIconTextParams,
    edit=edit,
    needs=frozenset({"target_caption", "mask"}),
    model="text_to_image",
)
