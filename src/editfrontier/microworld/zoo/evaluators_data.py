"""Rendered training data of the evaluators: pools that the trainings share, and their augmentation."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld import portraits as world
from editfrontier.microworld import scenes as scene_world
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS
from editfrontier.microworld.zoo import corruptions
from editfrontier.microworld.zoo.loop import cached

log = logging.getLogger(__name__)

AUGMENTING = ("blur", "noise", "jpeg", "warp", "smear")
AUGMENTED_SHARE = 0.4
AUGMENTED_SEVERITY = 0.35
HELD_OUT_PEOPLE, HELD_OUT_VIEWS, HELD_OUT_SCENES = 300, 8, 1000


@dataclass(frozen=True)
class PortraitPool:
    """Portraits of known people, by number in person [N]; both populations show each person equally often.

    images uint8 [N, 3, 64, 64], identity [N, 16], attributes bool [N, 20], nuisance [N, 12], population [N].
    """

    images: Tensor
    identity: Tensor
    attributes: Tensor
    nuisance: Tensor
    population: Tensor
    person: Tensor

    def __len__(self) -> int:
        return len(self.images)


def _render_hash(images: Tensor) -> str:
    """Return a hash of a few rendered images, which changes with the renderer and not with the words of its code."""
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()[:12]


def portrait_parameters(people: int, views: int, seed: int) -> tuple[world.Portraits, Tensor]:
    """Return the parameters of people x views portraits and their people; half of the views are of each population.

    seed: of training data, or `held_out_seed` of it.
    """
    generator = Generator().manual_seed(stable_seed("evaluator people", seed))
    identities = torch.rand(people, world.IDENTITY_SIZE, generator=generator)
    person = torch.arange(people).repeat_interleave(views // 2)
    parts = [
        world.sample_portraits(
            len(person), seed=stable_seed("evaluator views", seed), population=population, identities=identities[person]
        )
        for population in world.POPULATIONS
    ]
    return world.concatenate(parts), person.repeat(len(parts))


def held_out_seed(seed: int) -> int:
    """Return the seed of the data that no training sees."""
    return stable_seed("evaluator held out", seed)


def portrait_pool(people: int, views: int, seed: int, folder: Path) -> PortraitPool:
    """Render people x views portraits (views: even), or read them from `folder`, where the trainings share them.

    The file name holds a hash of a few renders, so that a changed renderer does not use old images.
    """
    probe = [render_portraits(world.sample_portraits(24, seed=0, population=name)).images for name in world.POPULATIONS]

    def render() -> dict[str, Tensor]:
        portraits, person = portrait_parameters(people, views, seed)
        log.info("rendering %d portraits", len(portraits))
        return {"images": render_portraits(portraits).images, "person": person, **vars(portraits)}

    name = f"portraits-{people}x{views}-{seed}-{_render_hash(torch.cat(probe))}.pt"
    return PortraitPool(**cached(folder / name, render))


def scene_pool(count: int, seed: int, folder: Path) -> tuple[Tensor, list[scene_world.Scene]]:
    """Return rendered scenes uint8 [N, 3, 64, 64], cached in `folder`, and their descriptions."""
    probe = scene_world.render_scenes(scene_world.sample_scenes(24, 0))[0]
    scenes = scene_world.sample_scenes(count, seed)

    def render() -> dict[str, Tensor]:
        log.info("rendering %d scenes", count)
        return {"images": scene_world.render_scenes(scenes)[0]}

    return cached(folder / f"scenes-{count}-{seed}-{_render_hash(probe)}.pt", render)["images"], scenes


def pools(config: Mapping[str, Any], work: Path) -> tuple[PortraitPool, PortraitPool]:
    """Return the training and the held-out portraits of a training."""
    folder, seed = work.parent / "pools", config["seed"]
    return (
        portrait_pool(config["pool"]["people"], config["pool"]["views"], seed, folder),
        portrait_pool(HELD_OUT_PEOPLE, HELD_OUT_VIEWS, held_out_seed(seed), folder),
    )


Scenes = tuple[Tensor, list[scene_world.Scene]]


def scene_pools(config: Mapping[str, Any], work: Path) -> tuple[Scenes, Scenes]:
    """Return the training and the held-out scenes of a training, each as `scene_pool`."""
    folder, seed = work.parent / "pools", config["seed"]
    return (scene_pool(config["scenes"], seed, folder), scene_pool(HELD_OUT_SCENES, held_out_seed(seed), folder))


def resampled(images: Tensor, seed: int) -> Tensor:
    """Return uint8 images after a mild round trip, like that of an autoencoder."""
    generator = Generator().manual_seed(stable_seed("evaluator resampled", seed))
    return to_bytes(corruptions.mild_resample(to_float(images), generator))


SCENE_LABELS = (*CLASSES, *COLOURS, *BACKGROUNDS)


def scene_labels(scenes: list[scene_world.Scene]) -> Tensor:
    """Return the presence of each object class, object colour and background, float [N, len(SCENE_LABELS)]."""
    labels = torch.zeros(len(scenes), len(SCENE_LABELS))
    for row, scene in enumerate(scenes):
        shown = {scene.background, *(name for thing in scene.objects for name in (thing.shape, thing.colour))}
        labels[row, [column for column, name in enumerate(SCENE_LABELS) if name in shown]] = 1
    return labels


def subset(pool: PortraitPool, index: Tensor) -> PortraitPool:
    """Return some rows of a pool."""
    return replace(pool, **{field.name: getattr(pool, field.name)[index] for field in fields(pool)})


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 into float in [0, 1]."""
    return images.float() / 255


def to_bytes(images: Tensor) -> Tensor:
    """Turn float in [0, 1] into uint8, rounded."""
    return (images * 255).round().to(torch.uint8)


def to_input(images: Tensor) -> Tensor:
    """Turn float in [0, 1] into [-1, 1] after rounding to 8 bits, as in stored images."""
    return ((images.clamp(0, 1) * 255).round() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, generator: Generator, share: float = AUGMENTED_SHARE) -> Tensor:
    """Slightly corrupt a share of images, float [B, 3, H, W] in [0, 1]: networks must read generated images too.

    Half of the augmented images get the round trip of a good autoencoder, the others a corruption of AUGMENTING.
    """
    count = round(share * len(images))
    chosen = torch.randperm(len(images), generator=generator)[:count]
    mild, strong = chosen[: count // 2], chosen[count // 2 :]
    result = images.clone()
    if len(mild):
        result[mild] = corruptions.mild_resample(images[mild], generator)
    if len(strong):
        names = list(corruptions.CORRUPTIONS)
        allowed = torch.tensor([names.index(name) for name in AUGMENTING])
        families = allowed[torch.randint(len(allowed), (len(strong),), generator=generator)]
        severity = AUGMENTED_SEVERITY * torch.rand(len(strong), generator=generator)
        result[strong] = corruptions.corrupt(images[strong], families, severity, generator)
    return result
