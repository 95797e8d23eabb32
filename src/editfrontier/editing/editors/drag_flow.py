"""DragFlow (2025): region drags on a flow model, by affine motion supervision on the features of its double blocks."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range

if TYPE_CHECKING:
    from torch import Tensor

    from editfrontier.diffusion.features import KeyValues
    from editfrontier.diffusion.flow import FlowText
    from editfrontier.editing.methods.objective import Points
    from editfrontier.inversion import Trajectory

_BLOCKS = re.compile(r"none|\d+(-\d+)*")


@dataclass(frozen=True)
class DragFlowParams:
    """Hyperparameters of DragFlow; defaults are those of its official configuration for FLUX.1-dev.

    Attributes:
        num_inference_steps: of the whole schedule; 25.
        skipped_steps: how many of the noisiest levels are left out; 6, so 19 steps.
        guidance_scale: embedded guidance of the drag, at least 0; 3.5. The inversion has 1.
        transport_steps: gradient steps in which the regions move to their targets; 50.
        intensify_steps: gradient steps that follow, with the regions at their targets; 20.
        learning_rate: 1000, because the loss is a mean over the channels and the whole image.
        update: "plain" gradient steps; "normalized" makes the largest entry of each case's gradient 1; "adam".
        feature_blocks: double blocks whose features are compared, for example 17-18.
        feature_points: what of a block: the "input" of its attention, its "output" or "both".
        feature_cells: "latents" lays features out as latents are, a token as 2 x 2 cells of a quarter of its channels;
            "tokens" keeps a token one cell with all channels (ours).
        feature_stride: pixels between the points that are compared; None = 2 for images of up to 600 pixels a side, 3
            up to 1000, else 4.
        kv_double, kv_single: double and single blocks in which the source's keys and values replace the edit's, or
            none. Single blocks mix text and image, so there the source's caption comes back too.
        editable: what may change: the smallest "rectangle" at any angle around each drag, or the case's "mask".
        background: what the rest is set to after every step: a "reconstruction" that is sampled side by side, with
            guidance 1, or the latents of the inversion's own "trajectory", which end at the source exactly and cost no
            forwards (ours).
        adapter: "none". The official code adds an identity adapter.

    In the optimisation the background stays at the inverted latents of the level that is optimised. The official code
    holds it at those half a step further, a mismatch that is not copied.
    """

    num_inference_steps: int = 25
    skipped_steps: int = 6
    guidance_scale: float = 3.5
    transport_steps: int = 50
    intensify_steps: int = 20
    learning_rate: float = 1000.0
    update: Literal["plain", "normalized", "adam"] = "plain"
    feature_blocks: str = "17-18"
    feature_points: Literal["input", "output", "both"] = "both"
    feature_cells: Literal["latents", "tokens"] = "latents"
    feature_stride: int | None = None
    kv_double: str = "0-7-8-9-10-18"
    kv_single: str = "6-9-18-23-26-31-37"
    editable: Literal["rectangle", "mask"] = "rectangle"
    background: Literal["reconstruction", "trajectory"] = "reconstruction"
    adapter: str = "none"

    def __post_init__(self) -> None:
        check_range(self, "num_inference_steps", 1, 1000)
        check_range(self, "skipped_steps", 0, self.num_inference_steps - 1)
        check_range(self, "guidance_scale", 0.0)
        for name in ("transport_steps", "intensify_steps", "learning_rate"):
            check_range(self, name, 0)
        check_range(self, "feature_stride", 1)
        for name in ("feature_blocks", "kv_double", "kv_single"):
            value = getattr(self, name)
            if not _BLOCKS.fullmatch(value) or (name == "feature_blocks" and value == "none"):
                raise UserError(
                    f"hyperparameter '{name}': {value!r}, expected numbers of blocks such as 7-8-18"
                    f"{'' if name == 'feature_blocks' else ', or none'}. Correct the value."
                )
        if self.adapter != "none":
            raise UserError(
                f"hyperparameter 'adapter': {self.adapter!r}, but no identity adapter is built in. DragFlow's is "
                "InstantCharacter, which diffusers lacks; it would need its weights of 5.6 GB, published as a pickle, "
                "and two image encoders. Use none."
            )


def edit(model: Any, batch: EditBatch, params: DragFlowParams) -> Measured:
    """Edit a batch; a case without drags is only sampled, with the target caption in the part that may change."""
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.diffusion.features import KeyValues, block_numbers
    from editfrontier.diffusion.flow import encode_flow_text

    assert batch.drags is not None
    double, single = block_numbers(params.kv_double), block_numbers(params.kv_single)
    kept = KeyValues(model.transformer, double, single) if double or single else None
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        cells = _editable_cells(batch, clean, params)
        trajectory = _invert(model, clean, batch, kept, params)
        text = encode_flow_text(model, batch.target_captions)
        latents, partial = drag_latents(model, trajectory, text, cells, batch, kept, params)
        images = sampling.decode(model, _sample(model, latents, trajectory, text, cells, kept, params))
    count = len(batch.drags)
    return Measured(
        images,
        {
            "dragged": [float(bool(regions)) for regions in batch.drags],
            "partial_forwards": [float(partial)] * count,
            "injected_blocks": [float(kept.count if kept else 0)] * count,
        },
    )


def _editable_cells(batch: EditBatch, clean: Tensor, params: DragFlowParams) -> Tensor:
    """Return [B, 1, h, w] in {0, 1}: a latent cell that the editable pixels touch may change."""
    import torch

    from editfrontier.diffusion import blending
    from editfrontier.editing.methods.objective import editable_pixels

    assert batch.drags is not None
    assert batch.backgrounds is not None
    drags = batch.drags if params.editable == "rectangle" else [[] for _ in batch.drags]
    pairs = zip(drags, batch.backgrounds, strict=True)
    pixels = torch.stack([editable_pixels(regions, background) for regions, background in pairs])
    return blending.latent_mask(pixels, (clean.shape[-2], clean.shape[-1]))


def _invert(model: Any, clean: Tensor, batch: EditBatch, kept: KeyValues | None, params: DragFlowParams) -> Trajectory:
    """Invert by FireFlow under the source captions, one evaluation a step and one more."""
    from editfrontier.editing.methods.source_inversion import invert_sources

    arguments = (model, clean, batch, "fireflow", params.num_inference_steps, params.skipped_steps)
    if kept is None:
        return invert_sources(*arguments)
    # A stored trajectory has no keys and values; to compute them from it would take as many forwards as it took.
    with kept.recording():
        return invert_sources(*arguments, cache=None, on_evaluation=kept.at)


def drag_latents(
    model: Any,
    trajectory: Trajectory,
    text: FlowText,
    cells: Tensor,
    batch: EditBatch,
    kept: KeyValues | None,
    params: DragFlowParams,
) -> tuple[Tensor, int]:
    """Move the regions in the noisiest latents of a trajectory.

    Args:
        cells: [B, 1, h, w], where the latents may change.

    Returns:
        [B, C, h, w] latents, and how many forwards were made, which all stop at the last block that is needed.
    """
    import torch

    from editfrontier.diffusion import features
    from editfrontier.diffusion.flow import velocity
    from editfrontier.editing.methods import objective

    assert batch.drags is not None
    start, time = trajectory.latents[0], trajectory.times[0]
    steps = params.transport_steps + params.intensify_steps
    if steps == 0 or not any(batch.drags):
        return start, 0
    size = (batch.images.shape[-2], batch.images.shape[-1])
    stride = params.feature_stride or _official_stride(size)
    taps = features.flux_taps(features.block_numbers(params.feature_blocks), params.feature_points)
    cells_of = features.latent_cells if params.feature_cells == "latents" else features.token_cells

    @cache
    def points(progress: float) -> Points:
        return objective.moving_points(batch.drags or [], progress, stride, start.device)

    def describe(latents: Tensor) -> Tensor:
        with kept.injected(time) if kept else nullcontext():
            tokens = features.block_features(
                model.transformer, taps, lambda: velocity(model, latents, time, text, params.guidance_scale)
            )
        return cells_of(tokens, (start.shape[-2], start.shape[-1]))

    source, latents = None, start
    descent = objective.Descent(params.update, params.learning_rate)
    with features.frozen(model.transformer):
        for step in range(1, steps + 1):
            progress = min(1.0, step / params.transport_steps) if params.transport_steps else 1.0
            with torch.enable_grad():
                latents = latents.detach().requires_grad_()
                present = describe(latents)
                if source is None:  # the first latents are the source's
                    source = objective.resized(present.detach(), objective.working_size(size, stride))
                loss = objective.moved_features_loss(present, source, points(progress), size).sum()
                (gradient,) = torch.autograd.grad(loss, latents)
            latents = torch.where(cells > 0, descent.step(latents.detach(), gradient), start)
    return latents, steps


def _official_stride(size: tuple[int, int]) -> int:
    side = sum(size) / 2
    return 2 if side <= 600 else 3 if side <= 1000 else 4


def _sample(
    model: Any,
    latents: Tensor,
    trajectory: Trajectory,
    text: FlowText,
    cells: Tensor,
    kept: KeyValues | None,
    params: DragFlowParams,
) -> Tensor:
    """Sample by FireFlow with the background put back after every step; both branches are one batch."""
    import torch

    from editfrontier.diffusion.flow import velocity
    from editfrontier.inversion.flow import fireflow

    count, held = len(latents), cells == 0
    branches = 2 if params.background == "reconstruction" else 1
    guidance = torch.tensor([params.guidance_scale, 1.0][:branches], device=latents.device).repeat_interleave(count)
    texts = text.repeat(branches)

    def field(state: Tensor, time: float) -> Tensor:
        with kept.injected(time, branches) if kept else nullcontext():
            return velocity(model, state, time, texts, guidance)

    def put_back(step: int, state: Tensor) -> Tensor:
        reference = state[count:] if branches == 2 else trajectory.latents[step]
        return torch.cat([torch.where(held, reference, state[:count]), state[count:]])

    start = torch.cat([latents, trajectory.latents[0]][:branches])
    return fireflow(field, start, trajectory.times, put_back)[-1][:count]


EDITOR = Editor(
    name="drag_flow",
    label="DragFlow",
    colour="#8C6D31",
    marker="P",
    params=DragFlowParams,
    edit=edit,
    needs=frozenset({"source_caption", "target_caption", "optional_drags"}),
    model="flux",
)
