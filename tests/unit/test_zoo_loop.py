"""The training loop: resuming is exact, averaging and the schedule do what they say, settings are guarded."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from editfrontier.base.errors import UserError
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, learning_rate_at, train


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))


def _batch(step: int, generator: torch.Generator) -> Tensor:
    return torch.randn(16, 4, generator=generator)


def _loss(model: nn.Module, batch: Tensor) -> Tensor:
    return (model(batch).squeeze(1) - batch.sum(1)).pow(2).mean()


def _run(work: Path, settings: TrainSettings, stop_at: int | None = None) -> TrainResult:
    return train("toy", _model(), _batch, _loss, settings, work, stop_at=stop_at)


def test_resuming_equals_an_unbroken_run(tmp_path: Path) -> None:
    settings = TrainSettings(steps=30, learning_rate=1e-2, precision="fp32", ema=0.9)
    whole = _run(tmp_path / "whole", settings)
    _run(tmp_path / "parts", settings, stop_at=11)
    resumed = _run(tmp_path / "parts", settings)
    assert resumed.steps == 30
    for name, value in whole.model_state.items():
        assert torch.equal(value, resumed.model_state[name]), name


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    settings = TrainSettings(steps=5, precision="fp32")
    first, second = _run(tmp_path, settings), _run(tmp_path, settings)
    assert all(torch.equal(first.model_state[k], second.model_state[k]) for k in first.model_state)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    _run(tmp_path, TrainSettings(steps=3, precision="fp32"))
    with pytest.raises(UserError, match="other training settings"):
        _run(tmp_path, TrainSettings(steps=4, precision="fp32"))


def test_loss_falls_and_average_differs_from_last_weights(tmp_path: Path) -> None:
    settings = TrainSettings(steps=200, learning_rate=3e-2, precision="fp32", ema=0.9)
    averaged = _run(tmp_path / "a", settings)
    plain = _run(tmp_path / "b", TrainSettings(**{**settings.__dict__, "ema": 0.0}))
    assert averaged.losses[-1][1] < 2.5
    assert any(not torch.equal(averaged.model_state[k], plain.model_state[k]) for k in plain.model_state)


def test_infinite_loss_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="step 0"):
        train("toy", _model(), _batch, lambda m, b: _loss(m, b) / 0.0, TrainSettings(steps=2), tmp_path)


def test_schedule_climbs_to_the_peak_and_falls() -> None:
    settings = TrainSettings(steps=100, learning_rate=1.0, warmup=0.1, final_lr=0.01)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[9] == pytest.approx(1.0)
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.02
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_bad_settings_name_the_key() -> None:
    with pytest.raises(UserError, match="precision"):
        TrainSettings(steps=1, precision="fp8")
    with pytest.raises(UserError, match="steps"):
        TrainSettings(steps=0)
