"""Point drag (DragDiffusion, Shi et al., CVPR 2024): handles are pulled to their targets on the features of a UNet."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range, check_sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from editfrontier.diffusion.sampling import TextEmbeddings
    from editfrontier.editing.methods.point_tracking import Handles


@dataclass(frozen=True)
class PointDragParams:
    """Hyperparameters of point drag; the defaults are those of the official code of DragDiffusion.

    The paper's "naive point-drag" is `lora: false, reference_attention: false`.

    Attributes:
        num_inference_steps: of the whole trajectory; 50.
        strength: where the latents are optimised, in (0, 1]; 0.7 of the trajectory, inverted by DDIM at guidance 1.
        drag_steps: most updates of the latents; 80. A case stops earlier when all of its handles have arrived.
        learning_rate: of Adam on the latents; 0.01.
        feature_block: index of the UNet's up block whose output is supervised, negative = counted from the end; -2, the
            third of the four of Stable Diffusion.
        feature_scale: sides of the grid that features are resized to, as a share of the image's; 0.5. The radii and the
            distance of two cells at which a handle has arrived are in cells of this grid.
        motion_radius: r1 of the motion supervision; 1.
        tracking_radius: r2 of the point tracking; 3.
        background_weight: lambda of the change outside of the editable region; 0.1.
        handles: "points" of the regions, or one at the "centroid" of each region (the paper does not say which its
            baseline has); a region without points is dragged by its centroid.
        lora: whether the UNet is adapted to each image first; true.
        lora_rank, lora_steps, lora_learning_rate, lora_batch_size: of this training; 16, 80, 5e-4, 4.
        reference_attention: whether the last self-attention layers take keys and values from the source; true.
        reference_start: share of the self-attention layers that do not; 0.625, the first 10 of 16.
    """

    num_inference_steps: int = 50
    strength: float = 0.7
    drag_steps: int = 80
    learning_rate: float = 0.01
    feature_block: int = -2
    feature_scale: float = 0.5
    motion_radius: int = 1
    tracking_radius: int = 3
    background_weight: float = 0.1
    handles: Literal["points", "centroid"] = "points"
    lora: bool = True
    lora_rank: int = 16
    lora_steps: int = 80
    lora_learning_rate: float = 5e-4
    lora_batch_size: int = 4
    reference_attention: bool = True
    reference_start: float = 0.625

    def __post_init__(self) -> None:
        check_sampling(self)
        check_range(self, "drag_steps", 1)
        check_range(self, "feature_scale", 0.01, 1.0)
        check_range(self, "reference_start", 0.0, 0.999)
        for name in ("learning_rate", "motion_radius", "background_weight", "lora_learning_rate"):
            check_range(self, name, 0.0)
        for name in ("tracking_radius", "lora_rank", "lora_steps", "lora_batch_size"):
            check_range(self, name, 1)


def edit(model: Any, batch: EditBatch, params: PointDragParams) -> Measured:
    """Edit a batch: inversion, at most `drag_steps` forwards with gradient, and sampling of the source and the edit."""
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.editing.methods.image_lora import train_image_lora
    from editfrontier.editing.methods.point_tracking import make_handles
    from editfrontier.editing.methods.source_inversion import invert_sources

    assert batch.drags is not None
    assert batch.backgrounds is not None
    height, width = batch.images.shape[-2:]
    grid = max(1, round(params.feature_scale * height)), max(1, round(params.feature_scale * width))
    handles = make_handles(batch.drags, params.handles, (height, width), grid, batch.images.device)
    scheduler = sampling.make_scheduler(model.scheduler.config)
    total = params.num_inference_steps
    timesteps = sampling.image_to_image_timesteps(scheduler, total, params.strength)
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        text = sampling.encode_text(model, batch.source_captions, False)
    lora = None
    if params.lora:
        lora = train_image_lora(
            model,
            clean,
            text,
            batch.generators,
            rank=params.lora_rank,
            steps=params.lora_steps,
            learning_rate=params.lora_learning_rate,
            batch_size=params.lora_batch_size,
        )
    with lora.applied() if lora else nullcontext():
        cache = None if lora else batch.inversions  # an adapter makes another model of it
        start, options = total - len(timesteps), {"cache": cache, "keep": "noisiest"}
        source = invert_sources(model, clean, batch, "ddim", total, start, **options).latents[0]
        dragged, steps, left = drag(model, source, timesteps, text, handles, batch.backgrounds, params)
        with torch.no_grad():
            latents = sample(model, source, dragged, timesteps, text, params)
            images = sampling.decode(model, latents)
    return Measured(images, {"drag_steps": steps, "handle_distance": [value * width / grid[1] for value in left]})


def drag(
    model: Any,
    source: Tensor,
    timesteps: Sequence[int],
    text: TextEmbeddings,
    handles: Handles,
    backgrounds: Tensor,
    params: PointDragParams,
) -> tuple[Tensor, list[float], list[float]]:
    """Optimise latents until the handles have arrived or the steps are used up; a case that has arrived stays as it is.

    Args:
        source: [B, C, h, w] inverted latents at the first of `timesteps`.
        timesteps: descending, of the whole edit.
        handles: on a grid of the size that `params.feature_scale` gives.
        backgrounds: [B, 1, H, W], 1 = must not change.

    Returns:
        [B, C, h, w] latents; the updates that each case took; the mean distance in cells that its handles were still
        away when they were last tracked, before the last update.
    """
    import torch

    from editfrontier.diffusion import blending, sampling
    from editfrontier.diffusion.features import frozen, sample_at
    from editfrontier.editing.methods.point_tracking import ARRIVED, motion_loss, track

    scheduler = sampling.make_scheduler(model.scheduler.config)
    level, next_level = (sampling.alpha_bar(scheduler, t) for t in (*timesteps, -1)[:2])
    grid = tuple(max(1, round(params.feature_scale * side)) for side in backgrounds.shape[-2:])
    held = 1.0 - blending.latent_mask(1.0 - backgrounds, (source.shape[-2], source.shape[-1]))
    text = sampling.TextEmbeddings(text.prompt.detach(), None)
    latents = source.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([latents], lr=params.learning_rate)
    position, steps = handles.start, torch.zeros(len(source), device=source.device)
    active = (handles.distance(position) >= ARRIVED).any(1)
    reference = step_before = None
    with torch.enable_grad(), frozen(model.unet):
        for _ in range(params.drag_steps):
            if not active.any():
                break
            features, output = featured(model, latents, timesteps[0], text, params.feature_block, grid)
            estimate, noise = sampling.split_output(scheduler.config.prediction_type, output, latents, level)
            stepped = sampling.add_noise(estimate, noise, next_level)
            if reference is None or step_before is None:
                reference, step_before = sample_at(features.detach(), position), stepped.detach()
            else:
                tracked = track(features.detach(), position, reference, params.tracking_radius)
                position = torch.where(active[:, None, None], tracked, position)
                active = active & (handles.distance(position) >= ARRIVED).any(1)
            if not active.any():
                break
            loss = motion_loss(features, position, handles, params.motion_radius)
            loss = loss + params.background_weight * ((stepped - step_before) * held).abs().flatten(1).sum(1)
            before = latents.detach().clone()
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimiser.step()
            with torch.no_grad():
                latents.copy_(torch.where(active[:, None, None, None], latents, before))
            steps += active
    left = handles.distance(position).sum(1) / handles.present.sum(1)
    return latents.detach(), steps.tolist(), left.tolist()


def featured(
    model: Any, latents: Tensor, timestep: int, text: TextEmbeddings, block: int, grid: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Run the denoiser; return the output of an up block resized to the grid [B, F, *grid], and its own output.

    Raises:
        UserError: the UNet has no such up block.
    """
    from torch.nn import functional

    from editfrontier.diffusion import sampling
    from editfrontier.diffusion.attention import named_blocks

    count = len(model.unet.up_blocks)
    index = block + count if -count <= block < 0 else block
    (module,) = named_blocks(model.unet, [f"up_blocks.{index}"]).values()
    kept: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        output = sampling.guided_output(model, latents, timestep, text, 1.0)
    finally:
        handle.remove()
    return functional.interpolate(kept[0].float(), grid, mode="bilinear", align_corners=False), output


def sample(
    model: Any,
    source: Tensor,
    dragged: Tensor,
    timesteps: Sequence[int],
    text: TextEmbeddings,
    params: PointDragParams,
) -> Tensor:
    """Denoise the dragged latents by DDIM, with the source's if they attend to it; return clean latents [B, C, h, w].

    Args:
        source, dragged: [B, C, h, w] latents at the first of `timesteps`.
    """
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.editing.methods.reference_attention import reference_attention

    scheduler = sampling.make_scheduler(model.scheduler.config)
    scheduler.set_timesteps(params.num_inference_steps)
    latents = dragged
    control: AbstractContextManager[Any] = nullcontext()
    if params.reference_attention:
        latents = torch.cat([source, dragged])
        text = sampling.TextEmbeddings(torch.cat([text.prompt] * 2), None)
        control = reference_attention(model.unet, params.reference_start)
    with control:
        for timestep in timesteps:
            output = sampling.guided_output(model, latents, timestep, text, 1.0)
            latents = sampling.denoise_step(scheduler, output, timestep, latents)
    return latents[-len(source) :]


EDITOR = Editor(
    name="point_drag",
    label="Point drag",
    colour="#D55E00",
    marker="X",
    params=PointDragParams,
    edit=edit,
    needs=frozenset({"source_caption", "drags"}),
    model="text_to_image",
)
