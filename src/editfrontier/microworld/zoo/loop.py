"""One resumable training loop for every model of the micro zoo.

A step depends on (name, seed, step number) and the saved state alone: the batch generator and the global generator
(dropout) are seeded at each step, so a run that was stopped and resumed ends like an uninterrupted one. The number of
threads is an option of the caller and no part of the settings.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
StepCallback = Callable[[int, nn.Module], None]


@dataclass(frozen=True)
class TrainSettings:
    """All settings that decide the result of a training run; the model's provenance holds them.

    Attributes:
        steps: optimiser steps.
        learning_rate: the peak of the one-cycle schedule.
        warmup: share of the steps that climbs to the peak, in [0, 1).
        schedule_steps: length of the schedule, 0 = steps; a longer one ends before the rate has fallen.
        final_lr: the last learning rate as a share of the peak.
        ema: decay of the averaged weights (ramped up as (1 + step) / (10 + step)), 0 = no averaging.
        clip: largest gradient norm, 0 = no clipping.
        precision: "fp32", or "bf16" for autocast.
        seed: seed of data order, noise and dropout.
    """

    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: float = 0.05
    schedule_steps: int = 0
    final_lr: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    precision: str = "bf16"
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise UserError(f"precision: {self.precision!r} is unknown, expected fp32 or bf16. Correct config/zoo.yaml")
        if self.steps < 1:
            raise UserError(f"steps: got {self.steps}, expected at least 1. Correct config/zoo.yaml")


@dataclass
class TrainResult:
    """The averaged weights (plain ones without averaging), fp32 on the CPU, and (step, mean loss) of each log line."""

    model_state: dict[str, Tensor]
    steps: int
    seconds: float
    device: str
    losses: list[tuple[int, float]] = field(default_factory=list)

    def plus(self, *others: TrainResult) -> TrainResult:
        """Return this result with the steps and seconds of other stages added."""
        stages = [self, *others]
        steps, seconds = sum(stage.steps for stage in stages), sum(stage.seconds for stage in stages)
        return replace(self, steps=steps, seconds=seconds)


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Return the rate of a step by one-cycle (Smith and Topin, 2019): a linear climb, then a cosine to `final_lr`."""
    length = settings.schedule_steps or settings.steps
    climb = max(1, round(length * settings.warmup))
    if step < climb:
        return settings.learning_rate * (step + 1) / climb
    progress = (step - climb) / max(1, length - climb)
    low = settings.learning_rate * settings.final_lr
    return low + (settings.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def step_generator(name: str, seed: int, step: int) -> torch.Generator:
    """Return the generator of one step: all randomness of a batch must come from it."""
    return torch.Generator().manual_seed(stable_seed("train", name, seed, step))


def save_atomically(payload: Mapping[str, Any], path: Path) -> None:
    """Write tensors with `torch.save`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    torch.save(dict(payload), partial)
    os.replace(partial, path)


def cached(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the tensors of a file, made and saved first if it is not there."""
    if not path.exists():
        save_atomically(make(), path)
    tensors: dict[str, Any] = torch.load(path, weights_only=True)
    return tensors


class _Average:
    """Exponential average of a model's parameters; `swap` exchanges both."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self.parameters], 1 - decay)

    def swap(self) -> None:
        if self.decay:
            for parameter, mean in zip(self.parameters, self.values, strict=True):
                held = parameter.detach().clone()
                parameter.data.copy_(mean)
                mean.copy_(held)

    def call(self, model: nn.Module, step: int, callbacks: Sequence[StepCallback]) -> None:
        """Call functions with the averaged weights in the model."""
        if callbacks:
            self.swap()
            model.eval()
            for callback in callbacks:
                callback(step, model)
            model.train()
            self.swap()


@dataclass
class _Progress:
    """Where a run is: steps made, seconds spent, losses by log line; and the losses since the last line."""

    name: str
    steps: int
    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    last_log: float = field(default_factory=time.monotonic)

    def report(self) -> None:
        """Log the mean loss and the pace since the last line."""
        now, mean = time.monotonic(), sum(self.recent) / len(self.recent)
        pace = (now - self.last_log) / len(self.recent)
        eta = pace * (self.steps - self.step) / 60
        self.losses.append((self.step, mean))
        line = "%s: step %d/%d loss %.4f %.3f s/step ETA %.1f min"
        log.info(line, self.name, self.step, self.steps, mean, pace, eta)
        self.recent, self.last_log = [], now


def _optimiser(parameters: Sequence[nn.Parameter], settings: TrainSettings) -> torch.optim.AdamW:
    """Return AdamW, with weight decay for matrices alone."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def train(
    name: str,
    model: nn.Module,
    batch_fn: Callable[[int, torch.Generator], Batch],
    loss_fn: Callable[[nn.Module, Batch], Tensor],
    settings: TrainSettings,
    work_dir: Path,
    callbacks: Sequence[tuple[int, StepCallback]] = (),
    *,
    checkpoint_seconds: float = 60.0,
    log_seconds: float = 15.0,
    stop_at: int | None = None,
) -> TrainResult:
    """Train `model` in place; resume from `work_dir/state/state.pt` if it is there.

    Args:
        name: name in the seeds and the log lines.
        model: the model.
        batch_fn: (step, generator on the CPU) -> batch; a pure function of both. Move tensors to the device in loss_fn
            or here.
        loss_fn: (model, batch) -> scalar; runs under autocast if the precision is bf16. Draw noise in batch_fn, with
            its generator.
        settings: all settings.
        work_dir: folder of the state.
        callbacks: (every, function(step, model)), called after each `every`-th step with the averaged weights in the
            model.
        checkpoint_seconds, log_seconds: time between two saved states and two log lines.
        stop_at: return after this step with the state saved (shows that resuming is exact).

    Raises:
        UserError: the saved state has other settings.
        FloatingPointError: the loss is not finite.
    """
    device = torch.device(settings.device)
    model.to(device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser, average = _optimiser(parameters, settings), _Average(parameters, settings.ema)
    path, run = work_dir / "state" / "state.pt", _Progress(name, settings.steps)
    if path.exists():
        _resume(path, settings, model, optimiser, average, run)
    last_save = time.monotonic()
    last = min(settings.steps, stop_at) if stop_at is not None else settings.steps
    while run.step < last:
        run.recent.append(_step(name, model, batch_fn, loss_fn, settings, optimiser, run.step))
        run.step += 1
        average.update(run.step)
        if time.monotonic() - run.last_log >= log_seconds or run.step == last:
            run.report()
        average.call(model, run.step, [callback for every, callback in callbacks if run.step % every == 0])
        now = time.monotonic()
        if now - last_save >= checkpoint_seconds or run.step == last:
            run.seconds += now - last_save
            last_save = now
            parts = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average.values}
            numbers = {"step": run.step, "seconds": run.seconds, "losses": run.losses}
            save_atomically({"settings": json.dumps(asdict(settings), sort_keys=True), **parts, **numbers}, path)
    average.swap()
    model.eval()
    weights = {key: _plain(value) for key, value in model.state_dict().items()}
    return TrainResult(weights, run.step, run.seconds, str(device), run.losses)


def _resume(
    path: Path,
    settings: TrainSettings,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: _Average,
    run: _Progress,
) -> None:
    """Restore the state that an earlier run saved; raise `UserError` if that had other settings."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    defaults = {f.name: f.default for f in fields(TrainSettings) if f.default is not MISSING}
    saved_settings = {**defaults, **json.loads(state["settings"])}
    if json.dumps(saved_settings, sort_keys=True) != json.dumps(asdict(settings), sort_keys=True):
        raise UserError(
            f"{path}: was written with other training settings, expected those of the config. "
            f"Delete the folder {path.parent} to start again, or restore the config"
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    for mean, saved in zip(average.values, state["average"], strict=True):
        mean.copy_(saved)
    run.step, run.seconds = int(state["step"]), float(state["seconds"])
    run.losses = [(int(step), float(loss)) for step, loss in state["losses"]]
    log.info("%s: resumed at step %d of %d", run.name, run.step, run.steps)


def _plain(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).cpu().clone()


def _step(
    name: str,
    model: nn.Module,
    batch_fn: Callable[[int, torch.Generator], Batch],
    loss_fn: Callable[[nn.Module, Batch], Tensor],
    settings: TrainSettings,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> float:
    """Make one step of the optimiser; return the loss."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate_at(step, settings)
    torch.manual_seed(stable_seed("train-model", name, settings.seed, step))
    batch = batch_fn(step, step_generator(name, settings.seed, step))
    with torch.autocast(torch.device(settings.device).type, torch.bfloat16, enabled=settings.precision == "bf16"):
        loss = loss_fn(model, batch)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip:
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], settings.clip)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"{name}: the loss is {value} at step {step}; lower learning_rate in config/zoo.yaml")
    optimiser.step()
    return value
