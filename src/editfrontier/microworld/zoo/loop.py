"""One resumable training loop for every model of the micro zoo.

A step depends on nothing but (name, seed, step number) and the saved state: the batch generator and the global
generator (dropout) are seeded anew at each step, so a run that was stopped and resumed walks the same path as one
that was not. The number of threads is a runtime option of the caller and no part of the settings.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
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
    """What decides the result of a training run; all of it goes into the model's provenance.

    steps: optimiser steps.
    learning_rate: the peak of the one-cycle schedule.
    schedule_steps: length of that schedule, 0 = steps (longer than steps: training stops before the rate has fallen).
    warmup: part of the steps that climbs to the peak, in [0, 1).
    final_lr: the last learning rate as a part of the peak.
    ema: decay of the averaged weights (ramped up as (1 + step) / (10 + step)), 0 switches averaging off.
    clip: largest gradient norm, 0 switches clipping off.
    precision: "fp32", or "bf16" for autocast.
    seed: seeds data order, noise and dropout.
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
    """model_state: averaged weights (plain weights if averaging is off), fp32 on the CPU; losses: (step, mean loss)
    per log line."""

    model_state: dict[str, Tensor]
    steps: int
    seconds: float
    device: str
    losses: list[tuple[int, float]] = field(default_factory=list)


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """One-cycle schedule (Smith and Topin, 2019): linear climb over `warmup`, then cosine to `final_lr` of the peak."""
    length = settings.schedule_steps or settings.steps
    climb = max(1, round(length * settings.warmup))
    if step < climb:
        return settings.learning_rate * (step + 1) / climb
    progress = (step - climb) / max(1, length - climb)
    low = settings.learning_rate * settings.final_lr
    return low + (settings.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def step_generator(name: str, seed: int, step: int, device: str = "cpu") -> torch.Generator:
    """The generator of one step: all randomness of a batch must come from it."""
    return torch.Generator(device).manual_seed(stable_seed("train", name, seed, step))


def _save_atomically(payload: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(dict(payload), partial)
    os.replace(partial, path)


def _load_state(path: Path, settings: TrainSettings) -> dict[str, Any] | None:
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    known = asdict(settings)
    defaults = {f.name: f.default for f in fields(TrainSettings) if f.default is not MISSING}
    if json.dumps({**defaults, **json.loads(state["settings"])}, sort_keys=True) != json.dumps(known, sort_keys=True):
        raise UserError(
            f"{path}: was written with other training settings, expected those of the config. "
            f"Delete the folder {path.parent} to start anew, or restore the config"
        )
    return state


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

    name: enters the seeds and the log lines.
    batch_fn: (step, generator on the CPU) -> batch; a pure function of both. Put tensors on the device in loss_fn
    or here.
    loss_fn: (model, batch) -> scalar; runs under autocast if the precision is bf16. Draw noise in batch_fn, with
    its generator.
    callbacks: (every, function(step, model)) called after each `every`-th step with the model holding the averaged
    weights.
    stop_at: return after this step with the state saved (used to show that resuming is exact).
    Raises UserError if the saved state has other settings, FloatingPointError if the loss is not finite.
    """
    device = torch.device(settings.device)
    model.to(device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )
    average = [p.detach().clone() for p in parameters]
    state_path = work_dir / "state" / "state.pt"
    state = _load_state(state_path, settings)
    start, seconds, losses = 0, 0.0, []
    if state is not None:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        for mine, saved in zip(average, state["average"], strict=True):
            mine.copy_(saved)
        start, seconds = int(state["step"]), float(state["seconds"])
        losses = [(int(s), float(v)) for s, v in state["losses"]]
        log.info("%s: resumed at step %d of %d", name, start, settings.steps)

    def save(step: int) -> None:
        _save_atomically(
            {
                "settings": json.dumps(asdict(settings), sort_keys=True),
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "average": average,
                "step": step,
                "seconds": seconds,
                "losses": losses,
            },
            state_path,
        )

    def swap() -> None:
        for parameter, mean in zip(parameters, average, strict=True):
            held = parameter.detach().clone()
            parameter.data.copy_(mean)
            mean.copy_(held)

    began = last_log = last_save = time.monotonic()
    running: list[float] = []
    step = start
    last = min(settings.steps, stop_at) if stop_at is not None else settings.steps
    while step < last:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        torch.manual_seed(stable_seed("train-model", name, settings.seed, step))
        batch = batch_fn(step, step_generator(name, settings.seed, step))
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            loss = loss_fn(model, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(parameters, settings.clip)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name}: the loss is {value} at step {step}; lower learning_rate in config/zoo.yaml"
            )
        optimiser.step()
        step += 1
        if settings.ema:
            decay = min(settings.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        running.append(value)
        now = time.monotonic()
        if now - last_log >= log_seconds or step == last:
            mean = sum(running) / len(running)
            pace = (now - last_log) / len(running)
            eta = pace * (settings.steps - step) / 60
            losses.append((step, mean))
            log.info("%s: step %d/%d loss %.4f %.3f s/step ETA %.1f min", name, step, settings.steps, mean, pace, eta)
            running, last_log = [], now
        if any(step % every == 0 for every, _ in callbacks):
            if settings.ema:
                swap()
            model.eval()
            for every, callback in callbacks:
                if step % every == 0:
                    callback(step, model)
            model.train()
            if settings.ema:
                swap()
        now = time.monotonic()
        if now - last_save >= checkpoint_seconds or step == last:
            seconds += now - began
            began = last_save = now
            save(step)
    if settings.ema:
        swap()
    result = {
        k: (v.detach().float() if v.is_floating_point() else v.detach()).cpu().clone()
        for k, v in model.state_dict().items()
    }
    model.eval()
    return TrainResult(result, step, seconds, str(device), losses)
