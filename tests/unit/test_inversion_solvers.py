"""Orders of convergence of the solvers, on problems whose solution is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier.diffusion import sampling
from editfrontier.inversion import diffusion, flow
from editfrontier.inversion.order import slope

STEPS = (32, 64, 128, 256, 512)
ORDERS = {"euler": 1, "midpoint": 2, "rf_solver": 2, "fireflow": 2}
START = torch.linspace(-0.3, 0.4, 11, dtype=torch.float64)


def field(state: Tensor, time: float) -> Tensor:
    """dx/dt = x^2 cos t: neither linear nor autonomous."""
    return state.square() * math.cos(time)


def solution(start: Tensor, begin: float, end: float) -> Tensor:
    return 1.0 / (1.0 / start + math.sin(begin) - math.sin(end))


def times_of(steps: int) -> list[float]:
    """From 1 to 0, unequal as a flow model spaces them (shift exp(1))."""
    equal = [1.0 - k / steps for k in range(steps)]
    return [math.e / (math.e + 1.0 / t - 1.0) for t in equal] + [0.0]


@pytest.mark.parametrize("direction", ["to noise", "to clean"])
@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence_in_both_directions(name: str, direction: str) -> None:
    errors = []
    for steps in STEPS:
        times = times_of(steps) if direction == "to clean" else times_of(steps)[::-1]
        found = flow.SOLVERS[name](field, START, times, None)
        assert len(found) == steps + 1
        errors.append(float((found[-1] - solution(START, times[0], times[-1])).abs().max()))
    assert slope(STEPS, errors) == pytest.approx(-ORDERS[name], abs=0.1)
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("name", ORDERS)
def test_reconstruction_converges_and_second_order_methods_faster(name: str) -> None:
    """There and back: what even orders do wrong on the way there they undo on the way back, to leading order."""
    errors = []
    for steps in STEPS:
        times, solve = times_of(steps), flow.SOLVERS[name]
        noise = solve(field, START, times[::-1], None)[-1]
        errors.append(float((solve(field, noise, times, None)[-1] - START).abs().max()))
    found = slope(STEPS, errors)
    assert found == pytest.approx(-1, abs=0.15) if name == "euler" else found < -1.9


def test_rf_solver_is_the_midpoint_rule() -> None:
    times = times_of(12)
    a, b = (flow.SOLVERS[name](field, START, times, None) for name in ("midpoint", "rf_solver"))
    for x, y in zip(a, b, strict=True):
        assert torch.allclose(x, y, atol=1e-14)


@pytest.mark.parametrize(("name", "expected"), [("euler", 10), ("midpoint", 20), ("rf_solver", 20), ("fireflow", 11)])
def test_evaluations_are_the_least_that_the_method_needs(name: str, expected: int) -> None:
    asked: list[float] = []

    def counted(state: Tensor, time: float) -> Tensor:
        asked.append(time)
        return field(state, time)

    times = times_of(10)
    flow.SOLVERS[name](counted, START, times, None)
    assert len(asked) == expected
    assert asked[0] == times[0]
    if name == "fireflow":
        assert asked[1:] == [time + (following - time) / 2 for time, following in pairwise(times)]


def test_a_step_may_be_changed_on_the_way() -> None:
    steps: list[int] = []

    def hold(step: int, state: Tensor) -> Tensor:
        steps.append(step)
        return START

    found = flow.fireflow(field, START, times_of(4), hold)
    assert steps == [1, 2, 3, 4]
    assert all(torch.equal(state, START) for state in found)


def test_pull_reaches_its_target_when_full_and_is_the_field_when_none() -> None:
    target, times = START.flip(0), times_of(9)[::-1]

    def never(state: Tensor, time: float) -> Tensor:
        raise AssertionError("a full pull asks nothing of the network")

    full = flow.euler(flow.pulled(never, target, 1.0, lambda time: 1.0), START, times)[-1]
    assert torch.allclose(full, target, atol=1e-12)
    none = flow.euler(flow.pulled(field, target, 1.0, lambda time: 0.0), START, times)[-1]
    assert torch.equal(none, flow.euler(field, START, times)[-1])
    half = flow.euler(flow.pulled(field, target, 1.0, lambda time: 0.5), START, times)[-1]
    assert (half - target).abs().mean() < (none - target).abs().mean()


# Diffusion: a Gaussian of variance 0.5, whose best denoiser and whose path are known. ---------------------------------


@pytest.fixture(scope="module")
def scheduler() -> Any:
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return sampling.make_scheduler(config)


def gaussian_path(scheduler: Any, latents: Tensor, begin: float, end: float) -> Tensor:
    """The ODE's solution keeps the place among the quantiles: latents scale with the standard deviation."""

    def deviation(time: float) -> float:
        signal, noise = diffusion.signal_and_noise(scheduler, time)
        return (0.5 * signal**2 + noise**2) ** 0.5

    return latents * (deviation(end) / deviation(begin))


def gaussian_denoiser(scheduler: Any) -> Callable[[Tensor, float], Tensor]:
    def estimate(latents: Tensor, time: float) -> Tensor:
        signal, noise = diffusion.signal_and_noise(scheduler, time)
        return 0.5 * signal / (0.5 * signal**2 + noise**2) * latents

    return estimate


def middle_times(steps: int, upwards: bool) -> list[float]:
    """From 800 to 200 or back; below, log SNR changes too fast for the order to show with steps of many timesteps."""
    times = [800.0 - 600.0 * k / steps for k in range(steps + 1)]
    return times[::-1] if upwards else times


@pytest.mark.parametrize("upwards", [True, False])
def test_dpm_solver_is_of_second_order_and_ddim_of_first_in_both_directions(scheduler: Any, upwards: bool) -> None:
    estimate, steps = gaussian_denoiser(scheduler), (16, 32, 64, 128)
    errors: dict[str, list[float]] = {"dpm": [], "ddim": []}
    for count in steps:
        times = middle_times(count, upwards)
        expected = gaussian_path(scheduler, START, times[0], times[-1])
        latents = START
        for time, following in pairwise(times):
            (signal, noise), (next_signal, _) = (diffusion.signal_and_noise(scheduler, t) for t in (time, following))
            output = (latents - signal * estimate(latents, time)) / noise
            latents = diffusion.ddim_step("epsilon", output, latents, signal**2, next_signal**2)
        errors["ddim"].append(float((latents - expected).abs().max()))
        solved = diffusion.dpm_solve(estimate, scheduler, START, times)
        assert len(solved) == count + 1
        errors["dpm"].append(float((solved[-1] - expected).abs().max()))
    assert slope(steps, errors["dpm"]) == pytest.approx(-2, abs=0.15)
    assert slope(steps, errors["ddim"]) == pytest.approx(-1, abs=0.15)
    assert errors["dpm"][-1] < errors["ddim"][-1] / 10


def test_twenty_dpm_steps_invert_better_than_twenty_of_first_order(scheduler: Any) -> None:
    times, estimate = diffusion.dpm_times(scheduler, 20)[::-1], gaussian_denoiser(scheduler)
    second = diffusion.dpm_solve(estimate, scheduler, START, times)[-1]
    first = START
    for pair in pairwise(times):  # one step at a time: nothing is remembered
        first = diffusion.dpm_solve(estimate, scheduler, first, pair)[-1]
    expected = gaussian_path(scheduler, START, 0.0, 999.0)
    assert (second - expected).abs().max() < 0.6 * (first - expected).abs().max()


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("steps", [2, 9, 10, 14])
def test_the_last_of_fewer_than_ten_steps_is_of_first_order_in_both_directions(
    scheduler: Any, steps: int, upwards: bool
) -> None:
    times, estimate = middle_times(steps, upwards), gaussian_denoiser(scheduler)
    found = diffusion.dpm_solve(estimate, scheduler, START, times)
    last = estimate(found[-2], times[-2])
    first = diffusion.dpm_step(scheduler, found[-2], last, *times[-2:])
    second = diffusion.dpm_step(scheduler, found[-2], last, *times[-2:], (estimate(found[-3], times[-3]), times[-3]))
    assert not torch.allclose(first, second, rtol=1e-6)
    assert torch.equal(found[-1], first if steps < 10 else second)


def test_noise_levels_between_timesteps_lie_between_theirs(scheduler: Any) -> None:
    for time in (0.0, 49.95, 500.0, 999.0):
        signal, noise = diffusion.signal_and_noise(scheduler, time)
        assert signal**2 + noise**2 == pytest.approx(1)
        below, above = math.floor(time), math.ceil(time)
        assert sampling.alpha_bar(scheduler, above) <= signal**2 + 1e-6 <= sampling.alpha_bar(scheduler, below) + 2e-6
    assert diffusion.dpm_times(scheduler, 20)[:2] == [999.0, pytest.approx(949.05)]
    assert diffusion.dpm_times(scheduler, 20)[-1] == 0.0
