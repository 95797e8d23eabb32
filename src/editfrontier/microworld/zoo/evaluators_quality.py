"""Training of the two quality models on known corruptions: a small MUSIQ, and a network that also tells artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.zoo import corruptions
from editfrontier.microworld.zoo.corruptions import CLEAN_SEVERITY, VISIBLE_SEVERITY
from editfrontier.microworld.zoo.evaluators import record, save_model, settings_of
from editfrontier.microworld.zoo.evaluators_data import pools, resampled, scene_pools, to_bytes, to_float, to_input
from editfrontier.microworld.zoo.evaluators_scores import spearman
from editfrontier.microworld.zoo.loop import TrainResult, train
from editfrontier.scoring.evaluators.pyiqa import NoReferenceEvaluator, build_musiq
from editfrontier.scoring.evaluators.quality import QualityEvaluator, build_quality
from editfrontier.statistics.detection import auroc

Loss = Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor]
RESAMPLED_SEVERITY = 0.04
"""Severity of a mild round trip through an autoencoder: nearly clean."""
SHARES = (0.2, 0.25, 0.4, 0.15)
"""Shares of a batch: untouched, mildly resampled, one corruption, a mild round trip and then a corruption."""


def corrupted_batch(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Corrupt float [B, 3, H, W] in [0, 1] with the SHARES. Returns the images and their severities [B] in [0, 1]."""
    count = len(images)
    order = torch.randperm(count, generator=generator)
    bounds = [0] + [round(count * sum(SHARES[: k + 1])) for k in range(4)]
    _, mild, single, both = (order[bounds[k] : bounds[k + 1]] for k in range(4))
    result, severity = images.clone(), torch.zeros(count)
    rounded = torch.cat([mild, both])
    result[rounded] = corruptions.mild_resample(images[rounded], generator)
    severity[rounded] = RESAMPLED_SEVERITY
    hit = torch.cat([single, both])
    families = torch.randint(len(corruptions.CORRUPTIONS), (len(hit),), generator=generator)
    strength = torch.rand(len(hit), generator=generator)
    result[hit] = corruptions.corrupt(result[hit], families, strength, generator)
    severity[hit] = 1 - (1 - severity[hit]) * (1 - strength)
    return result, severity


def artifact_target(severity: Tensor) -> Tensor:
    """Return 0 up to the clean severity, 1 from the visible one on, and linear values between."""
    return ((severity - CLEAN_SEVERITY) / (VISIBLE_SEVERITY - CLEAN_SEVERITY)).clamp(0, 1)


def quality_scores(judge: QualityEvaluator | NoReferenceEvaluator, images: Tensor, seed: int) -> dict[str, float]:
    """Return the negative rank correlation of quality with severity, and ROC AUCs of visible corruptions."""
    generator = Generator().manual_seed(stable_seed("quality scores", seed))
    pixels = to_float(images)
    families = torch.randint(len(corruptions.CORRUPTIONS), (len(images),), generator=generator)
    severity = torch.rand(len(images), generator=generator)
    corrupted = to_bytes(corruptions.corrupt(pixels, families, severity, generator))
    mild = resampled(images, seed)
    clean_quality, clean_artifact = judge.scores(images)
    mild_quality, mild_artifact = judge.scores(mild)
    quality, artifact = judge.scores(corrupted)
    visible = severity > VISIBLE_SEVERITY
    scores = {
        "spearman_severity": -spearman(quality, severity),
        "artifact_roc_auc": auroc(artifact[visible], clean_artifact),
        "artifact_roc_auc_resampled": auroc(artifact[visible], mild_artifact),
        "quality_clean": float(clean_quality.mean()),
        "quality_resampled": float(mild_quality.mean()),
        "artifact_rate_clean": float((clean_artifact > 0.5).float().mean()),
        "artifact_rate_resampled": float((mild_artifact > 0.5).float().mean()),
        "artifact_rate_visible": float((artifact[visible] > 0.5).float().mean()),
    }
    for index, name in enumerate(corruptions.CORRUPTIONS):
        scores[f"spearman_{name}"] = -spearman(quality[families == index], severity[families == index])
    return scores


def train_quality(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train by binary cross-entropy against 1 - severity (quality) and visibility (artifact)."""
    description = {"architecture": "quality", "input_size": 64, **config["network"]}
    model = build_quality(description).to(memory_format=torch.channels_last)

    def loss(network: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
        images, severity = data
        target = torch.stack([1 - severity, artifact_target(severity)], 1)
        return functional.binary_cross_entropy_with_logits(network(images).float(), target)

    result = _train("quality", config, model, loss, work)
    save_model(result.model_state, description, out)
    _record("quality", config, QualityEvaluator.load(out), result, out, work)


def train_musiq(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train by the squared error against 1 - severity; the shipped head scales it to 0..100.

    The loss of the published MUSIQ is the absolute error. Its optimum, the median, would rate an image as clean if more
    than half of the images like it are.
    """
    model = build_musiq(config["network"])

    def loss(network: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
        images, severity = data
        # In evaluation mode the class cuts its patches itself; no layer of it behaves otherwise in training.
        quality = network.eval()((images + 1) / 2).float()[:, 0]
        return functional.mse_loss(quality, 1 - severity)

    result = _train("musiq", config, model, loss, work)
    scaled = {name: 100 * value for name, value in result.model_state.items() if name.startswith("head.")}
    description = {"architecture": "musiq", "input_size": 64, "network": config["network"]}
    save_model({**result.model_state, **scaled}, description, out)
    _record("musiq", config, NoReferenceEvaluator.load(out), result, out, work)


def _train(name: str, config: dict[str, Any], model: nn.Module, loss: Loss, work: Path) -> TrainResult:
    """Train on batches of (images [B, 3, 64, 64] in [-1, 1], severity [B] in [0, 1])."""
    pool = pools(config, work)[0]
    scenes = scene_pools(config, work)[0][0]

    def batch(step: int, generator: Generator) -> tuple[Tensor, Tensor]:
        count = round(config["batch"] * config["scene_share"])
        who = torch.randint(len(pool), (config["batch"] - count,), generator=generator)
        what = torch.randint(len(scenes), (count,), generator=generator)
        images, severity = corrupted_batch(to_float(torch.cat([pool.images[who], scenes[what]])), generator)
        return to_input(images), severity

    return train(name, model, batch, loss, settings_of(config), work)


def _record(
    name: str,
    config: dict[str, Any],
    judge: QualityEvaluator | NoReferenceEvaluator,
    result: TrainResult,
    out: Path,
    work: Path,
) -> None:
    held_out = pools(config, work)[1].images
    scenes = scene_pools(config, work)[1][0]
    scores = quality_scores(judge, torch.cat([held_out, scenes]), config["seed"])
    portraits = quality_scores(judge, held_out, config["seed"])
    scores |= {f"portraits_{key}": portraits[key] for key in ("spearman_severity", "artifact_roc_auc")}
    record(name, out, config, result, scores)
