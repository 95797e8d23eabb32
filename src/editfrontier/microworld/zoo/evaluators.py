"""What the trainings of the micro evaluators share.

Every `train_<name>` has the signature (config, out, work): the entry of config/zoo_evaluators.yaml, the folder of the
shipped model, and a folder of resumable state (its parent holds the rendered pools). Held-out scores are measured on
the shipped files (fp16), with people that the training never saw.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings
from editfrontier.microworld.zoo.provenance import write_provenance

log = logging.getLogger(__name__)


def settings_of(config: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of an entry's keys `seed` and `settings`."""
    return TrainSettings(seed=config["seed"], **config["settings"])


def part_of(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the weights of a sub-module, under its own names."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def save_model(
    state: Mapping[str, Tensor], description: Mapping[str, Any], out: Path, weights: str = "model.safetensors"
) -> None:
    """Write fp16 weights and config.json; a shared tensor is written once for each of its names."""
    out.mkdir(parents=True, exist_ok=True)
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in state.items()
    }
    save_file(half, out / weights, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(dict(description), indent=2) + "\n", encoding="utf-8")


def record(name: str, out: Path, config: Mapping[str, Any], result: TrainResult, scores: Mapping[str, float]) -> None:
    """Write provenance.json beside the weights."""
    settings = settings_of(config)
    log.info("%s: %s", name, json.dumps(dict(scores)))
    write_provenance(out, name, {**config, "settings": asdict(settings)}, settings.seed, result, dict(scores))
