"""The paper's region drag and the copy-paste control: counts, special cases, objectives, any batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.data.pixels import to_arrays, to_images
from editfrontier.data.regions import Region, warp_mask
from editfrontier.diffusion import blending, sampling
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.editing.editors.region_drag import drag_latents
from editfrontier.inversion import invert
from test_dragging_features import Calls, compared_with_forwards_of_their_own
from tiny_flux import drag_batch, part_of, region
from tiny_pipelines import SIZE, tiny_pipeline

STEPS, MADE = 6, 3
SMALL = {"num_inference_steps": STEPS, "strength": 0.5, "inner_steps": 2, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def run(model: Any, batch: EditBatch, **overrides: Any) -> tuple[Tensor, float, Measured]:
    """(images, forwards per case, what the editor gives)."""
    editor = get_editor("region_drag")
    counter = sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    with torch.no_grad():
        result = editor.edit(model, batch, make_params(editor, SMALL | overrides))
    handle.remove()
    assert isinstance(result, Measured)
    return result.images, counter.samples / len(batch.images), result


def latents_of(model: Any, batch: EditBatch, **overrides: Any) -> tuple[Tensor, Tensor]:
    """(latents of the source, of the edit)."""
    params = make_params(get_editor("region_drag"), SMALL | overrides)
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        trajectory = invert(model, clean, "ddim", STEPS, batch.source_captions, start=STEPS - MADE)
        return clean, drag_latents(model, trajectory, batch, params)[0]


def test_forwards_are_the_least_that_the_method_needs(model: Any) -> None:
    _, forwards, result = run(model, drag_batch())
    # Every gradient step, and the source's features wherever the first step does not give them.
    assert forwards == MADE + (MADE * 2 + MADE - 1) + 2 * MADE
    assert result.measures == {"partial_forwards": [8.0, 8.0]}
    _, forwards, result = run(model, drag_batch(), timesteps="one", inner_steps=4, guidance_scale=1.0)
    assert forwards == MADE + 4 + MADE
    assert result.measures == {"partial_forwards": [4.0, 4.0]}
    _, forwards, result = run(model, drag_batch(), objective="printed", background_weight=0.0, guidance_scale=1.0)
    assert forwards == MADE + MADE * 2 + MADE
    assert result.measures == {"partial_forwards": [6.0, 6.0]}


def test_features_of_a_gradient_step_are_those_of_a_forward_of_their_own(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the source's are bit-equal, whether they come with the first gradient step or by themselves."""
    equal = compared_with_forwards_of_their_own(monkeypatch)
    run(model, drag_batch())
    assert equal == [True] * 8


def test_the_optimisation_runs_no_block_behind_its_layer(model: Any) -> None:
    unet = model.unet
    for layer, last in (("down_blocks.1", 0), ("mid_block", 1), ("up_blocks.0", 2)):
        calls = Calls(unet.down_blocks[1], unet.mid_block, unet.up_blocks[0], unet.up_blocks[1])
        run(model, drag_batch(), layer=layer)
        whole, partial = MADE + MADE, MADE * 3 - 1  # guidance is one call of both
        assert calls.stop() == [whole + partial if block <= last else whole for block in range(4)]


def test_without_gradient_steps_and_guidance_it_is_the_inversions_way_back(model: Any) -> None:
    from editfrontier.inversion import reconstruct

    batch = drag_batch()
    batch = replace(batch, target_captions=batch.source_captions)
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        trajectory = invert(model, clean, "ddim", STEPS, batch.source_captions, start=STEPS - MADE)
        back = reconstruct(model, trajectory, "ddim", STEPS, batch.source_captions, start=STEPS - MADE)
    _, latents = latents_of(model, batch, inner_steps=0, guidance_scale=1.0)
    assert torch.allclose(latents, back, atol=1e-5)


def test_a_hard_background_is_the_sources_latents_exactly(model: Any) -> None:
    batch = drag_batch()
    clean, latents = latents_of(model, batch, background="hard")
    boxes = torch.zeros(2, 1, SIZE, SIZE)
    boxes[0, :, 4:20, 6:26] = 1.0
    boxes[1, :, 6:14, 8:16] = 1.0
    held = (blending.dilate(blending.latent_mask(boxes, (8, 8)), 1) == 0).expand_as(clean)
    assert held.float().mean() > 0.3
    assert torch.equal(latents[held], clean[held])
    _, free = latents_of(model, batch)
    assert not torch.equal(free[held], clean[held])


def test_the_background_weight_holds_the_background(model: Any) -> None:
    batch = replace(drag_batch(), backgrounds=torch.ones(2, 1, SIZE, SIZE))
    common = {"guidance_scale": 1.0, "update": "plain", "learning_rate": 1.0, "timesteps": "one"}
    still = latents_of(model, batch, inner_steps=0, **common)[1]
    free, held = (
        (latents_of(model, batch, inner_steps=6, background_weight=weight, **common)[1] - still).abs().mean()
        for weight in (0.0, 1.0)
    )
    assert 0 < held < 0.6 * free


def test_the_printed_objective_has_no_source_and_differs(model: Any) -> None:
    batch = drag_batch()
    common = {"update": "plain", "learning_rate": 5.0, "background_weight": 0.0, "guidance_scale": 1.0}
    still = latents_of(model, batch, inner_steps=0, **common)[1]
    warped, printed = (latents_of(model, batch, objective=name, **common)[1] for name in ("warped", "printed"))
    assert (warped - still).abs().max() > 1e-4 < (printed - still).abs().max()
    assert not torch.allclose(warped, printed, atol=1e-4)
    # A region that stays where it is satisfies the printed objective whatever the latents are.
    rest = replace(batch, drags=[[region(shift=(0.0, 0.0))]] * 2)
    assert torch.allclose(latents_of(model, rest, objective="printed", **common)[1], still, atol=1e-5)


def test_the_rate_follows_the_noise_schedule(model: Any) -> None:
    batch = drag_batch()
    fixed, scaled = (latents_of(model, batch, rate_schedule=name)[1] for name in ("constant", "noise"))
    still = latents_of(model, batch, inner_steps=0)[1]
    assert (scaled - still).abs().mean() < (fixed - still).abs().mean()


@pytest.mark.parametrize("overrides", [{}, {"update": "normalized", "background": "hard", "progressive": True}])
def test_a_case_gives_the_same_image_in_any_batch(model: Any, overrides: dict[str, Any]) -> None:
    batch = drag_batch(3, [[region()], [region("rotation"), region(shift=(-4.0, 10.0))], [region(shift=(0.0, 9.0))]])
    together, _, _ = run(model, batch, **overrides)
    for rows in ([1], [2, 0]):
        alone, _, _ = run(model, part_of(batch, rows), **overrides)
        assert torch.allclose(alone, together[rows], atol=5e-4)


def test_a_layer_that_the_model_lacks_is_named(model: Any) -> None:
    with pytest.raises(UserError, match=r"has no block 'mid_blok'. Did you mean 'mid_block'"):
        run(model, drag_batch(), layer="mid_blok")
    with pytest.raises(UserError, match=r"'layer': is empty"):
        make_params(get_editor("region_drag"), {"layer": ""})
    with pytest.raises(UserError, match=r"'inner_steps': -1, expected at least 0"):
        make_params(get_editor("region_drag"), {"inner_steps": -1})


# Copy and paste -------------------------------------------------------------------------------------------------------


def pasted(images: Tensor, drags: list[list[Region]], **overrides: Any) -> Tensor:
    editor = get_editor("copy_paste")
    batch = replace(drag_batch(len(images), drags), images=images)
    result = editor.edit(None, batch, make_params(editor, overrides))
    assert isinstance(result, Tensor)
    return result


def test_copy_paste_moves_the_region_and_fills_its_place() -> None:
    image = np.full((SIZE, SIZE, 3), (40, 90, 140), np.uint8)
    image[6:14, 8:16] = (250, 20, 20)
    (made,) = to_arrays(pasted(to_images([image]), [[region(shift=(8.0, 6.0))]]))
    expected = np.full((SIZE, SIZE, 3), (40, 90, 140), np.uint8)
    expected[12:20, 16:24] = (250, 20, 20)
    assert np.abs(made.astype(int) - expected).max() <= 2
    assert np.array_equal(made[24:], image[24:])


def test_copy_paste_moves_several_regions_and_turns_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    source = np.zeros((SIZE, SIZE), bool)
    source[22:28, 20:30] = True
    affine = np.array([[1.0, 0.0, -16.0], [0.0, 1.0, 0.0]])
    other = Region("relocation", source, affine, warp_mask(source, affine))
    (made,) = to_arrays(pasted(to_images([image]), [[region("rotation"), other]]))
    assert np.array_equal(made[22:28, 4:14], image[22:28, 20:30])
    assert np.array_equal(made[6:14, 8:16], np.rot90(image[6:14, 8:16], -1))
