"""Training data of the zoo: portraits with single-attribute flips, and scenes, rendered once and kept as one file.

Each source portrait comes with `flips` further portraits of the same identity and nuisance in which one attribute
was set or unset: all images serve the autoencoder and the text-to-image model, pairs of them the editing models. Seeds
lie in the space stable_seed("train", ...), which no evaluation data use.
"""

from __future__ import annotations

import hashlib
import logging
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import write_png
from editfrontier.data.language import HAIR_COLOURS
from editfrontier.microworld import portraits as world
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import ATTRIBUTES
from editfrontier.microworld.scenes import Scene, render_scenes, sample_scenes
from editfrontier.microworld.zoo.loop import cached

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSettings:
    """portraits: source portraits, half from each population; flips: flipped portraits per source; scenes: images
    of scenes."""

    portraits: int
    flips: int
    scenes: int
    seed: int = 0


@dataclass
class TrainingData:
    """images: uint8 [N, 3, 64, 64]; the first P rows are portraits, the others scenes.

    attributes: bool [P, A]; source: int64 [P], row of the portrait that row p was flipped from (p itself for sources);
    changed: int64 [P], index of the flipped attribute or -1.
    """

    images: Tensor
    attributes: Tensor
    source: Tensor
    changed: Tensor

    @property
    def portraits(self) -> int:
        return len(self.attributes)

    def pairs(self) -> Tensor:
        """Directed editing pairs, int64 [K, 4]: source row, target row, attribute, desired value.

        A flip gives the pair and, where nothing but the attribute changed (or one hair colour took another's place),
        also its reverse.
        """
        hair = torch.tensor([name.endswith("_hair") and name != "long_hair" for name in ATTRIBUTES])
        rows: list[list[int]] = []
        for target in (self.changed >= 0).nonzero().flatten().tolist():
            source, attribute = int(self.source[target]), int(self.changed[target])
            desired = bool(self.attributes[target, attribute])
            rows.append([source, target, attribute, int(desired)])
            differs = self.attributes[source] != self.attributes[target]
            if int(differs.sum()) == 1:
                rows.append([target, source, attribute, int(not desired)])
            elif bool((differs & ~hair).sum() == 0):
                back = int((self.attributes[source] & hair).nonzero()[0, 0])
                rows.append([target, source, back, 1])
        return torch.tensor(rows)


def portraits_with_flips(n: int, flips: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Render n sources and flips * n flipped portraits; return images, attributes, source, changed (`TrainingData`).

    Attributes are flipped in equal shares, drawn with a seeded generator; a hair colour is replaced by another one.
    """
    rng = random.Random(stable_seed("train", "flips", seed))
    blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    done = 0

    def add(portraits: world.Portraits, sources: Tensor, column: int) -> None:
        nonlocal done
        changed = torch.full((len(portraits),), column)
        blocks.append((render_portraits(portraits).images, portraits.attributes, sources, changed))
        done += len(portraits)

    for population, count in zip(world.POPULATIONS, (n - n // 2, n // 2), strict=True):
        where = stable_seed("train", "portraits", seed, population)
        base = world.sample_portraits(count, seed=where, population=population)
        rows = torch.arange(done, done + count)
        add(base, rows, -1)
        present = [base.attributes_of(row) for row in range(count)]
        for _ in range(flips):
            choice = [
                rng.choice([name for name in ATTRIBUTES if not (name in HAIR_COLOURS and values[name])])
                for values in present
            ]
            for column, name in enumerate(ATTRIBUTES):
                picked = torch.tensor([row for row, chosen in enumerate(choice) if chosen == name], dtype=torch.int64)
                for value in (True, False):
                    part = picked[base.attributes[picked, column] != value]
                    if len(part):
                        add(world.set_attribute(base[part], name, value), rows[part], column)
    images, attributes, source, changed = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return images, attributes, source, changed


def scene_images(n: int, seed: int) -> Tensor:
    """Render n training scenes -> uint8 [n, 3, 64, 64]."""
    blocks = [render_scenes(training_scenes(min(1000, n - start), start, seed))[0] for start in range(0, n, 1000)]
    return torch.cat(blocks) if blocks else torch.zeros(0, 3, 64, 64, dtype=torch.uint8)


def training_scenes(n: int, start: int, seed: int) -> list[Scene]:
    """Return the n scenes of the training set from row `start` on, a multiple of 1000, the size of its blocks."""
    blocks = [
        sample_scenes(min(1000, n - done), stable_seed("train", "scenes", seed, start + done))
        for done in range(0, n, 1000)
    ]
    return [scene for block in blocks for scene in block]


def _probe(settings: DataSettings) -> str:
    """Return a hash of the settings and of a few renders: another renderer gives another file of training data."""
    images = [portraits_with_flips(4, 1, settings.seed)[0]]
    if settings.scenes:
        images.append(scene_images(4, settings.seed))
    digest = hashlib.sha256(repr(settings).encode())
    for block in images:
        digest.update(block.numpy().tobytes())
    return digest.hexdigest()[:12]


def load_data(settings: DataSettings, folder: Path) -> TrainingData:
    """Read the training data from `folder`, rendered and saved first if they are not there."""

    def render() -> dict[str, Tensor]:
        log.info("rendering %d portraits and %d scenes", settings.portraits * (1 + settings.flips), settings.scenes)
        images, attributes, source, changed = portraits_with_flips(settings.portraits, settings.flips, settings.seed)
        images = torch.cat([images, scene_images(settings.scenes, settings.seed)])
        return {"images": images, "attributes": attributes, "source": source, "changed": changed}

    return TrainingData(**cached(folder / f"data-{_probe(settings)}.pt", render))


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 [B, 3, H, W] into float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Turn float [B, 3, H, W] in [-1, 1] into uint8, rounded."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def image_grid(images: Tensor, columns: int, path: Path, scale: int = 2) -> None:
    """Write uint8 [B, 3, H, W] as one PNG with `columns` images a row."""
    rows = (len(images) + columns - 1) // columns
    height, width = images.shape[-2:]
    sheet = Image.new("RGB", (columns * width * scale, rows * height * scale))
    for index, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
            (width * scale, height * scale), Image.Resampling.NEAREST
        )
        sheet.paste(tile, (index % columns * width * scale, index // columns * height * scale))
    write_png(path, np.asarray(sheet))


def rows_for_step(count: int, batch: int, step: int, name: str, seed: int) -> Tensor:
    """Return the rows of one step: each pass over the data is one seeded permutation, cut into batches."""
    per_epoch = count // batch
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(stable_seed("train", name, "order", seed, epoch))
    return torch.randperm(count, generator=generator)[place * batch : (place + 1) * batch]
