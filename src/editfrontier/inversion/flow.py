"""Solvers of the flow ODE dx/dt = v(x, t), for both directions, and the inversions by them.

Time, step and latents stay float32 (or Python floats); a network in half precision rounds only its own input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from editfrontier.diffusion.flow import FlowText, flow_times, velocity
from editfrontier.inversion.trajectory import AfterStep, Run, Trajectory

Field = Callable[[Tensor, float], Tensor]
Solver = Callable[[Field, Tensor, Sequence[float], AfterStep | None], list[Tensor]]


# Solvers --------------------------------------------------------------------------------------------------------------
#
# (field, state at times[0], times, after_step) -> states at each of `times`, which rise or fall. `after_step` gets the
# step from 1 and the state, and returns the state to go on from.


def euler(field: Field, start: Tensor, times: Sequence[float], after_step: AfterStep | None = None) -> list[Tensor]:
    """Solve by Euler's method: first order, one evaluation a step."""

    def step(state: Tensor, time: float, width: float) -> Tensor:
        return state + width * field(state, time)

    return _march(step, start, times, after_step)


def midpoint(field: Field, start: Tensor, times: Sequence[float], after_step: AfterStep | None = None) -> list[Tensor]:
    """Solve by the explicit midpoint rule: second order, two evaluations a step."""

    def step(state: Tensor, time: float, width: float) -> Tensor:
        middle = state + width / 2 * field(state, time)
        return state + width * field(middle, time + width / 2)

    return _march(step, start, times, after_step)


def rf_solver(field: Field, start: Tensor, times: Sequence[float], after_step: AfterStep | None = None) -> list[Tensor]:
    """Solve by RF-Solver (Wang et al., 2024): a Taylor step of second order, its derivative by a half step.

    The derivative of v along the path is 2 (v_mid - v) / width, which makes the step that of `midpoint`.
    """

    def step(state: Tensor, time: float, width: float) -> Tensor:
        here = field(state, time)
        middle = field(state + width / 2 * here, time + width / 2)
        return state + width * here + width**2 / 2 * ((middle - here) / (width / 2))

    return _march(step, start, times, after_step)


def fireflow(field: Field, start: Tensor, times: Sequence[float], after_step: AfterStep | None = None) -> list[Tensor]:
    """Solve by FireFlow (Deng et al., 2024): the midpoint rule, its half step by the mid velocity of the step before.

    Second order where the velocity is smooth, with one evaluation a step and one more for the first half step.
    """
    cached: list[Tensor] = []

    def step(state: Tensor, time: float, width: float) -> Tensor:
        here = cached.pop() if cached else field(state, time)
        middle = field(state + width / 2 * here, time + width / 2)
        cached.append(middle)
        return state + width * middle

    return _march(step, start, times, after_step)


def _march(
    step: Callable[[Tensor, float, float], Tensor], start: Tensor, times: Sequence[float], after_step: AfterStep | None
) -> list[Tensor]:
    states = [start]
    for count, (time, following) in enumerate(pairwise(times), start=1):
        state = step(states[-1], time, following - time)
        states.append(state if after_step is None else after_step(count, state))
    return states


SOLVERS: dict[str, Solver] = {"euler": euler, "midpoint": midpoint, "rf_solver": rf_solver, "fireflow": fireflow}


def pulled(field: Field, target: Tensor, end: float, weight: Callable[[float], float]) -> Field:
    """Return a field that is pulled to a target, which a straight line would reach at the time `end` (RF-Inversion).

    v + weight(t) ((target - x) / (end - t) - v). Where the weight is 1 the field is not evaluated.
    """

    def controlled(state: Tensor, time: float) -> Tensor:
        pull = weight(time)
        if pull == 0.0:
            return field(state, time)
        straight = (target - state) / (end - time)
        if pull == 1.0:
            return straight
        here = field(state, time)
        return here + pull * (straight - here)

    return controlled


# Inversions -----------------------------------------------------------------------------------------------------------


def field_of(run: Run) -> Field:
    """Return the model's velocity under the run's text and guidance."""

    def field(state: Tensor, time: float) -> Tensor:
        assert isinstance(run.text, FlowText)
        run.note(time)
        return velocity(run.model, state, time, run.text, run.guidance, run.joint_attention_kwargs)

    return field


def _times(run: Run, latents: Tensor) -> list[float]:
    return flow_times(run.model, (latents.shape[-2], latents.shape[-1]), run.settings.steps)[run.settings.start :]


def solve(run: Run, clean: Tensor) -> Trajectory:
    """Invert by the solver of the method."""
    times = _times(run, clean)
    states = SOLVERS[run.settings.method](field_of(run), clean, times[::-1], None)
    return Trajectory(states[::-1], times, forwards=run.forwards)


def solve_back(run: Run, trajectory: Trajectory) -> Tensor:
    """Sample by the solver of the method, from the noisiest latents."""
    return SOLVERS[run.settings.method](field_of(run), trajectory.latents[0], trajectory.times, None)[-1]


def rf_inversion(run: Run, clean: Tensor) -> Trajectory:
    """Invert by Euler on a field that is pulled to noise by `gamma` (RF-Inversion, Rout et al., 2024).

    All times are those of the model's schedule; published pipelines mix them with equal ones (docs/methods.md).
    """
    assert run.noise is not None
    times, gamma = _times(run, clean), run.settings.gamma
    field = pulled(field_of(run), run.noise, 1.0, lambda time: gamma)
    return Trajectory(euler(field, clean, times[::-1])[::-1], times, forwards=run.forwards)


def rf_inversion_back(run: Run, trajectory: Trajectory, eta: float = 1.0, stop: float = 0.25) -> Tensor:
    """Sample by Euler on a field that is pulled to the source by `eta` in the first share `stop` of the steps.

    With eta 1 these steps do not call the network. The pull improves the reconstruction by the source itself; eta 0 is
    the inversion alone.
    """
    if len(trajectory.latents) < len(trajectory.times):
        raise ValueError("RF-Inversion pulls to the clean latents: keep all latents of the trajectory")
    steps = len(trajectory.times) - 1
    early = set(trajectory.times[: int(stop * steps)])
    field = pulled(field_of(run), trajectory.latents[-1], 0.0, lambda time: eta if time in early else 0.0)
    return euler(field, trajectory.latents[0], trajectory.times)[-1]
