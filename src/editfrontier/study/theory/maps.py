"""The maps and vector fields of the shipped models that the theorems speak of, as plain functions of latents."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from editfrontier import inversion
from editfrontier.diffusion import sampling
from editfrontier.diffusion.flow import FlowText, flow_times, velocity
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.inversion.diffusion import ddim_times
from editfrontier.inversion.trajectory import Run, Trajectory, TrajectorySettings

Map = Callable[[Tensor], Tensor]


class Field(Protocol):
    """A vector field along given times."""

    def __call__(self, states: Tensor, step: int) -> Tensor:
        """Return the derivative of states [B, ...] by time, at the time that step `step` begins with."""


def freeze(model: Any) -> Any:
    """Switch off the gradients of a pipeline's weights, which nothing here needs and which cost time; return it."""
    for network in (sampling.denoiser(model), model.vae):
        network.requires_grad_(False)
    return model


def decoder(model: Any) -> Map:
    """Return the map from scaled latents [B, C, h, w] to images, without the clamp to [-1, 1].

    Clamping moves no two images farther apart, so that a Lipschitz constant of this map is one of the clamped map too.
    """
    scale = float(model.vae.config.scaling_factor)
    shift = float(getattr(model.vae.config, "shift_factor", None) or 0.0)
    return lambda latents: model.vae.decode(latents / scale + shift, return_dict=False)[0]


def encoder(model: Any) -> Map:
    """Return the map from images [B, 3, H, W] to scaled latents, the mode of the posterior."""
    return lambda images: sampling.encode(model, images)


def sampler(model: Any, method: str, steps: int, text: inversion.Text, times: list[float]) -> Map:
    """Return the deterministic sampler z_T -> z_0 of an inversion method, with gradients (`inversion.reconstruct` has
    none).

    Args:
        method: a key of `inversion.METHODS` without extras, such as "ddim" or "fireflow".
        times: of the trajectory that `inversion.invert` returned.
    """
    assert isinstance(text, (TextEmbeddings, FlowText))
    back = inversion.METHODS[method].back

    def run(latents: Tensor) -> Tensor:
        settings = TrajectorySettings(method, steps)
        return back(Run(model, settings, text, "reconstruction", 1.0), Trajectory([latents], times))

    return run


def noise_levels(model: Any, steps: int) -> tuple[Any, list[int], list[float]]:
    """Return (scheduler, the timesteps of DDIM, alpha_bar at each of them and after the last)."""
    scheduler, times = ddim_times(model, steps)
    return scheduler, [int(t) for t in times[:-1]], [sampling.alpha_bar(scheduler, int(t)) for t in times]


def noise_estimate(model: Any, latents: Tensor, timestep: float, level: float, prompt: Tensor) -> Tensor:
    """Return eps_theta(z_t, c, t) [B, C, h, w] of a diffusion model, whatever its output stands for.

    Args:
        latents: [B, C, h, w] at this timestep.
        prompt: embeddings [B, L, D] of the condition.
    """
    output = sampling.guided_output(model, latents, timestep, TextEmbeddings(prompt, None), 1.0)
    return sampling.split_output(model.scheduler.config.prediction_type, output, latents, level)[1]


def diffusion_field(model: Any, steps: int, prompt: Tensor) -> tuple[Field, list[float]]:
    """Return (field, times) whose Euler steps are the DDIM steps of a prompt.

    With y = z / sqrt(alpha_bar) and sigma = sqrt((1 - alpha_bar) / alpha_bar), the probability-flow equation is
    dy/dsigma = eps_theta, and the score is -eps_theta / sqrt(1 - alpha_bar) (Song et al., 2021; the paper, 6.1).
    """
    _, timesteps, levels = noise_levels(model, steps)

    def field(states: Tensor, step: int) -> Tensor:
        level = levels[step]
        return noise_estimate(model, level**0.5 * states, timesteps[step], level, prompt)

    return field, [((1.0 - level) / level) ** 0.5 for level in levels]


def flow_field(model: Any, size: tuple[int, int], steps: int, text: FlowText) -> tuple[Field, list[float]]:
    """Return (field, times) whose Euler steps sample a flow model: dx/dt = v(x, t, c)."""
    times = flow_times(model, size, steps)

    def field(states: Tensor, step: int) -> Tensor:
        return velocity(model, states, times[step], text)

    return field, times


def euler_states(field: Field, start: Tensor, times: list[float]) -> list[Tensor]:
    """Return the states [B, ...] at each of `times`, by Euler's method from the first of them."""
    states = [start]
    with torch.no_grad():
        for step, (time, following) in enumerate(pairwise(times)):
            states.append(states[-1] + (following - time) * field(states[-1], step))
    return states
