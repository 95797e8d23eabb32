"""Point drag: handles and tracking on known features, reference attention, and the editor as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier import inversion
from editfrontier.base.errors import UserError
from editfrontier.data.regions import Region, warp_mask
from editfrontier.diffusion import sampling
from editfrontier.diffusion.features import sample_at
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.editing.editors.point_drag import drag, featured
from editfrontier.editing.methods.point_tracking import Handles, make_handles, motion_loss, point_pairs, track, window
from editfrontier.editing.methods.reference_attention import execution_order, reference_attention
from tiny_pipelines import SIZE, fresh_generators, latents_of, predicted, tiny_batch, tiny_pipeline

CPU = torch.device("cpu")
EDITOR = get_editor("point_drag")
NAIVE = {"lora": False, "reference_attention": False}
STEPS = 10
MADE = 7  # int(10 * 0.7)


def region(dx: float, dy: float, size: int = SIZE, points: bool = True) -> Region:
    source = np.zeros((size, size), dtype=bool)
    source[size // 4 : size // 2, size // 4 : size // 2] = True
    affine = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
    x = size // 4 + 2.0
    pairs = (((x, x), (x + dx, x + dy)), ((x + 3, x + 1), (x + 3 + dx, x + 1 + dy))) if points else ()
    return Region("relocation", source, affine, warp_mask(source, affine), pairs)


def batch_of(shifts: list[tuple[float, float]]) -> EditBatch:
    """One case for each motion of a square."""
    drags = [[region(*shift)] for shift in shifts]
    backgrounds = torch.ones(len(shifts), 1, SIZE, SIZE)
    backgrounds[:, :, 4:28, 4:28] = 0.0
    return replace(
        tiny_batch(len(shifts)), drags=drags, backgrounds=backgrounds, generators=fresh_generators(len(shifts))
    )


def only(batch: EditBatch, row: int) -> EditBatch:
    """The batch with one case."""
    assert batch.drags is not None
    assert batch.backgrounds is not None
    return replace(
        batch,
        case_ids=[batch.case_ids[row]],
        images=batch.images[row : row + 1],
        masks=None,
        source_captions=[batch.source_captions[row]],
        generators=[fresh_generators(row + 1)[row]],
        drags=[batch.drags[row]],
        backgrounds=batch.backgrounds[row : row + 1],
    )


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def run(model: Any, batch: EditBatch, **overrides: Any) -> Measured:
    params = make_params(EDITOR, {"num_inference_steps": STEPS, "drag_steps": 3, **NAIVE, **overrides})
    with torch.no_grad():
        result = EDITOR.edit(model, replace(batch, generators=fresh_generators(len(batch.images))), params)
    assert isinstance(result, Measured)
    return result


def forwards_of(model: Any, batch: EditBatch, **overrides: Any) -> int:
    counter = sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    run(model, batch, **overrides)
    handle.remove()
    return counter.samples // len(batch.images)


# Handles and tracking -------------------------------------------------------------------------------------------------


def test_handles_lie_at_pixel_centres_of_the_grid() -> None:
    handles = make_handles(
        [[region(8, 0)], [region(0, 6), region(2, 2, points=False)]], "points", (32, 32), (16, 16), CPU
    )
    assert handles.present.tolist() == [[True, True, False], [True, True, True]]
    # Pixel 10 lies at (10 + 0.5) / 2 - 0.5 = 4.75 of the half grid, pixel 18 at 8.75.
    assert handles.start[0, 0].tolist() == [5.0, 5.0]
    assert handles.target[0, 0].tolist() == pytest.approx([8.75, 4.75])
    distance = handles.distance(handles.start)
    assert distance[0, 0].item() == pytest.approx(14.125**0.5)
    assert distance[0, 2].item() == 0.0
    centroid = point_pairs(region(8, 0), "centroid")
    assert centroid == [((11.5, 11.5), (19.5, 11.5))]
    assert point_pairs(region(8, 0, points=False), "points") == centroid


def test_handles_of_a_target_at_the_edge_stay_on_the_grid() -> None:
    edge = replace(region(0, 0), points=(((10.0, 10.0), (31.0, 0.0)),))
    handles = make_handles([[edge]], "points", (32, 32), (16, 16), CPU)
    assert handles.target[0, 0].tolist() == [15.0, 0.0]


def test_sampling_is_exact_at_cells_and_linear_between() -> None:
    features = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[[2.0, 3.0], [6.0, 5.0]], [[0.0, 0.0], [1.5, 4.0]]])
    found = sample_at(features, cells)
    torch.testing.assert_close(found[0], features[0, :, [3, 5], [2, 6]].T)
    torch.testing.assert_close(found[1, 1], features[1, :, 4, 1:3].mean(1))


def moved_features(shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
    features = torch.randn(1, 16, 20, 24, generator=torch.Generator().manual_seed(3))
    return features, features.roll((shift[1], shift[0]), (2, 3))


def test_tracking_finds_a_pattern_that_moved() -> None:
    before, after = moved_features((2, -3))
    position = torch.tensor([[[8.0, 9.0], [15.0, 10.0]]])
    reference = sample_at(before, position)
    assert track(after, position, reference, 3).tolist() == [[[10.0, 6.0], [17.0, 7.0]]]
    near = track(after, position, reference, 2)  # out of its reach: it takes what is nearest there
    assert (near - position).abs().max() <= 2
    corner = track(before, torch.tensor([[[0.0, 0.0], [23.0, 19.0]]]), reference, 3)
    assert (corner >= 0).all()
    assert (corner <= torch.tensor([23.0, 19.0])).all()


def test_motion_loss_is_zero_once_the_patch_has_gone_a_cell_and_pulls_there() -> None:
    before, after = moved_features((1, 0))
    handles = Handles(
        torch.tensor([[[8.0, 9.0], [4.0, 4.0]]]),
        torch.tensor([[[14.0, 9.0], [4.0, 4.0]]]),
        torch.tensor([[True, False]]),
    )
    cells = handles.start[:, :1, None] + window(1, CPU)
    target = sample_at(before, cells)
    expected = 9 * (sample_at(before, cells + torch.tensor([1.0, 0.0])) - target).abs().mean()
    assert motion_loss(before, handles.start, handles, 1).item() == pytest.approx(expected.item(), rel=1e-5)
    # The supervision compares with the present features at the handle: shifted features differ by the same amount.
    repeated = before[:, :, :, 8:9].expand_as(before)
    assert motion_loss(repeated, handles.start, handles, 1).item() == pytest.approx(0.0, abs=1e-6)
    features = after.clone().requires_grad_(True)
    motion_loss(features, handles.start, handles, 1).sum().backward()
    assert features.grad is not None
    touched = features.grad.abs().sum((0, 1)).nonzero()
    assert touched.min(0).values.tolist() == [
        8,
        8,
    ]  # rows 8 to 10; columns one ahead of 7 to 9, none at the handle only
    assert touched.max(0).values.tolist() == [10, 10]


def test_handles_that_have_arrived_are_left_alone() -> None:
    features, _ = moved_features((0, 0))
    start = torch.tensor([[[8.0, 9.0]]])
    near, far = (Handles(start, start + shift, torch.tensor([[True]])) for shift in (1.9, 2.1))
    far = replace(far, target=start + torch.tensor([2.1, 0.0]))
    near = replace(near, target=start + torch.tensor([1.9, 0.0]))
    assert motion_loss(features, start, near, 1).item() == 0.0
    assert motion_loss(features, start, far, 1).item() > 0.0


# Reference attention --------------------------------------------------------------------------------------------------


def test_reference_attention_reads_keys_and_values_of_the_first_half(model: Any) -> None:
    layers = model.unet.mid_block.attentions[0].transformer_blocks[0].attn1
    states = torch.randn(4, 9, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), reference_attention(model.unet, 0.0):
        made = layers(states)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(2, (layers.heads, -1)).transpose(1, 2)

    with torch.no_grad():
        keys, values = (heads(to(states[:2])) for to in (layers.to_k, layers.to_v))
        looked = functional.scaled_dot_product_attention(heads(layers.to_q(states[2:])), keys, values)
        expected = layers.to_out[0](looked.transpose(1, 2).flatten(2))
        torch.testing.assert_close(made[2:], expected)
        torch.testing.assert_close(made[:2], layers(states[:2]))


def test_reference_attention_leaves_the_first_layers_alone_and_is_undone(model: Any) -> None:
    names = list(execution_order(dict.fromkeys(("up_blocks.0.x", "mid_block.x", "down_blocks.1.x"))))
    assert names == ["down_blocks.1.x", "mid_block.x", "up_blocks.0.x"]
    processors = dict(model.unet.attn_processors)
    with reference_attention(model.unet, 0.0) as every:
        pass
    with reference_attention(model.unet, 0.625) as last:
        pass
    assert (every, last) == (4, 2)
    assert model.unet.attn_processors == processors
    with pytest.raises(UserError, match="there is no layer to control"), reference_attention(model.unet, 1.0):
        pass


def test_identical_halves_are_not_changed_by_reference_attention(model: Any) -> None:
    latents = latents_of(1).repeat(2, 1, 1, 1)
    plain = predicted(model, latents)
    with reference_attention(model.unet, 0.0):
        torch.testing.assert_close(predicted(model, latents), plain)


# The editor -----------------------------------------------------------------------------------------------------------


def test_without_a_drag_it_reconstructs_by_ddim(model: Any) -> None:
    """No learning: the naive variant is the DDIM round trip, and the looking branch is the source's own."""
    batch = batch_of([(8, 0), (0, -6)])
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        found = inversion.invert(model, clean, "ddim", STEPS, batch.source_captions, start=STEPS - MADE)
        back = inversion.reconstruct(model, found, "ddim", STEPS, batch.source_captions, start=STEPS - MADE)
        expected = sampling.decode(model, back)
    for overrides in ({}, {"reference_attention": True, "reference_start": 0.0}):
        made = run(model, batch, learning_rate=0.0, **overrides).images
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_a_drag_changes_the_image_and_a_short_one_is_done_already(model: Any) -> None:
    batch = batch_of([(10, 0), (1, 1)])
    still, moved = run(model, batch, learning_rate=0.0), run(model, batch)
    change = (moved.images - still.images).abs().flatten(1).amax(1)
    assert change[0] > 1e-3
    assert change[1] == 0.0
    assert moved.measures["drag_steps"] == [3.0, 0.0]
    assert moved.measures["handle_distance"][1] < 4


def test_what_happens_to_a_case_does_not_depend_on_the_others(model: Any) -> None:
    batch = batch_of([(10, 0), (4, 1), (0, 12)])
    overrides = {"drag_steps": 6, "learning_rate": 0.05, "lora": True, "lora_steps": 2, "lora_rank": 2}
    overrides |= {"reference_attention": True, "lora_batch_size": 2}
    together = run(model, batch, **overrides)
    for row in range(3):
        params = make_params(EDITOR, {"num_inference_steps": STEPS, **overrides})
        with torch.no_grad():
            alone = EDITOR.edit(model, only(batch, row), params)
        assert isinstance(alone, Measured)
        torch.testing.assert_close(alone.images[0], together.images[row], atol=1e-4, rtol=1e-3)
        assert alone.measures["drag_steps"] == [together.measures["drag_steps"][row]]


def test_a_case_that_has_arrived_stays_while_others_go_on(model: Any) -> None:
    """The near handle arrives by tracking, or never had to go; its latents are those it had then."""
    batch = batch_of([(12, 0), (1, 0)])
    assert batch.drags is not None
    assert batch.backgrounds is not None
    params = make_params(EDITOR, {"num_inference_steps": STEPS, "drag_steps": 4, **NAIVE})
    scheduler = sampling.make_scheduler(model.scheduler.config)
    timesteps = sampling.image_to_image_timesteps(scheduler, STEPS, params.strength)
    handles = make_handles(batch.drags, "points", (SIZE, SIZE), (SIZE // 2, SIZE // 2), CPU)
    text = sampling.encode_text(model, batch.source_captions, False)
    source = latents_of(2)
    dragged, steps, _ = drag(model, source, timesteps, text, handles, batch.backgrounds, params)
    assert steps == [4.0, 0.0]
    assert torch.equal(dragged[1], source[1])
    assert not torch.equal(dragged[0], source[0])
    assert not dragged.requires_grad
    assert all(parameter.requires_grad for parameter in model.unet.parameters())


def test_the_background_weight_holds_the_background(model: Any) -> None:
    batch = batch_of([(10, 0), (0, 10)])
    assert batch.backgrounds is not None
    held = functional.avg_pool2d(batch.backgrounds, 4) == 1
    still = run(model, batch, learning_rate=0.0).images
    moved = {}
    for weight in (0.0, 10.0):
        made = run(model, batch, drag_steps=8, background_weight=weight).images
        change = functional.avg_pool2d((made - still).abs().mean(1, keepdim=True), 4)
        moved[weight] = float(change[held].mean() / change.mean())
    assert moved[10.0] < moved[0.0]


def test_forwards_are_the_fewest_that_the_method_needs(model: Any) -> None:
    batch = batch_of([(10, 0), (0, 10)])
    assert forwards_of(model, batch) == MADE + 3 + MADE
    assert forwards_of(model, batch, reference_attention=True) == MADE + 3 + 2 * MADE
    trained = {"lora": True, "lora_steps": 2, "lora_batch_size": 4}
    assert forwards_of(model, batch, **trained) == 2 * 4 + MADE + 3 + MADE


def test_blocks_count_from_either_end_and_a_missing_one_is_named(model: Any) -> None:
    text = sampling.encode_text(model, ["a face"] * 2, False)
    with torch.no_grad():
        first, output = featured(model, latents_of(2), 301, text, -2, (16, 16))
        same, _ = featured(model, latents_of(2), 301, text, 0, (16, 16))
    assert first.shape == (2, 32, 16, 16)
    assert output.shape == (2, 4, 8, 8)
    assert torch.equal(first, same)
    for block in (2, -3):
        with pytest.raises(UserError, match=rf"has no block 'up_blocks\.{block}'"):
            run(model, batch_of([(8, 0), (0, 8)]), feature_block=block)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"drag_steps": 0}, "'drag_steps': 0, expected at least 1"),
        ({"feature_scale": 0.0}, r"'feature_scale': 0.0, expected in \[0.01, 1\]"),
        ({"lora_rank": 0}, "'lora_rank': 0, expected at least 1"),
        ({"handles": "centre"}, "Did you mean 'centroid'"),
        ({"strength": 0.001}, "'strength'"),
    ],
)
def test_bad_hyperparameters(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_params(EDITOR, overrides)


@pytest.mark.parametrize("size", [256, 512])
def test_it_runs_on_a_checkpoint_in_the_published_layout(size: int, hub_model: Callable[[str], Any]) -> None:
    batch = replace(
        tiny_batch(1),
        images=torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1,
        masks=None,
        drags=[[region(size / 4, 0, size)]],
        backgrounds=torch.zeros(1, 1, size, size),
    )
    overrides = {"num_inference_steps": 3, "drag_steps": 2, "lora_steps": 1, "lora_batch_size": 1, "lora_rank": 2}
    made = run(hub_model("sd2_base"), batch, **overrides, lora=True, reference_attention=True)
    assert made.images.shape == (1, 3, size, size)
    assert made.images.isfinite().all()
    assert made.measures["drag_steps"] == [2.0]
