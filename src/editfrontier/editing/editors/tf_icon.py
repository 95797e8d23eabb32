"""TF-ICON (Lu et al., ICCV 2023): composition of an exemplar's region into the source, without any training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range


@dataclass(frozen=True)
class TFIconParams:
    """Hyperparameters of TF-ICON.

    Attributes:
        guidance_scale: w of the generation, at least 1; None = 2.5 in the same domain and 5.0 across domains (official
            code).
        num_inference_steps: steps of DPM-Solver++ 2M in each direction, at least 2; 20 (the original's paper).
        attention_until: tau_A, share of the steps in which self-attention is composed, in [0, 1]; 0.4 (the original's
            paper).
        background_until: tau_B, share of the steps in which the background is kept, in [0, 1]; 0.8 (the original's
            paper). The last steps are free, so it is not kept exactly.
        domain: "same" (photograph into photograph: the region is pasted into the source before the inversion) or
            "cross" (its noise is put into that of the source). An exemplar of the source's own kind is "same".
        region: "box" around the mask, as the original has it, or the "mask" itself. What the exemplar's region does
            not fill of it starts from fresh noise.
        cross_queries: whose queries attention between the foreground and all else has: of the "background", or of
            the "foreground" itself, as the official code takes them (docs/methods.md).
    """

    guidance_scale: float | None = None
    num_inference_steps: int = 20
    attention_until: float = 0.4
    background_until: float = 0.8
    domain: Literal["same", "cross"] = "same"
    region: Literal["box", "mask"] = "box"
    cross_queries: Literal["background", "foreground"] = "background"

    def __post_init__(self) -> None:
        check_range(self, "num_inference_steps", 2, 1000)
        check_range(self, "guidance_scale", 1.0)
        check_range(self, "attention_until", 0.0, 1.0)
        check_range(self, "background_until", 0.0, 1.0)


def edit(model: Any, batch: EditBatch, params: TFIconParams) -> Measured:
    """Edit a batch: two inversions, then at most five forwards an evaluation, all in one call of the network."""
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.editing.methods import tf_icon_sampling as icon
    from editfrontier.editing.methods.tf_icon_attention import Composition

    assert batch.masks is not None
    assert batch.exemplars is not None
    assert batch.exemplar_masks is not None
    guidance = params.guidance_scale or (2.5 if params.domain == "same" else 5.0)
    with torch.no_grad():
        region = icon.boxes(batch.masks) if params.region == "box" else batch.masks
        exemplar, exemplar_mask = icon.fitted(batch.exemplars, batch.exemplar_masks, batch.masks)
        foreground = exemplar_mask * region
        for case_id, mask in zip(batch.case_ids, foreground, strict=True):
            if not mask.any():
                raise UserError(
                    f"case {case_id}: nothing of the exemplar's region is left when it is fitted to the mask, expected "
                    "at least one pixel. Choose a larger mask, or an exemplar whose region is like it."
                )
        pasted = torch.where(foreground == 1, exemplar, batch.images)
        source = icon.invert(
            model, pasted if params.domain == "same" else batch.images, params.num_inference_steps, batch.inversions
        )
        inside = icon.invert(model, exemplar, params.num_inference_steps, batch.inversions)
        start = icon.composite_noise(
            source, source if params.domain == "same" else inside, foreground, region, batch.generators
        )
        latents, layers = icon.generate(
            model,
            start,
            {"background": source, "foreground": inside},
            batch.target_captions,
            guidance,
            icon.Schedule.of(params.num_inference_steps, params.attention_until, params.background_until),
            Composition(
                foreground, 1.0 - region, (start.shape[-2], start.shape[-1]), guidance != 1.0, params.cross_queries
            ),
        )
        images = sampling.decode(model, latents)
    return Measured(images, {"attention_layers": [layers] * len(images)})


EDITOR = Editor(
    name="tf_icon",
    label="TF-ICON",
    colour="#56B4E9",
    marker="v",
    params=TFIconParams,
    edit=edit,
    needs=frozenset({"target_caption", "mask", "exemplar"}),
    model="text_to_image",
)
