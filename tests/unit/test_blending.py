"""Schedules, polarity, dilation and composites of mask-guided blending."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.diffusion import blending


def test_cosine_falls_from_one_to_exactly_zero() -> None:
    betas = blending.source_schedule("cosine", 25)
    assert betas[0] > 0.99
    assert betas[-1] == 0.0
    assert betas == sorted(betas, reverse=True)
    assert betas[11] == pytest.approx(math.cos(math.pi / 2 * 12 / 25))


def test_printed_schedule_rises_and_leaves_a_fifth_of_a_percent_of_the_edit() -> None:
    betas = blending.source_schedule("printed", 25)
    assert betas[0] == 0.0
    assert betas == sorted(betas)
    assert 1 - betas[-1] == pytest.approx(0.002, abs=2e-4)


def test_step_holds_for_half_of_the_steps_and_constant_and_none_do_not_change() -> None:
    assert blending.source_schedule("step", 5) == [1, 1, 0, 0, 0]
    assert blending.source_schedule("step", 4) == [1, 1, 0, 0]
    assert blending.source_schedule("constant", 3, 0.3) == [0.3] * 3
    assert blending.source_schedule("none", 2) == [0, 0]


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step", "none"])
def test_cumulative_weights_leave_beta_of_the_source_in_total(schedule: str) -> None:
    betas = blending.source_schedule(schedule, 10)
    weights = blending.step_weights(betas, "cumulative")
    assert all(0 <= weight <= 1 for weight in weights)
    for k, beta in enumerate(betas):
        assert math.prod(1 - weight for weight in weights[k:]) == pytest.approx(1 - beta, abs=1e-12)


def test_per_step_weights_compound() -> None:
    weights = blending.step_weights(blending.source_schedule("cosine", 25), "per_step")
    surviving = [math.prod(1 - weight for weight in weights[k:]) for k in range(25)]
    assert sum(share >= 0.5 for share in surviving) == 5  # the last 5 steps keep half of their edit
    assert sum(share >= 0.1 for share in surviving) == 8


def test_cumulative_refuses_a_schedule_that_rises() -> None:
    with pytest.raises(UserError, match="never rises"):
        blending.step_weights(blending.source_schedule("printed", 5), "cumulative")


def test_polarity() -> None:
    mask = torch.tensor([[[[1.0, 0.0]]]])
    weights = {name: sum(blending.region_weights(mask, 0.25, name)).flatten().tolist() for name in blending.POLARITIES}
    assert weights == {"hold": [0.25, 1.0], "release": [0.0, 0.25], "printed": [0.25, 0.0]}


def test_mix_is_exact_at_its_ends() -> None:
    source, edited = torch.full((1, 1, 1, 3), 0.1), torch.full((1, 1, 1, 3), float("nan"))
    mixed = blending.mix(source, edited, torch.tensor([[[[1.0, 0.0, 0.5]]]]))
    assert mixed.flatten()[0] == source.flatten()[0]
    assert mixed.isnan().flatten().tolist() == [False, True, True]


def test_a_mask_thinner_than_a_cell_survives_pooling() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 5, 1:31] = 1  # no pixel that nearest-neighbour resizing by 4 reads
    assert torch.nn.functional.interpolate(mask, size=(8, 8)).sum() == 0
    assert blending.latent_mask(mask, (8, 8))[0, 0, 1].tolist() == [1.0] * 8


def test_dilation_radius_shrinks_and_scales_with_the_grid() -> None:
    at_64 = [blending.dilation_radius(k, 8, "scaled", 64) for k in range(1, 9)]
    assert at_64 == [3, 3, 2, 2, 1, 1, 1, 1]
    assert at_64 == [blending.dilation_radius(k, 8, "cells", 16) for k in range(1, 9)]
    assert {blending.dilation_radius(k, 8, "scaled", 16) for k in range(1, 9)} == {1}
    assert blending.dilation_radius(1, 8, "scaled", 128) == 6
    assert blending.dilation_radius(1, 8, "none", 64) == 0


@pytest.mark.parametrize("unit", blending.DILATION_UNITS)
def test_masks_of_later_steps_nest_in_those_of_earlier_ones(unit: str) -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 30:33, 30:33] = 1
    masks = [blending.editable_cells(mask, (16, 16), k, 10, unit) for k in range(1, 11)]
    assert all(bool((later <= earlier).all()) for earlier, later in pairwise(masks))
    assert bool((masks[-1] >= blending.latent_mask(mask, (16, 16))).all())


def test_pixel_dilation_is_smaller_than_cell_dilation() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 32, 32] = 1
    areas = {u: blending.editable_cells(mask, (16, 16), 1, 10, u).sum().item() for u in blending.DILATION_UNITS}
    assert areas == {"scaled": 9, "cells": 49, "pixels": 4, "none": 1}


def test_feather_is_one_inside_linear_around_and_zero_beyond() -> None:
    mask = torch.zeros(1, 1, 1, 9)
    mask[..., :3] = 1
    weights = blending.feathered(mask, 2)[0, 0, 0]
    assert weights.tolist() == pytest.approx([1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0, 0])
    assert torch.equal(blending.feathered(mask, 0), mask)


def test_paste_keeps_the_source_exactly_beyond_the_feather() -> None:
    source, edited = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:8, 4:8] = 1
    pasted = blending.paste(edited, source, mask, 2)
    far = (blending.dilate(mask, 2) == 0).expand_as(source)
    assert torch.equal(pasted[far], source[far])
    assert torch.equal(pasted[..., 4:8, 4:8], edited[..., 4:8, 4:8])
