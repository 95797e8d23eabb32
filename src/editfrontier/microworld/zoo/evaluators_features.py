"""Training of the feature network, and the multi-task objective that it shares with the LPIPS trunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.portraits import ATTRIBUTES, IDENTITY_SIZE, NUISANCE
from editfrontier.microworld.zoo import corruptions
from editfrontier.microworld.zoo.evaluators import part_of, record, save_model, settings_of
from editfrontier.microworld.zoo.evaluators_data import (
    SCENE_LABELS,
    PortraitPool,
    augment,
    pools,
    scene_labels,
    scene_pools,
    to_bytes,
    to_float,
    to_input,
)
from editfrontier.microworld.zoo.evaluators_scores import balanced_accuracy
from editfrontier.microworld.zoo.loop import TrainResult, train
from editfrontier.scoring.evaluators.features import FeatureEvaluator, build_features
from editfrontier.scoring.metrics.distribution import fid

SIZES = (IDENTITY_SIZE, len(NUISANCE), len(ATTRIBUTES), 1, len(SCENE_LABELS), 1)
REGRESSION_WEIGHT = 6.0


@dataclass
class WorldBatch:
    """Inputs float [B, 3, 64, 64], first `portraits` portraits, then scenes, with their parameters and labels."""

    images: Tensor
    portraits: int
    identity: Tensor
    nuisance: Tensor
    attributes: Tensor
    population: Tensor
    scenes: Tensor


@dataclass
class WorldData:
    """Training portraits and scenes with labels."""

    pool: PortraitPool
    scenes: Tensor
    labels: Tensor

    def batch(self, size: int, scene_share: float, generator: Generator) -> WorldBatch:
        """Draw a batch, lightly augmented."""
        scenes = round(size * scene_share)
        who = torch.randint(len(self.pool), (size - scenes,), generator=generator)
        what = torch.randint(len(self.scenes), (scenes,), generator=generator)
        images = to_float(torch.cat([self.pool.images[who], self.scenes[what]]))
        pool = self.pool
        return WorldBatch(
            to_input(augment(images, generator, 0.25)),
            len(who),
            pool.identity[who],
            pool.nuisance[who],
            pool.attributes[who].float(),
            pool.population[who].float()[:, None],
            self.labels[what],
        )


def load_world(config: dict[str, Any], work: Path) -> tuple[WorldData, PortraitPool, Tensor, Tensor]:
    """Return training data, held-out portraits, held-out scenes and their labels."""
    pool, held_out = pools(config, work)
    (images, scenes), (others, other_scenes) = scene_pools(config, work)
    return WorldData(pool, images, scene_labels(scenes)), held_out, others, scene_labels(other_scenes)


class WorldReader(nn.Module):
    """A trunk (images -> [B, D]) with one linear layer that reads all parameters of the renderer."""

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.reading = nn.Linear(features, sum(SIZES))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return identity, nuisance and the logits of attributes, population, scenes and of being a portrait."""
        return list(self.reading(self.trunk(images)).float().split(SIZES, 1))


def world_loss(network: nn.Module, data: WorldBatch) -> Tensor:
    """Return the regression error of identity and nuisance plus the cross-entropy of all logits, weighted."""
    identity, nuisance, attributes, population, scenes, domain = network(data.images)
    n, bce = data.portraits, functional.binary_cross_entropy_with_logits
    is_portrait = torch.zeros_like(domain)
    is_portrait[:n] = 1
    return (
        REGRESSION_WEIGHT * functional.mse_loss(identity[:n], data.identity)
        + REGRESSION_WEIGHT * functional.mse_loss(nuisance[:n], data.nuisance)
        + bce(attributes[:n], data.attributes)
        + bce(scenes[n:], data.scenes)
        + 0.2 * bce(population[:n], data.population)
        + 0.2 * bce(domain, is_portrait)
    )


def train_world(name: str, config: dict[str, Any], reader: WorldReader, data: WorldData, work: Path) -> TrainResult:
    """Train a trunk and its reading on portraits and scenes."""

    def batch(step: int, generator: Generator) -> WorldBatch:
        return data.batch(config["batch"], config["scene_share"], generator)

    return train(name, reader, batch, world_loss, settings_of(config), work)


@torch.no_grad()
def reading_scores(network: WorldReader, held_out: PortraitPool, scenes: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how well the trunk reads held-out images."""
    network.eval()
    read = [network(to_input(to_float(chunk))) for chunk in held_out.images.split(128)]
    identity, attributes = (torch.cat([part[index] for part in read]) for index in (0, 2))
    contents = torch.cat([network(to_input(to_float(chunk)))[4] for chunk in scenes.split(128)])
    spread = (held_out.identity - held_out.identity.mean(0)).square().sum()
    return {
        "identity_r2": float(1 - (identity - held_out.identity).square().sum() / spread),
        "attribute_balanced_accuracy": float(balanced_accuracy(attributes.sigmoid(), held_out.attributes).mean()),
        "scene_balanced_accuracy": float(balanced_accuracy(contents.sigmoid(), labels.bool()).mean()),
    }


def distribution_scores(judge: FeatureEvaluator, held_out: PortraitPool, seed: int) -> dict[str, float]:
    """Return FIDs between halves of the studio portraits, to the outdoor ones, and to corrupted ones."""
    features = judge.features(held_out.images).numpy()
    studio, outdoor = (features[(held_out.population == value).numpy()] for value in (0, 1))
    half = len(studio) // 2
    scores = {"fid_same": fid(studio[:half], studio[half:]), "fid_populations": fid(outdoor[:half], studio[half:])}
    images = to_float(held_out.images[held_out.population == 0][:half])
    for name in ("blur", "smear", "warp"):
        for severity in (0.15, 0.45):
            generator = Generator().manual_seed(stable_seed("feature scores", seed, name))
            corrupted = corruptions.CORRUPTIONS[name](images, torch.full((len(images),), severity), generator)
            scores[f"fid_{name}_{severity}"] = fid(judge.features(to_bytes(corrupted)).numpy(), studio[half:])
    return {name: float(value) for name, value in scores.items()}


def train_features(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train the Inception-style trunk on several tasks, on portraits and scenes."""
    data, held_out, scenes, labels = load_world(config, work)
    description = {"architecture": "features", "input_size": 64, **config["network"]}
    model = WorldReader(build_features(description), description["features"]).to(memory_format=torch.channels_last)
    result = train_world("features", config, model, data, work)
    save_model(part_of(result.model_state, "trunk"), description, out)
    judge = FeatureEvaluator.load(out)
    scores = reading_scores(model, held_out, scenes, labels) | distribution_scores(judge, held_out, config["seed"])
    record("features", out, config, result, scores)
