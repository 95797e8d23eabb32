"""DragFlow on a tiny FLUX: its counts, its background, its special cases, and the same image in any batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.data.regions import Region
from editfrontier.diffusion import blending, features, sampling
from editfrontier.diffusion.flow import FlowText, encode_flow_text, velocity
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.editing.editors.drag_flow import drag_latents
from editfrontier.editing.methods import objective
from editfrontier.inversion import invert, reconstruct
from test_dragging_features import Calls, compared_with_forwards_of_their_own
from tiny_flux import drag_batch, part_of, region, tiny_flux
from tiny_pipelines import SIZE

STEPS, SKIPPED, MADE = 5, 2, 3
SMALL = {
    "num_inference_steps": STEPS,
    "skipped_steps": SKIPPED,
    "transport_steps": 3,
    "intensify_steps": 1,
    "learning_rate": 300.0,
    "feature_blocks": "0-1",
    "kv_double": "0-2",
    "kv_single": "1",
}
FREE = {"kv_double": "none", "kv_single": "none"}
ADAM = {"update": "adam", "learning_rate": 0.05}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_flux()


def run(model: Any, batch: EditBatch, **overrides: Any) -> tuple[Measured, float]:
    """(what the editor gives, forwards per case)."""
    editor = get_editor("drag_flow")
    counter = sampling.ForwardCounter()
    handle = counter.attach(model.transformer)
    with torch.no_grad():
        result = editor.edit(model, batch, make_params(editor, SMALL | overrides))
    handle.remove()
    assert isinstance(result, Measured)
    return result, counter.samples / len(batch.images)


def decoded_latents(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """A list that takes the latents that are decoded from now on."""
    found: list[Tensor] = []
    plain = sampling.decode

    def decode(model: Any, latents: Tensor) -> Tensor:
        found.append(latents)
        return plain(model, latents)

    monkeypatch.setattr(sampling, "decode", decode)
    return found


def latents_of(model: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        return sampling.encode(model, images)


def test_forwards_are_the_least_that_the_method_needs(model: Any) -> None:
    partial = 3 + 1  # one for every gradient step; the first gives the source's features too
    result, forwards = run(model, drag_batch())
    assert forwards == (MADE + 1) + partial + 2 * (MADE + 1)
    assert result.measures == {"dragged": [1.0] * 2, "partial_forwards": [partial] * 2, "injected_blocks": [3.0] * 2}
    result, forwards = run(model, drag_batch(), background="trajectory", **FREE)
    assert forwards == (MADE + 1) + partial + (MADE + 1)
    assert result.measures["injected_blocks"] == [0.0] * 2


def test_the_optimisation_runs_no_block_behind_its_last_feature(model: Any) -> None:
    blocks = [*model.transformer.transformer_blocks, *model.transformer.single_transformer_blocks]
    calls = Calls(*blocks)
    _, forwards = run(model, drag_batch(), feature_blocks="1", background="trajectory", **FREE)
    whole = 2 * (MADE + 1)
    assert calls.stop() == [whole + 4, whole + 4, whole, whole, whole]
    assert forwards == whole + 4


def test_the_background_is_the_sources_latents_exactly(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = drag_batch()
    decoded = decoded_latents(monkeypatch)
    run(model, batch, background="trajectory")
    clean = latents_of(model, batch.images)
    boxes = torch.zeros(2, 1, 32, 32)
    boxes[0, :, 4:20, 6:26] = 1.0  # around the rotated rectangle of the relocation
    boxes[1, :, 6:14, 8:16] = 1.0  # the quarter turn of a square is that square
    held = (blending.dilate(blending.latent_mask(boxes, (8, 8)), 1) == 0).expand_as(clean)
    assert held.float().mean() > 0.3
    assert torch.equal(decoded[0][held], clean[held])
    for case in range(2):
        assert (decoded[0][case] - clean[case]).abs().max() > 1e-3


def test_the_background_of_the_reconstruction_is_that_of_fireflow(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = drag_batch()
    decoded = decoded_latents(monkeypatch)
    run(model, batch, **FREE)
    clean = latents_of(model, batch.images)
    trajectory = invert(model, clean, "fireflow", STEPS, batch.source_captions, start=SKIPPED)
    back = reconstruct(model, trajectory, "fireflow", STEPS, batch.target_captions, start=SKIPPED)
    assert torch.allclose(decoded[0][:, :, :, 0], back[:, :, :, 0], atol=1e-5)  # the first column is background
    assert not torch.allclose(decoded[0][:, :, :, 0], clean[:, :, :, 0], atol=1e-5)


def test_without_gradient_steps_and_with_the_sources_caption_it_reconstructs(model: Any) -> None:
    batch = drag_batch()
    batch = replace(batch, target_captions=batch.source_captions)
    still = {"transport_steps": 0, "intensify_steps": 0, "guidance_scale": 1.0, **FREE}
    result, forwards = run(model, batch, **still)
    assert forwards == 3 * (MADE + 1)
    clean = latents_of(model, batch.images)
    trajectory = invert(model, clean, "fireflow", STEPS, batch.source_captions, start=SKIPPED)
    with torch.no_grad():
        back = reconstruct(model, trajectory, "fireflow", STEPS, batch.source_captions, start=SKIPPED)
        assert torch.allclose(result.images, sampling.decode(model, back), atol=1e-5)


def test_gradient_steps_bring_the_features_to_their_target(model: Any) -> None:
    batch = drag_batch()
    assert batch.drags is not None
    params = make_params(get_editor("drag_flow"), SMALL | {"transport_steps": 4, "intensify_steps": 16} | ADAM)
    with torch.no_grad():
        clean = latents_of(model, batch.images)
        trajectory = invert(model, clean, "fireflow", STEPS, batch.source_captions, start=SKIPPED)
        text = encode_flow_text(model, batch.target_captions)
        cells = torch.ones(2, 1, 8, 8)
        moved, _ = drag_latents(model, trajectory, text, cells, batch, None, params)
        points = objective.moving_points(batch.drags, 1.0, 2, clean.device)

        def describe(latents: Tensor) -> Tensor:
            taps = features.flux_taps([0, 1], "both")
            run = lambda: velocity(model, latents, trajectory.times[0], text, params.guidance_scale)  # noqa: E731
            return features.latent_cells(features.block_features(model.transformer, taps, run), (8, 8))

        source = describe(trajectory.latents[0])
        before = objective.moved_features_loss(source, source, points, (32, 32))
        after = objective.moved_features_loss(describe(moved), source, points, (32, 32))
    assert (after < 0.8 * before).all()


def published_drag(model: Any, start: Tensor, time: float, text: FlowText, drags: list[Region], rate: float) -> Tensor:
    """The latents [1, C, h, w] that DragFlow's formula gives for relocations in three steps to the target and one more.

    Features of the source by a forward of their own; all features unpacked and resized to half of the image; there the
    source's and the region are warped as a whole; one mean over everything for each region; plain gradient steps.
    """
    grid = (SIZE // 2, SIZE // 2)

    def describe(latents: Tensor) -> Tensor:
        taps = features.flux_taps([0, 1], "both")
        tokens = features.block_features(model.transformer, taps, lambda: velocity(model, latents, time, text, 3.5))
        maps = [FluxPipeline._unpack_latents(part, 8, 8, vae_scale_factor=1) for part in tokens]
        return torch.cat([functional.interpolate(part, grid, mode="bilinear") for part in maps], dim=1)

    def warp(maps: Tensor, one: Region, progress: float, outside: str) -> Tensor:
        right, down = (-2.0 * float(shift) * progress / SIZE for shift in one.affine[:, 2])
        theta = torch.tensor([[[1.0, 0.0, right], [0.0, 1.0, down]]])
        where = functional.affine_grid(theta, [1, 1, *grid], align_corners=False)
        return functional.grid_sample(maps, where, padding_mode=outside, align_corners=False)

    with torch.no_grad():
        source = describe(start)
    raw = [1 + 0.5 / (float(one.source.mean()) + 0.1) for one in drags]
    latents = start
    for progress in (1 / 3, 2 / 3, 1.0, 1.0):
        with torch.enable_grad():
            latents = latents.detach().requires_grad_()
            found, loss = describe(latents), torch.zeros(())
            for one, weight in zip(drags, raw, strict=True):
                whole = functional.interpolate(torch.from_numpy(one.source)[None, None].float(), grid, mode="bilinear")
                mask = (warp(whole, one, progress, "zeros") > 0.5).float()
                warped = warp(source, one, progress, "border")
                loss = loss + weight / sum(raw) * functional.l1_loss(found * mask, warped * mask)
            (gradient,) = torch.autograd.grad(loss, latents)
        latents = latents.detach() - rate * gradient
    return latents


@pytest.mark.parametrize("count", [1, 2])
def test_plain_steps_are_those_of_the_published_formula(model: Any, count: int) -> None:
    """The second relocation has a target that lies between the points of the working grid."""
    drags = [region(shift=(6.0, 12.0)), region(shift=(11.3, -5.4))][-count:]
    batch = drag_batch(1, [drags])
    params = make_params(get_editor("drag_flow"), SMALL | FREE)
    with torch.no_grad():
        trajectory = invert(
            model, latents_of(model, batch.images), "fireflow", STEPS, batch.source_captions, start=SKIPPED
        )
        text = encode_flow_text(model, batch.target_captions)
        moved, partial = drag_latents(model, trajectory, text, torch.ones(1, 1, 8, 8), batch, None, params)
        expected = published_drag(model, trajectory.latents[0], trajectory.times[0], text, drags, params.learning_rate)
    assert partial == 4
    way = (expected - trajectory.latents[0]).abs().max()
    assert way > 1e-2
    assert (moved - expected).abs().max() < 1e-4 * way


def test_features_of_a_gradient_step_are_those_of_a_forward_of_their_own(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the source's are bit-equal, whether they come with the first gradient step or by themselves."""
    equal = compared_with_forwards_of_their_own(monkeypatch)
    run(model, drag_batch())
    assert equal == [True] * 4


@pytest.mark.parametrize("update", ["plain", "normalized", "adam"])
def test_a_case_gives_the_same_image_in_any_batch(model: Any, update: str) -> None:
    drags = [[region()], [region("rotation"), region(shift=(-4.0, 10.0))], []]
    batch = drag_batch(3, drags)
    rate = {"plain": 300.0, "normalized": 0.1, "adam": 0.05}[update]
    together, _ = run(model, batch, update=update, learning_rate=rate)
    assert together.measures["dragged"] == [1.0, 1.0, 0.0]
    for rows in ([1], [2, 0]):
        alone, _ = run(model, part_of(batch, rows), update=update, learning_rate=rate)
        assert torch.allclose(alone.images, together.images[rows], atol=2e-4)


def test_a_case_without_drags_changes_in_its_mask_only(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = drag_batch(2, [[], []])
    assert batch.masks is not None
    decoded = decoded_latents(monkeypatch)
    result, forwards = run(model, batch, background="trajectory")
    assert forwards == 2 * (MADE + 1)
    assert result.measures["dragged"] == [0.0, 0.0] == result.measures["partial_forwards"]
    other = replace(batch, target_captions=batch.target_captions[::-1])
    run(model, other, background="trajectory")
    inside = (blending.latent_mask(batch.masks, (8, 8)) > 0).expand_as(decoded[0])
    assert torch.equal(decoded[0][~inside], latents_of(model, batch.images)[~inside])
    assert torch.equal(decoded[0][~inside], decoded[1][~inside])
    assert (decoded[0] - decoded[1])[inside].abs().max() > 1e-3  # the caption says what it becomes


def test_injected_keys_and_values_hold_the_image_back(model: Any) -> None:
    batch = drag_batch(2, [[], []])
    full = {"kv_double": "0-1-2", "kv_single": "0-1"}
    source = sampling.decode(model, latents_of(model, batch.images))
    change = []
    for layers in (FREE, full):  # at the guidance of the inversion that the keys and values come from
        result, _ = run(model, batch, background="trajectory", guidance_scale=1.0, **layers)
        change.append((result.images - source).abs().mean().item())
    assert change[1] < 0.95 * change[0]


def test_the_editable_part_may_be_the_mask(model: Any) -> None:
    batch = drag_batch()
    rectangle, mask = (
        run(model, batch, editable=name, background="trajectory")[0].images for name in ("rectangle", "mask")
    )
    assert not torch.equal(rectangle, mask)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"feature_blocks": "none"}, r"'feature_blocks': 'none', expected numbers of blocks"),
        ({"kv_double": "0,1"}, r"'kv_double': '0,1', expected numbers of blocks such as 7-8-18, or none"),
        ({"skipped_steps": 25}, r"'skipped_steps': 25, expected in \[0, 24\]"),
        ({"learning_rate": -1.0}, r"'learning_rate': -1.0, expected at least 0"),
        ({"feature_stride": 0}, r"'feature_stride': 0, expected at least 1"),
        (
            {"adapter": "instantcharacter"},
            r"'adapter': 'instantcharacter', but no identity adapter is built in.*Use none",
        ),
    ],
)
def test_bad_hyperparameters_are_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_params(get_editor("drag_flow"), overrides)


def test_blocks_that_the_model_lacks_are_named(model: Any) -> None:
    for overrides, block in (
        ({"feature_blocks": "17-18"}, "transformer_blocks.17"),
        ({"kv_single": "37"}, "blocks.37"),
    ):
        with pytest.raises(UserError, match=rf"has no block '.*{block}"):
            run(model, drag_batch(), **overrides)
