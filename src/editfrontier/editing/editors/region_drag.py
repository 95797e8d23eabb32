"""The paper's own region drag: latent optimisation at every timestep on features of a U-Net (section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range, check_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from editfrontier.editing.methods.objective import Points
    from editfrontier.inversion import Trajectory


@dataclass(frozen=True)
class RegionDragParams:
    """Hyperparameters of the paper's drag objective. The paper gives few; the others are DragDiffusion's.

    Attributes:
        num_inference_steps: of the whole trajectory; 50 (the paper).
        strength: where the inversion ends, in (0, 1]; 0.7 (DragDiffusion: 35 of 50 steps).
        guidance_scale: w of the sampling, at least 1; 7.5 (the paper, section 4.2). The inversion and the features
            have no guidance.
        timesteps: gradient steps at "every" timestep (the paper), or at "one", the noisiest.
        inner_steps: K gradient steps at a timestep; 7 (the paper: 5 to 10).
        learning_rate: 0.01 (DragDiffusion).
        rate_schedule: "noise" multiplies the rate by sqrt(1 - alpha_bar) (the paper: scaled by the noise schedule);
            "constant".
        update: "adam" (DragDiffusion), "plain" gradient steps, or "normalized", which makes the largest entry of each
            case's gradient 1.
        layer: block whose output is the features; mid_block (the paper: the bottleneck). Others are for example
            down_blocks.1 and up_blocks.1.
        feature_stride: pixels between the points that are compared; 2 (DragDiffusion).
        objective: "warped" compares with the source's features, moved along and held fixed (E13); "printed" compares
            two regions of the latents that are optimised, and lets gradients through both.
        background_weight: lambda_bg, at least 0; 0.1 (DragDiffusion).
        background: "penalty" on changed features (the paper), or "hard", which also puts the inverted latents back
            outside the smallest rectangle around each drag after every step (DragFlow).
        progressive: whether the targets move from source to target in the course of all gradient steps (DragFlow), or
            stand at the target from the start (the paper).
    """

    num_inference_steps: int = 50
    strength: float = 0.7
    guidance_scale: float = 7.5
    timesteps: Literal["every", "one"] = "every"
    inner_steps: int = 7
    learning_rate: float = 0.01
    rate_schedule: Literal["noise", "constant"] = "noise"
    update: Literal["adam", "plain", "normalized"] = "adam"
    layer: str = "mid_block"
    feature_stride: int = 2
    objective: Literal["warped", "printed"] = "warped"
    background_weight: float = 0.1
    background: Literal["penalty", "hard"] = "penalty"
    progressive: bool = False

    def __post_init__(self) -> None:
        check_sampling(self)
        for name in ("inner_steps", "learning_rate", "background_weight"):
            check_range(self, name, 0)
        check_range(self, "feature_stride", 1)
        if not self.layer:
            raise UserError("hyperparameter 'layer': is empty, expected a block such as mid_block. Name one.")


def edit(model: Any, batch: EditBatch, params: RegionDragParams) -> Measured:
    """Edit a batch: an inversion, gradient steps whose forwards stop at the layer, and a sampling with guidance."""
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.editing.methods.source_inversion import invert_sources

    start = params.num_inference_steps - int(params.num_inference_steps * params.strength)
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        trajectory = invert_sources(model, clean, batch, "ddim", params.num_inference_steps, start)
        latents, partial = drag_latents(model, trajectory, batch, params)
        images = sampling.decode(model, latents)
    return Measured(images, {"partial_forwards": [float(partial)] * len(batch.images)})


def drag_latents(model: Any, trajectory: Trajectory, batch: EditBatch, params: RegionDragParams) -> tuple[Tensor, int]:
    """Sample from the noisiest latents of a trajectory with gradient steps in between.

    Returns:
        [B, C, h, w] clean latents, and how many forwards stopped at the layer.
    """
    import torch

    from editfrontier.diffusion import blending, features, sampling
    from editfrontier.editing.methods import objective

    assert batch.drags is not None
    assert batch.backgrounds is not None
    latents = trajectory.latents[0]
    pixels = [objective.editable_pixels(*pair) for pair in zip(batch.drags, batch.backgrounds, strict=True)]
    held = blending.latent_mask(torch.stack(pixels), (latents.shape[-2], latents.shape[-1])) == 0
    scheduler = sampling.make_scheduler(model.scheduler.config)
    scheduler.set_timesteps(params.num_inference_steps)
    timesteps = [int(time) for time in trajectory.times[:-1]]
    text = sampling.encode_text(model, batch.target_captions, params.guidance_scale != 1.0)
    taps = {params.layer: lambda output: output[0] if isinstance(output, tuple) else output}

    @cache
    def points(progress: float) -> Points:
        return objective.moving_points(batch.drags or [], progress, params.feature_stride, latents.device)

    def put_back(state: Tensor, level: int) -> Tensor:
        return torch.where(held, trajectory.latents[level], state) if params.background == "hard" else state

    def describe(state: Tensor, timestep: int) -> Tensor:
        (output,) = features.block_features(
            model.unet, taps, lambda: model.unet(state, timestep, encoder_hidden_states=text.prompt)
        )
        return output

    # The printed objective without a background term compares nothing with the source.
    compared = params.objective == "warped" or params.background_weight > 0
    dragged = timesteps if params.timesteps == "every" else timesteps[:1]
    updates, partial = 0, 0
    with features.frozen(model.unet):
        for level, timestep in enumerate(timesteps):
            if level < len(dragged) and params.inner_steps:
                # The first latents are the source's, so their features come with the first gradient step.
                source = describe(trajectory.latents[level], timestep) if level and compared else None
                partial += params.inner_steps + (source is not None)
                noisy = params.rate_schedule == "noise"
                rate = (1.0 - sampling.alpha_bar(scheduler, timestep)) ** 0.5 if noisy else 1.0
                descent = objective.Descent(params.update, params.learning_rate)
                for _ in range(params.inner_steps):
                    updates += 1
                    progress = updates / (len(dragged) * params.inner_steps) if params.progressive else 1.0
                    with torch.enable_grad():
                        latents = latents.detach().requires_grad_()
                        present = describe(latents, timestep)
                        source = present.detach() if source is None else source
                        loss = _loss(present, source, points(progress), batch, params).sum()
                        (gradient,) = torch.autograd.grad(loss, latents)
                    latents = put_back(descent.step(latents.detach(), gradient, rate), level)
            output = sampling.guided_output(model, latents, timestep, text, params.guidance_scale)
            latents = put_back(sampling.denoise_step(scheduler, output, timestep, latents), level + 1)
    return latents, partial


def _loss(features: Tensor, source: Tensor, points: Points, batch: EditBatch, params: RegionDragParams) -> Tensor:
    """Return the objective of each case, [B]."""
    import torch
    from torch.nn import functional

    from editfrontier.editing.methods import objective

    assert batch.drags is not None
    assert batch.backgrounds is not None
    size = (batch.images.shape[-2], batch.images.shape[-1])
    printed = params.objective == "printed"
    loss = objective.moved_features_loss(features, features if printed else source, points, size, power=2)
    background = batch.backgrounds
    if printed:  # the complement of the source region, which holds the target: the two terms contradict each other
        regions = [np.logical_or.reduce([region.source for region in regions]) for regions in batch.drags]
        background = 1.0 - torch.from_numpy(np.stack(regions)).to(background)[:, None]
    cells = functional.adaptive_avg_pool2d(background, (features.shape[-2], features.shape[-1]))
    return loss + params.background_weight * objective.held_features_loss(features, source, cells)


EDITOR = Editor(
    name="region_drag",
    label="Region drag",
    colour="#7F5FB5",
    marker=">",
    params=RegionDragParams,
    edit=edit,
    needs=frozenset({"source_caption", "target_caption", "drags"}),
    model="text_to_image",
)
