"""Rendered training data of the evaluators: pools that several trainings share, and their augmentation."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld import portraits as world
from editfrontier.microworld import scenes as scene_world
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS
from editfrontier.microworld.zoo import corruptions

log = logging.getLogger(__name__)

AUGMENTING = ("blur", "noise", "jpeg", "warp", "smear")
AUGMENTED_SHARE = 0.4
AUGMENTED_SEVERITY = 0.35


@dataclass(frozen=True)
class PortraitPool:
    """Portraits of known people: person [N] says who; each person is shown equally often in both populations.

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


def _renderer_hash() -> str:
    """What the renderer draws of a few fixed portraits: changes with the pictures, not with the wording of the code."""
    drawn = [render_portraits(world.sample_portraits(24, seed=0, population=name)).images for name in world.POPULATIONS]
    return hashlib.sha256(torch.cat(drawn).numpy().tobytes()).hexdigest()[:12]


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(tensors, partial)
    os.replace(partial, path)


def portrait_parameters(people: int, views: int, seed: int) -> tuple[world.Portraits, Tensor]:
    """Parameters of people x views portraits and who they show; half of the views are from each population.

    seed: the part "train" or "held out" is up to the caller through the seed; see `held_out_seed`.
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
    """Seed of the data that no training sees."""
    return stable_seed("evaluator held out", seed)


def portrait_pool(people: int, views: int, seed: int, folder: Path) -> PortraitPool:
    """Render people x views portraits, or read them from `folder`, where they are kept for the other trainings.

    views: even. The file name holds a hash of what the renderer draws: a changed renderer is not served old images.
    """
    names = [field.name for field in fields(PortraitPool)]
    path = folder / f"portraits-{people}x{views}-{seed}-{_renderer_hash()}.safetensors"
    if not path.exists():
        portraits, person = portrait_parameters(people, views, seed)
        log.info("rendering %d portraits", len(portraits))
        images = render_portraits(portraits).images
        pool = PortraitPool(
            images, portraits.identity, portraits.attributes, portraits.nuisance, portraits.population, person
        )
        _save({name: getattr(pool, name).contiguous() for name in names}, path)
    tensors = load_file(path)
    return PortraitPool(**{name: tensors[name] for name in names})


def scene_pool(count: int, seed: int, folder: Path) -> tuple[Tensor, list[scene_world.Scene]]:
    """Rendered scenes uint8 [N, 3, 64, 64], kept in `folder`, and their descriptions."""
    probe = scene_world.render_scenes(scene_world.sample_scenes(24, 0))[0]
    code = hashlib.sha256(probe.numpy().tobytes()).hexdigest()[:12]
    path = folder / f"scenes-{count}-{seed}-{code}.safetensors"
    scenes = scene_world.sample_scenes(count, seed)
    if not path.exists():
        log.info("rendering %d scenes", count)
        _save({"images": scene_world.render_scenes(scenes)[0].contiguous()}, path)
    return load_file(path)["images"], scenes


SCENE_LABELS = (*CLASSES, *COLOURS, *BACKGROUNDS)


def scene_labels(scenes: list[scene_world.Scene]) -> Tensor:
    """What a scene shows: presence of each object class, object colour and background, float [N, len(SCENE_LABELS)]."""
    names = list(SCENE_LABELS)
    shapes, colours = len(CLASSES), len(COLOURS)
    labels = torch.zeros(len(scenes), len(names))
    for row, scene in enumerate(scenes):
        for thing in scene.objects:
            labels[row, list(CLASSES).index(thing.shape)] = 1
            labels[row, shapes + list(COLOURS).index(thing.colour)] = 1
        labels[row, shapes + colours + list(BACKGROUNDS).index(scene.background)] = 1
    return labels


def subset(pool: PortraitPool, index: Tensor) -> PortraitPool:
    """Some rows of a pool."""
    return replace(pool, **{field.name: getattr(pool, field.name)[index] for field in fields(pool)})


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float [0, 1]."""
    return images.float() / 255


def to_input(images: Tensor) -> Tensor:
    """float [0, 1] -> [-1, 1] after rounding to 8 bits, as stored images are."""
    return ((images.clamp(0, 1) * 255).round() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, generator: Generator, share: float = AUGMENTED_SHARE) -> Tensor:
    """Slightly corrupt a share of the images float [B, 3, H, W] in [0, 1]: a network must also read generated images.

    Half of the augmented images take the round trip of a good autoencoder, the others a corruption of AUGMENTING.
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
