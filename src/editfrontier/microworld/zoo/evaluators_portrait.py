"""Training of the attribute classifier and of the identity embedder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.portraits import ATTRIBUTES, IDENTITY_SIZE
from editfrontier.microworld.zoo.evaluators import part_of, record, save_model, settings_of
from editfrontier.microworld.zoo.evaluators_data import (
    PortraitPool,
    augment,
    pools,
    resampled,
    subset,
    to_float,
    to_input,
)
from editfrontier.microworld.zoo.evaluators_scores import balanced_accuracy, best_logit_shift, spearman
from editfrontier.microworld.zoo.loop import train
from editfrontier.scoring.evaluators.attributes import AttributeEvaluator, build_attributes
from editfrontier.scoring.evaluators.identity import IdentityEvaluator, build_identity
from editfrontier.statistics.detection import auroc


def train_attributes(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train by binary cross-entropy on all attributes; calibrate the thresholds on a part of the pool."""
    pool, held_out = pools(config, work)
    description = {"architecture": "attributes", "names": list(ATTRIBUTES), "input_size": 64, **config["network"]}
    model = build_attributes(description).to(memory_format=torch.channels_last)
    validation = len(pool) // 12
    generator = Generator().manual_seed(stable_seed("attributes split", config["seed"]))
    order = torch.randperm(len(pool), generator=generator)
    training = order[validation:]

    def batch(step: int, generator: Generator) -> tuple[Tensor, Tensor]:
        index = training[torch.randint(len(training), (config["batch"],), generator=generator)]
        return to_input(augment(to_float(pool.images[index]), generator)), pool.attributes[index].float()

    def loss(network: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
        return functional.binary_cross_entropy_with_logits(network(data[0]).float(), data[1])

    result = train("attributes", model, batch, loss, settings_of(config), work)
    chosen = subset(pool, order[:validation])
    both = torch.cat([chosen.images, resampled(chosen.images, config["seed"])])
    logits = torch.logit(AttributeEvaluator(model, ATTRIBUTES).probabilities(both).clamp(1e-6, 1 - 1e-6))
    state = dict(result.model_state)
    state["head.bias"] = state["head.bias"] + best_logit_shift(logits, chosen.attributes.repeat(2, 1)).clamp(-3, 3)
    save_model(state, description, out)
    judge = AttributeEvaluator.load(out)
    clean = balanced_accuracy(judge.probabilities(held_out.images), held_out.attributes)
    mild = balanced_accuracy(judge.probabilities(resampled(held_out.images, config["seed"] + 1)), held_out.attributes)
    scores = {
        "balanced_accuracy": float(clean.mean()),
        "balanced_accuracy_resampled": float(mild.mean()),
        **{f"balanced_accuracy_{name}": float(value) for name, value in zip(ATTRIBUTES, clean, strict=True)},
    }
    record("attributes", out, config, result, scores)


class ArcFace(nn.Module):
    """Additive angular margin over the people of the training set (Deng et al. 2019), and a linear reading.

    The reading of the identity parameters keeps similar people close, which the margin alone does not.
    """

    def __init__(self, network: nn.Module, embedding: int, people: int, scale: float) -> None:
        super().__init__()
        self.network = network
        self.people = nn.Parameter(torch.randn(people, embedding) * 0.05)
        self.reading = nn.Linear(embedding, IDENTITY_SIZE)
        self.scale = scale

    def forward(self, images: Tensor, person: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """Return the ArcFace loss (scalar) and the identity parameters [B, 16] read from the unit embedding."""
        unit = functional.normalize(self.network(images).float(), dim=1)
        with torch.autocast(images.device.type, enabled=False):
            cosine = (unit @ functional.normalize(self.people, dim=1).T).clamp(-1 + 1e-6, 1 - 1e-6)
            target = cosine.gather(1, person[:, None])
            angle = torch.acos(target) + margin
            # Beyond pi the cosine would rise again; the usual linear continuation keeps the loss monotonous.
            shifted = torch.where(angle < math.pi, torch.cos(angle), target - margin * math.sin(math.pi - margin))
            logits = self.scale * cosine.scatter(1, person[:, None], shifted)
            return functional.cross_entropy(logits, person), self.reading(unit)


def identity_scores(judge: IdentityEvaluator, held_out: PortraitPool, seed: int) -> dict[str, float]:
    """Compare same with different people over pairs (across attributes, nuisance, populations), with correlations."""
    unit = judge.embed(held_out.images)
    generator = Generator().manual_seed(stable_seed("identity scores", seed))
    count = 200_000
    left, right = torch.randint(len(held_out), (2, count), generator=generator)
    views = len(held_out) // (int(held_out.person.max()) + 1)
    twin_order = torch.argsort(held_out.person, stable=True).reshape(-1, views)
    pairs = torch.combinations(torch.arange(views))
    same_left, same_right = twin_order[:, pairs[:, 0]].flatten(), twin_order[:, pairs[:, 1]].flatten()
    different = held_out.person[left] != held_out.person[right]
    left, right = left[different], right[different]
    same_cosine = (unit[same_left] * unit[same_right]).sum(1)
    other_cosine = (unit[left] * unit[right]).sum(1)
    distance = (held_out.identity[left] - held_out.identity[right]).norm(dim=1)
    return {
        "roc_auc": auroc(same_cosine, other_cosine),
        "cosine_same": float(same_cosine.mean()),
        "cosine_different": float(other_cosine.mean()),
        "spearman_cosine_distance_different": spearman(other_cosine, distance),
        "pearson_cosine_distance_different": float(torch.corrcoef(torch.stack([other_cosine, distance]))[0, 1]),
    }


def train_identity(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train ArcFace over the people of the pool; the margin climbs over the first third of the steps."""
    pool, held_out = pools(config, work)
    description = {"architecture": "identity", "input_size": 64, **config["network"]}
    model = ArcFace(build_identity(description), description["embedding"], config["pool"]["people"], config["scale"])
    model = model.to(memory_format=torch.channels_last)
    settings = settings_of(config)

    def batch(step: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor, float]:
        index = torch.randint(len(pool), (config["batch"],), generator=generator)
        margin = config["margin"] * min(1.0, 3 * step / settings.steps)
        images = to_input(augment(to_float(pool.images[index]), generator))
        return images, pool.person[index], pool.identity[index], margin

    def loss(network: nn.Module, data: tuple[Tensor, Tensor, Tensor, float]) -> Tensor:
        images, person, parameters, margin = data
        arc, read = network(images, person, margin)
        return arc + config["reading_weight"] * functional.mse_loss(read, parameters)

    result = train("identity", model, batch, loss, settings, work)
    save_model(part_of(result.model_state, "network"), description, out)
    judge = IdentityEvaluator.load(out)
    scores = identity_scores(judge, held_out, config["seed"])
    mild = replace(held_out, images=resampled(held_out.images, config["seed"] + 1))
    scores["roc_auc_resampled"] = identity_scores(judge, mild, config["seed"])["roc_auc"]
    paired = (judge.embed(held_out.images) * judge.embed(mild.images)).sum(1)
    scores["cosine_resampled"] = float(paired.mean())
    record("identity", out, config, result, scores)
