"""Guidance schedules: their means, directions and interval, and what they do in mask-guided editing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion import guidance, sampling
from editfrontier.editing.editor import EditBatch, get_editor, make_params
from editfrontier.editing.editors.mask_guided import edit_latents
from tiny_pipelines import fresh_generators, tiny_batch, tiny_pipeline

STEPS, MADE = 12, 9
UP = ("linear_up", "cosine_up")
DOWN = ("linear_down", "cosine_down")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def latents_of(model: Any, batch: EditBatch, **overrides: Any) -> tuple[Tensor, int]:
    """(edited latents, forwards a case)."""
    params = make_params(get_editor("mask_guided"), {"num_inference_steps": STEPS, **overrides})
    counter = sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        edited = edit_latents(model, clean, replace(batch, generators=fresh_generators(len(clean))), params)
    handle.remove()
    return edited, counter.samples // len(batch.images)


@pytest.mark.parametrize("schedule", [*UP, *DOWN, "constant"])
@pytest.mark.parametrize("steps", [1, 2, 9, 37])
def test_the_mean_over_the_steps_is_w(schedule: str, steps: int) -> None:
    assert sum(guidance.step_factors(schedule, steps)) / steps == pytest.approx(1.0, abs=1e-12)


def test_up_rises_towards_the_clean_image_and_down_is_its_mirror() -> None:
    for up, down in zip(UP, DOWN, strict=True):
        rising = guidance.step_factors(up, 10)
        assert all(later > earlier for earlier, later in pairwise(rising))
        assert rising[::-1] == pytest.approx(guidance.step_factors(down, 10))
    assert guidance.step_factors("linear_up", 4) == pytest.approx([0.25, 0.75, 1.25, 1.75])
    assert guidance.step_factors("cosine_up", 2) == pytest.approx([1 - math.sqrt(0.5), 1 + math.sqrt(0.5)])


def test_the_interval_is_open_below_and_closed_above() -> None:
    levels = [1 / (1 + sigma**2) for sigma in (5.0, 2.0, 1.0, 0.5)]
    assert [guidance.noise_ratio(level) for level in levels] == pytest.approx([5.0, 2.0, 1.0, 0.5])
    exact = (guidance.noise_ratio(levels[2]), guidance.noise_ratio(levels[1]))
    assert guidance.step_scales("interval", 7.5, levels, exact) == [1.0, 7.5, 1.0, 1.0]


def test_a_constant_scale_is_not_touched() -> None:
    cells = torch.rand(2, 1, 4, 4)
    assert all(scale is cells for scale in guidance.step_scales("constant", cells, [0.5] * 3))
    assert guidance.needs_empty_prompt(cells)
    assert guidance.needs_empty_prompt(0.0)
    assert not guidance.needs_empty_prompt(1.0)


def test_a_map_keeps_its_mean_in_each_region() -> None:
    cells = torch.tensor([7.5, 1.0]).reshape(1, 1, 1, 2)
    scales = guidance.step_scales("linear_up", cells, [0.5] * 6)
    assert torch.stack([torch.as_tensor(scale) for scale in scales]).mean(0).flatten().tolist() == pytest.approx(
        [7.5, 1.0]
    )


def test_steps_outside_the_interval_need_one_forward_and_ignore_w(model: Any) -> None:
    batch = tiny_batch()
    scheduler = sampling.make_scheduler(model.scheduler.config)
    timesteps = sampling.image_to_image_timesteps(scheduler, STEPS, 0.75)
    sigmas = [guidance.noise_ratio(sampling.alpha_bar(scheduler, t)) for t in timesteps]
    low, high = sigmas[6], sigmas[2]  # the interval holds steps 2 to 5
    chosen = {"guidance_schedule": "interval", "guidance_sigma_low": low, "guidance_sigma_high": high}
    edited, forwards = latents_of(model, batch, **chosen)
    assert forwards == MADE + 4
    whole = {**chosen, "guidance_sigma_low": 0.0, "guidance_sigma_high": sigmas[0]}
    assert torch.equal(latents_of(model, batch, **whole)[0], latents_of(model, batch)[0])
    nothing = {**chosen, "guidance_sigma_low": sigmas[0], "guidance_sigma_high": 2 * sigmas[0]}
    free, forwards = latents_of(model, batch, **nothing)
    assert forwards == MADE
    assert torch.equal(free, latents_of(model, batch, guidance_scale=1.0)[0])
    assert not torch.allclose(free, edited, atol=1e-4)


def test_a_schedule_changes_the_edit_and_not_its_cost(model: Any) -> None:
    batch = tiny_batch()
    constant, forwards = latents_of(model, batch)
    found = {name: latents_of(model, batch, guidance_schedule=name) for name in (*UP, *DOWN)}
    assert {count for _, count in found.values()} == {forwards}
    for name, (edited, _) in found.items():
        assert not torch.allclose(edited, constant, atol=1e-4), name


def test_an_interval_upside_down_is_refused() -> None:
    with pytest.raises(UserError, match="guidance_sigma_high"):
        make_params(get_editor("mask_guided"), {"guidance_sigma_low": 2.0, "guidance_sigma_high": 1.0})
