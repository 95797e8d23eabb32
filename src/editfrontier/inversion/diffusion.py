"""Inversions on a diffusion model: DDIM, with guidance, direct, null-text, and DPM-Solver++.

A step between two noise levels has the same formula in both directions; the inputs of the network differ. On the way to
noise DDIM calls it with the latents of the cleaner level and the timestep of the noisier one, as diffusers'
`DDIMInverseScheduler` and prompt-to-prompt do; DPM-Solver++ takes both from the present level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.inversion.trajectory import Run, Trajectory

Estimate = Callable[[Tensor, float], Tensor]

FEW_STEPS = 10
"""With fewer steps the last step of DPM-Solver++ is of first order, as in its authors' code, in both directions."""
STOP, STOP_STEP = 1e-5, 2e-5
"""Null-text inversion ends the inner loop of a step below a mean squared error of STOP + step * STOP_STEP."""
PUBLISHED_STEPS = 50
"""Published number of steps of null-text inversion: its constants above and its learning rate count these steps."""


# DDIM -----------------------------------------------------------------------------------------------------------------


def ddim_times(model: Any, steps: int, start: int = 0) -> tuple[Any, list[float]]:
    """Return (scheduler, descending timesteps from place `start` of the schedule, then -1 for the clean latents)."""
    scheduler = sampling.make_scheduler(model.scheduler.config)
    scheduler.set_timesteps(steps)
    return scheduler, [*(int(t) for t in scheduler.timesteps[start:]), -1]


def ddim_step(prediction: str, output: Tensor, latents: Tensor, level: float, next_level: float) -> Tensor:
    """Go from latents at one alpha_bar to another, up or down, along the noise that the network's output implies."""
    clean, noise = sampling.split_output(prediction, output, latents, level)
    return sampling.add_noise(clean, noise, next_level)


def ddim(run: Run, clean: Tensor) -> Trajectory:
    """Invert by DDIM: `guidance` 1 reconstructs best (methods `ddim` and `direct`), more is `ddim_guided`."""
    scheduler, times = ddim_times(run.model, run.settings.steps, run.settings.start)
    text, prediction = _text(run), scheduler.config.prediction_type
    latents = [clean]
    for time, noisier in pairwise(reversed(times)):
        output = _output(run, latents[0], noisier, text)
        levels = (sampling.alpha_bar(scheduler, int(t)) for t in (time, noisier))
        latents.insert(0, ddim_step(prediction, output, latents[0], *levels))
    return Trajectory(latents, times, forwards=run.forwards)


def ddim_back(run: Run, trajectory: Trajectory) -> Tensor:
    """Sample by DDIM from the noisiest latents, with the empty embeddings of the trajectory if it has them."""
    scheduler, times = ddim_times(run.model, run.settings.steps, run.settings.start)
    text, prediction = _text(run), scheduler.config.prediction_type
    empties = trajectory.extras.get("empty")
    latents = trajectory.latents[0]
    for step, (time, cleaner) in enumerate(pairwise(times)):
        if empties is not None:
            text = TextEmbeddings(text.prompt, empties[:, step])
        output = _output(run, latents, time, text)
        levels = (sampling.alpha_bar(scheduler, int(t)) for t in (time, cleaner))
        latents = ddim_step(prediction, output, latents, *levels)
    return latents


def _text(run: Run) -> TextEmbeddings:
    """Return the run's embeddings, without the empty prompt, which guidance 1 does not use."""
    assert isinstance(run.text, TextEmbeddings)
    if run.guidance == 1.0:
        return TextEmbeddings(run.text.prompt, None)
    if run.text.empty is None:
        raise ValueError("guidance other than 1 needs the embeddings of the empty prompt")
    return run.text


def _output(run: Run, latents: Tensor, time: float, text: TextEmbeddings) -> Tensor:
    run.note(time, 1 if text.empty is None else 2)
    return sampling.guided_output(run.model, latents, time, text, run.guidance)


# Direct inversion -----------------------------------------------------------------------------------------------------


def direct_back(run: Run, trajectory: Trajectory) -> Tensor:
    """Return the source itself: direct inversion replaces its branch by the trajectory, and runs nothing."""
    if len(trajectory.latents) < len(trajectory.times):
        raise ValueError("direct inversion needs the whole trajectory: keep all of its latents")
    return trajectory.latents[-1]


def edit_direct(
    model: Any,
    trajectory: Trajectory,
    target: TextEmbeddings,
    guidance: float,
    source: TextEmbeddings | None = None,
    after_step: Callable[[int, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Edit from an inverted source whose branch follows its trajectory (direct inversion, Ju et al., 2024).

    A control of attention, set by the caller (`attention.controlled`), reads the source's activations from the same
    network call: the batch is [source, target with the empty prompt, target], B samples each. The source needs its
    prompt alone, because its branch makes no step: a step takes 3 samples an image, 4 with the one of the inversion.
    Steps of both branches with guidance would take 4, and an inversion with guidance 2 more.

    Args:
        model: a text-to-image pipeline.
        trajectory: of `direct` or `ddim`, with all latents.
        target: embeddings of the B target prompts, with the empty prompt unless guidance is 1.
        guidance: w of the target.
        source: embeddings of the B source prompts; None leaves the source out, if nothing reads its activations.
        after_step: (step from 1, target latents, source latents of the same level) -> target latents.

    Returns:
        [B, C, h, w] latents of the edits.
    """
    if len(trajectory.latents) < len(trajectory.times):
        raise ValueError("direct inversion needs the whole trajectory: keep all of its latents")
    if guidance != 1.0 and target.empty is None:
        raise ValueError("guidance other than 1 needs the embeddings of the empty prompt")
    scheduler = sampling.make_scheduler(model.scheduler.config)
    prediction = scheduler.config.prediction_type
    states = [target.prompt] if guidance == 1.0 else [target.empty, target.prompt]
    if source is not None:
        states.insert(0, source.prompt)
    prompts = torch.cat([state for state in states if state is not None])
    latents = trajectory.latents[0]
    for step, (time, cleaner) in enumerate(pairwise(trajectory.times), start=1):
        branches = [latents] * len(states)
        if source is not None:
            branches[0] = trajectory.latents[step - 1]
        outputs = model.unet(torch.cat(branches), time, encoder_hidden_states=prompts, return_dict=False)[0]
        parts = outputs.chunk(len(states))
        output = parts[-1] if guidance == 1.0 else parts[-2] + guidance * (parts[-1] - parts[-2])
        levels = (sampling.alpha_bar(scheduler, int(t)) for t in (time, cleaner))
        latents = ddim_step(prediction, output, latents, *levels)
        if after_step is not None:
            latents = after_step(step, latents, trajectory.latents[step])
    return latents


# Null-text inversion --------------------------------------------------------------------------------------------------


def null_text(run: Run, clean: Tensor) -> Trajectory:
    """Invert at guidance 1, then fit an empty prompt a step so that guidance w retraces it (Mokady et al., 2023).

    Each step continues the fit of the step before by Adam, with a learning rate of 1 - step / 100 times the first,
    until the mean squared error of its latents is below STOP + step * STOP_STEP, or for `inner_steps` updates. Steps
    count in fiftieths of the schedule, so that rate and limit do not depend on the number of steps and are the
    published ones at 50. Each image has its own loss and update, and keeps its embedding when it is done while others
    continue. The check precedes the update, so that the last output of an image serves its step.

    Returns:
        The plain trajectory, `empty` [B, steps, L, D], and the end of the fit: the clean latents `reconstruction`
        [B, C, h, w] with the `guidance` [B] and the `prompt` [B, L, D].
    """
    assert isinstance(run.text, TextEmbeddings)
    if run.guidance == 1.0 or run.text.empty is None:
        raise UserError(
            "inversion 'null_text': guidance is 1, where the empty prompt has no effect; expected more. "
            "Raise guidance_scale, or use method ddim."
        )
    plain = Run(run.model, run.settings, run.text, run.direction, 1.0, on_evaluation=run.on_evaluation)
    trajectory = ddim(plain, clean)
    run.forwards += plain.forwards
    scheduler, times = ddim_times(run.model, run.settings.steps, run.settings.start)
    latents, empty, fitted = trajectory.latents[0], run.text.empty.float(), []
    for step, (time, cleaner) in enumerate(pairwise(times)):
        wanted = trajectory.latents[step + 1]
        levels = tuple(sampling.alpha_bar(scheduler, int(t)) for t in (time, cleaner))
        published_step = step * PUBLISHED_STEPS / run.settings.steps
        empty, latents = _fit_empty(run, scheduler, latents, wanted, time, levels, empty, published_step)
        fitted.append(empty)
    guidance = torch.full((len(clean),), run.guidance, device=clean.device)
    extras = {
        "empty": torch.stack(fitted, 1),
        "reconstruction": latents,
        "guidance": guidance,
        "prompt": run.text.prompt,
    }
    return Trajectory(trajectory.latents, times, extras, run.forwards)


def null_text_back(run: Run, trajectory: Trajectory) -> Tensor:
    """Return the reconstruction of the fit; sample by DDIM if guidance, prompt or steps differ."""
    fitted = trajectory.extras
    if (
        trajectory.times == ddim_times(run.model, run.settings.steps, run.settings.start)[1]
        and torch.equal(fitted["guidance"], torch.full_like(fitted["guidance"], run.guidance))
        and torch.equal(fitted["prompt"], run.text.prompt)
    ):
        return fitted["reconstruction"]
    return ddim_back(run, trajectory)


def _fit_empty(
    run: Run,
    scheduler: Any,
    latents: Tensor,
    wanted: Tensor,
    time: float,
    levels: Sequence[float],
    empty: Tensor,
    step: float,
) -> tuple[Tensor, Tensor]:
    """Return the empty embeddings of a step, and the latents that guidance with them reaches.

    `step` counts from 0 to below PUBLISHED_STEPS, whatever the number of steps.
    """
    assert isinstance(run.text, TextEmbeddings)
    rate = run.settings.learning_rate * (1.0 - step / 100.0)
    run.note(time)
    towards = sampling.guided_output(run.model, latents, time, TextEmbeddings(run.text.prompt, None), 1.0)
    first, second = torch.zeros_like(empty), torch.zeros_like(empty)
    active = torch.ones(len(latents), dtype=torch.bool, device=latents.device)
    for inner in range(run.settings.inner_steps + 1):
        with torch.enable_grad():
            free = empty.detach().requires_grad_()
            run.note(time)
            away = sampling.guided_output(run.model, latents, time, TextEmbeddings(free, None), 1.0)
            output = away + run.guidance * (towards - away)
            reached = ddim_step(scheduler.config.prediction_type, output, latents, levels[0], levels[1])
            losses = (reached - wanted).square().flatten(1).mean(1)
            active = active & (losses.detach() >= STOP + step * STOP_STEP)
            if inner == run.settings.inner_steps or not active.any():
                break
            gradient = torch.autograd.grad(losses.sum(), free)[0]
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.square()
        # Adam's update, with its correction of the first steps; every active image has made `inner` updates.
        spread = (second / (1 - 0.999 ** (inner + 1))).sqrt() + 1e-8
        update = rate * (first / (1 - 0.9 ** (inner + 1))) / spread
        empty = torch.where(active[:, None, None], empty - update, empty)
    return empty.detach(), reached.detach()


# DPM-Solver++ ---------------------------------------------------------------------------------------------------------


def dpm_times(scheduler: Any, steps: int, start: int = 0) -> list[float]:
    """Return steps + 1 timesteps at equal distances, from the last trained one to 0, from place `start` on."""
    last = len(scheduler.alphas_cumprod) - 1
    return [last * (1.0 - k / steps) for k in range(start, steps + 1)]


def signal_and_noise(scheduler: Any, time: float) -> tuple[float, float]:
    """Return (sqrt(alpha_bar), sqrt(1 - alpha_bar)) at a timestep; between two, log alpha_bar is linear."""
    low = min(int(time), len(scheduler.alphas_cumprod) - 2)
    logs = [math.log(float(scheduler.alphas_cumprod[t])) for t in (low, low + 1)]
    level = math.exp(logs[0] + (time - low) * (logs[1] - logs[0]))
    return level**0.5, (1.0 - level) ** 0.5


def clean_estimate(
    model: Any, scheduler: Any, latents: Tensor, time: float, text: TextEmbeddings, guidance: float = 1.0
) -> Tensor:
    """Return the network's estimate of the clean latents [B, C, h, w] at a timestep, which may be a fraction."""
    output = sampling.guided_output(model, latents, time, text, guidance)
    level = signal_and_noise(scheduler, time)[0] ** 2
    return sampling.split_output(scheduler.config.prediction_type, output, latents, level)[0]


def half_log_snr(scheduler: Any, time: float) -> float:
    """Return log(signal / noise) at a timestep; it rises towards clean latents."""
    signal, noise = signal_and_noise(scheduler, time)
    return math.log(signal / noise)


def dpm_step(
    scheduler: Any,
    latents: Tensor,
    clean: Tensor,
    time: float,
    following: float,
    before: tuple[Tensor, float] | None = None,
) -> Tensor:
    """Make a step of DPM-Solver++ (Lu et al., 2022), to noise or to clean latents.

    Args:
        scheduler: for the noise levels.
        latents: [B, C, h, w] at the timestep `time`.
        clean: [B, C, h, w] estimate of the clean latents there.
        time, following: timesteps.
        before: an earlier estimate and its timestep, for a step of second order (2M).

    Returns:
        [B, C, h, w] latents at `following`.
    """
    here = half_log_snr(scheduler, time)
    width = half_log_snr(scheduler, following) - here
    if before is not None:
        clean = clean + width / (2.0 * (here - half_log_snr(scheduler, before[1]))) * (clean - before[0])
    noise, (next_signal, next_noise) = signal_and_noise(scheduler, time)[1], signal_and_noise(scheduler, following)
    return next_noise / noise * latents - next_signal * math.expm1(-width) * clean


def first_order(step: int, steps: int) -> bool:
    """Return whether a step, from 1, is of first order: the first, without an earlier estimate, or the last of few."""
    return step == 1 or step == steps < FEW_STEPS


def dpm_solve(estimate: Estimate, scheduler: Any, start: Tensor, times: Sequence[float]) -> list[Tensor]:
    """Solve by DPM-Solver++ 2M (Lu et al., 2022), along timesteps that rise (to noise) or fall (to clean latents).

    Args:
        estimate: (latents, timestep) -> clean latents; called once a step, at the start of the step.
        scheduler: for the noise levels.
        start: [B, C, h, w] latents at times[0].
        times: as from `dpm_times`, or reversed.

    Returns:
        Latents at each of `times`.
    """
    latents, before = [start], (start, times[0])
    for step, (time, following) in enumerate(pairwise(times), start=1):
        clean = estimate(latents[-1], time)
        earlier = None if first_order(step, len(times) - 1) else before
        latents.append(dpm_step(scheduler, latents[-1], clean, time, following, earlier))
        before = (clean, time)
    return latents


def dpm_solver(run: Run, clean: Tensor) -> Trajectory:
    """Invert by DPM-Solver++ 2M: the clean latents are at timestep 0, and 20 steps are usual (TF-ICON)."""
    scheduler = sampling.make_scheduler(run.model.scheduler.config)
    times = dpm_times(scheduler, run.settings.steps, run.settings.start)
    latents = dpm_solve(_estimate(run, scheduler), scheduler, clean, times[::-1])
    return Trajectory(latents[::-1], times, forwards=run.forwards)


def dpm_solver_back(run: Run, trajectory: Trajectory) -> Tensor:
    """Sample by DPM-Solver++ 2M from the noisiest latents."""
    scheduler = sampling.make_scheduler(run.model.scheduler.config)
    return dpm_solve(_estimate(run, scheduler), scheduler, trajectory.latents[0], trajectory.times)[-1]


def _estimate(run: Run, scheduler: Any) -> Estimate:
    text = _text(run)

    def estimate(latents: Tensor, time: float) -> Tensor:
        run.note(time, 1 if text.empty is None else 2)
        return clean_estimate(run.model, scheduler, latents, time, text, run.guidance)

    return estimate
