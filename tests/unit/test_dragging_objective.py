"""The drag objective against its formula on whole grids, the motion of regions, and the gradient steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.data.regions import Region, apply, warp_mask
from editfrontier.editing.methods import objective
from tiny_flux import region
from tiny_pipelines import SIZE

CPU = torch.device("cpu")
IMAGE = (SIZE, SIZE)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stretched() -> Region:
    """A region stretched to twice its width about its left edge, and sheared."""
    source = region().source
    affine = np.array([[2.0, 0.3, -10.5], [0.0, 1.0, 0.0]])
    return Region("deformation", source, affine, warp_mask(source, affine))


# Motion ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [region(), region("rotation"), stretched()])
def test_motion_starts_at_rest_ends_at_the_target_and_never_mirrors(moved: Region) -> None:
    assert np.allclose(objective.partial_affine(moved, 0.0), np.eye(2, 3), atol=1e-9)
    assert np.array_equal(objective.partial_affine(moved, 1.0), moved.affine)
    assert np.allclose(objective.partial_affine(moved, 1.0 - 1e-9), moved.affine, atol=1e-6)
    for progress in np.linspace(0, 1, 11):
        assert np.linalg.det(objective.partial_affine(moved, progress)[:, :2]) > 0.5


def test_a_relocation_goes_straight_and_a_rotation_turns_about_its_anchor() -> None:
    points = np.argwhere(region().source)[:, ::-1].astype(float)
    half = apply(objective.partial_affine(region(shift=(8.0, 4.0)), 0.25), points)
    assert np.allclose(half - points, (2.0, 1.0))
    turn = region("rotation")
    assert turn.anchor is not None
    third = objective.partial_affine(turn, 1 / 3)
    radius = np.linalg.norm(points - turn.anchor, axis=1)
    assert np.allclose(np.linalg.norm(apply(third, points) - turn.anchor, axis=1), radius)
    assert np.degrees(np.arctan2(third[1, 0], third[0, 0])) == pytest.approx(30.0)


def test_the_fixed_point_of_a_rotation_is_found_where_no_anchor_is_given() -> None:
    turn = region("rotation")
    bare = Region(turn.kind, turn.source, turn.affine, turn.target)
    for progress in (0.2, 0.7):
        assert np.allclose(objective.partial_affine(bare, progress), objective.partial_affine(turn, progress))


def test_an_anchor_that_the_map_moves_still_ends_at_the_target() -> None:
    turn = region("rotation")
    off = Region(turn.kind, turn.source, turn.affine, turn.target, (), (3.0, 4.0))
    assert np.allclose(objective.partial_affine(off, 1.0 - 1e-9), turn.affine, atol=1e-6)
    assert np.allclose(objective.partial_affine(off, 1e-9), np.eye(2, 3), atol=1e-6)


def test_small_regions_weigh_more_and_all_weigh_one_together() -> None:
    large = Region("relocation", np.ones((SIZE, SIZE), bool), np.eye(2, 3), np.ones((SIZE, SIZE), bool))
    small, big = objective.region_weights([region(), large])
    share = region().source.mean()
    assert small / big == pytest.approx((1 + 0.5 / (share + 0.1)) / (1 + 0.5 / 1.1))
    assert small + big == pytest.approx(1.0)
    assert objective.region_weights([region()]) == [1.0]
    assert objective.region_weights([]) == []


@pytest.mark.parametrize("count", [2, 3])
def test_a_plain_step_is_as_long_for_a_region_that_is_named_twice(count: int) -> None:
    features, source = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1)
    once, often = (
        objective.moved_features_loss(features, source, objective.moving_points([drags], 1.0, 2, CPU), IMAGE)
        for drags in ([region()], [region()] * count)
    )
    assert often.item() == pytest.approx(once.item(), rel=1e-5)


def test_the_loss_of_several_regions_is_their_weighted_sum() -> None:
    drags: list[Region] = [region(), region("rotation"), stretched()]
    features, source = random(1, 6, 8, 8), random(1, 6, 8, 8, seed=1)
    before = objective.resized(source, objective.working_size(IMAGE, 2))
    found = objective.moved_features_loss(features, before, objective.moving_points([drags], 0.6, 2, CPU), IMAGE)
    raw = [min(max(1 + 0.5 / (float(one.source.mean()) + 0.1), 1), 5) for one in drags]
    parts = [dense_loss(features, source, one, 0.6, 2).item() for one in drags]
    expected = sum(weight / sum(raw) * part for weight, part in zip(raw, parts, strict=True))
    assert found.item() == pytest.approx(expected, rel=1e-5)


# The loss -------------------------------------------------------------------------------------------------------------


def dense_loss(features: Tensor, source: Tensor, moved: Region, progress: float, stride: int) -> Tensor:
    """The published formula: all is resized to a working grid; there the source's is warped as a whole, both masked."""
    size = (SIZE // stride, SIZE // stride)
    affine = objective.partial_affine(moved, progress)
    # The map on coordinates that go from -1 to 1, which `affine_grid` wants inverted.
    scale, shift = np.diag([SIZE / 2] * 2), np.full(2, (SIZE - 1) / 2)
    matrix = np.linalg.inv(scale) @ np.linalg.inv(affine[:, :2]) @ scale
    offset = np.linalg.inv(scale) @ (np.linalg.inv(affine[:, :2]) @ (shift - affine[:, 2]) - shift)
    theta = torch.from_numpy(np.column_stack([matrix, offset])).float()[None]
    grid = functional.affine_grid(theta, [1, 1, *size], align_corners=False)
    whole = torch.from_numpy(moved.source.astype(np.float32))[None, None]
    cover, before, after = (
        functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        for maps in (whole, source, features)
    )
    mask = (functional.grid_sample(cover, grid, align_corners=False) > 0.5).float()
    warped = functional.grid_sample(before, grid, padding_mode="border", align_corners=False)
    return (after * mask - warped * mask).abs().mean()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("progress", [0.3, 1.0])
@pytest.mark.parametrize("moved", [region(), region("rotation"), stretched()])
def test_the_loss_is_that_of_resized_and_warped_grids(moved: Region, progress: float, stride: int) -> None:
    features, source = random(1, 6, 8, 8), random(1, 6, 8, 8, seed=1)
    points = objective.moving_points([[moved]], progress, stride, CPU)
    before = objective.resized(source, objective.working_size(IMAGE, stride))
    found = objective.moved_features_loss(features, before, points, IMAGE)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(dense_loss(features, source, moved, progress, stride).item(), rel=1e-5)


def test_sampling_is_bilinear_resizing() -> None:
    features = random(2, 3, 8, 8)
    points = torch.from_numpy(objective.pixel_grid(IMAGE, 2)).float().expand(2, -1, -1)
    resized = functional.interpolate(features, size=(16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(objective.sample(features, points, IMAGE), resized.flatten(2), atol=1e-5)


def test_the_loss_vanishes_exactly_when_the_features_have_moved_along() -> None:
    source = random(1, 5, SIZE, SIZE)
    moved = torch.roll(source, (4, 8), (2, 3))
    points = objective.moving_points([[region(shift=(8.0, 4.0))]], 1.0, 1, CPU)
    assert objective.moved_features_loss(moved, source, points, IMAGE).item() < 1e-6
    assert objective.moved_features_loss(source, source, points, IMAGE).item() > 1e-2
    at_rest = objective.moving_points([[region()]], 0.0, 1, CPU)
    assert objective.moved_features_loss(source, source, at_rest, IMAGE).item() < 1e-6


def test_cases_do_not_share_gradients_and_one_without_regions_has_none() -> None:
    drags = [[region()], [], [region("rotation"), region(shift=(-4.0, 12.0))]]
    features, source = random(3, 4, 8, 8).requires_grad_(), random(3, 4, 8, 8, seed=1)
    points = objective.moving_points(drags, 1.0, 2, CPU)
    (together,) = torch.autograd.grad(objective.moved_features_loss(features, source, points, IMAGE).sum(), features)
    assert torch.equal(together[1], torch.zeros_like(together[1]))
    for case in (0, 2):
        one = features[case : case + 1].detach().requires_grad_()
        alone = objective.moving_points([drags[case]], 1.0, 2, CPU)
        loss = objective.moved_features_loss(one, source[case : case + 1], alone, IMAGE).sum()
        assert torch.allclose(torch.autograd.grad(loss, one)[0][0], together[case], atol=1e-8)


def test_a_region_that_is_thinner_than_the_grid_keeps_points() -> None:
    for pixels in (np.s_[5:6, 3:20], np.s_[5:6, 7:8]):
        thin = np.zeros((SIZE, SIZE), bool)
        thin[pixels] = True
        moved = Region("relocation", thin, np.array([[1.0, 0, 3], [0, 1, 3]]), thin)
        for stride in (2, 4, 8):
            points = objective.moving_points([[moved]], 1.0, stride, CPU)
            assert points.weights.sum() > 0
            distance = np.abs(points.sources.numpy()[0] - np.argwhere(thin)[:, None, ::-1]).max(-1).min(0)
            assert distance.max() <= stride


def test_power_two_is_the_mean_square() -> None:
    features, source = random(1, 4, SIZE, SIZE), random(1, 4, SIZE, SIZE, seed=1)
    points = objective.moving_points([[region(shift=(8.0, 4.0))]], 1.0, 1, CPU)
    mask = torch.from_numpy(region(shift=(8.0, 4.0)).target)
    expected = ((features - torch.roll(source, (4, 8), (2, 3))) ** 2)[:, :, mask].sum() / (4 * SIZE**2)
    assert objective.moved_features_loss(features, source, points, IMAGE, power=2).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_the_background_term_sees_the_background_alone() -> None:
    source, changed = random(1, 4, 8, 8), random(1, 4, 8, 8)
    background = torch.ones(1, 1, 8, 8)
    background[:, :, 2:4, 2:4] = 0.0
    changed[:, :, 2:4, 2:4] += 1.0
    assert objective.held_features_loss(changed, source, background).item() == 0.0
    changed[:, :, 0, 0] += 2.0
    assert objective.held_features_loss(changed, source, background).item() == pytest.approx(4.0 / 64)


# Steps ----------------------------------------------------------------------------------------------------------------


def test_plain_and_normalized_steps() -> None:
    latents, gradient = random(2, 1, 2, 2), random(2, 1, 2, 2, seed=1)
    assert torch.equal(objective.Descent("plain", 10.0).step(latents, gradient, 0.5), latents - 5.0 * gradient)
    moved = latents - objective.Descent("normalized", 0.1).step(
        latents, gradient * torch.tensor([1.0, 7.0])[:, None, None, None]
    )
    assert torch.allclose(moved.flatten(1).abs().amax(1), torch.full((2,), 0.1))
    assert torch.allclose(
        moved / moved.flatten(1).norm(dim=1)[:, None, None, None],
        gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None],
    )
    still = objective.Descent("normalized", 0.1).step(latents, torch.zeros_like(latents))
    assert torch.equal(still, latents)


def test_adam_is_that_of_torch() -> None:
    latents = random(2, 1, 2, 2)
    reference = torch.nn.Parameter(latents.clone())
    optimizer = torch.optim.Adam([reference], lr=0.05)
    descent = objective.Descent("adam", 0.05)
    for seed in range(4):
        gradient = random(2, 1, 2, 2, seed=seed)
        reference.grad = gradient.clone()
        optimizer.step()
        latents = descent.step(latents, gradient)
    assert torch.allclose(latents, reference.detach(), atol=1e-6)
    assert torch.equal(objective.Descent("adam", 0.05).step(latents, torch.zeros_like(latents)), latents)


def test_what_may_change_is_around_the_drag_or_outside_of_the_background() -> None:
    background = torch.ones(1, SIZE, SIZE)
    background[:, 20:24, 20:24] = 0.0
    assert torch.equal(objective.editable_pixels([], background), 1.0 - background)
    moved = region(shift=(8.0, 0.0))
    found = objective.editable_pixels([moved], background)
    expected = torch.zeros(1, SIZE, SIZE)
    expected[:, 6:14, 8:24] = 1.0
    assert torch.equal(found, expected)
