"""Batches for the diffusion models: captions, edit masks and instruction pairs of the training images."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import instructions, load_language, portrait_caption
from editfrontier.microworld.portraits import ATTRIBUTES, named_attributes
from editfrontier.microworld.scenes import scene_caption
from editfrontier.microworld.sessions import session_pairs
from editfrontier.microworld.zoo.autoencoder import encode_images
from editfrontier.microworld.zoo.data import DataSettings, TrainingData, rows_for_step, to_float, training_scenes
from editfrontier.microworld.zoo.diffusion import DiffusionBatch, tokenise
from editfrontier.microworld.zoo.loop import cached

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import CLIPTokenizer

log = logging.getLogger(__name__)


def cached_latents(vae: AutoencoderKL, images: Tensor, folder: Path) -> Tensor:
    """Return unscaled posterior means of uint8 [N, 3, 64, 64], cached in `folder` by a hash of encoder and images."""
    digest = hashlib.sha256(images[:: max(1, len(images) // 64)].contiguous().numpy().tobytes())
    convolution = {} if vae.quant_conv is None else vae.quant_conv.state_dict()  # autoencoders like FLUX's have none
    for value in [*vae.encoder.state_dict().values(), *convolution.values()]:
        digest.update(value.float().numpy().tobytes())

    def encode() -> dict[str, Tensor]:
        log.info("encoding %d images", len(images))
        return {"latents": encode_images(vae, images, bf16=True)}

    latents: Tensor = cached(folder / f"latents-{len(images)}-{digest.hexdigest()[:12]}.pt", encode)["latents"]
    return latents


class Captions:
    """Captions of the rows of the training data, with new words at each draw; a share `drop` of them is left out."""

    def __init__(self, data: TrainingData, settings: DataSettings, tokenizer: CLIPTokenizer, drop: float) -> None:
        self.language = load_language()
        self.attributes = data.attributes
        self.scenes = training_scenes(settings.scenes, 0, settings.seed)
        self.tokenizer, self.drop = tokenizer, drop

    def text(self, row: int, rng: random.Random | None) -> str:
        """Return one caption; rng None gives the canonical wording."""
        if row < len(self.attributes):
            return portrait_caption(self.language, named_attributes(self.attributes[row]), rng)
        return scene_caption(self.scenes[row - len(self.attributes)], rng, self.language)

    def texts(self, rows: Tensor, rng: random.Random) -> list[str]:
        return ["" if rng.random() < self.drop else self.text(row, _maybe(rng)) for row in rows.tolist()]

    def tokens(self, rows: Tensor, rng: random.Random) -> Tensor:
        return tokenise(self.tokenizer, self.texts(rows, rng))


def _maybe(rng: random.Random) -> random.Random | None:
    # The benchmark's target captions use the canonical wording, so half of the draws show it.
    return rng if rng.random() < 0.5 else None


def _noise(shape: Sequence[int], generator: torch.Generator, high_noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Draw noise and timesteps, a share `high_noise` of the timesteps from the noisiest 40%."""
    noise = torch.randn(*shape, generator=generator)
    timesteps = torch.randint(0, 1000, (shape[0],), generator=generator)
    if high_noise:
        high = torch.rand(shape[0], generator=generator) < high_noise
        timesteps[high] = torch.randint(600, 1000, (int(high.sum()),), generator=generator)
    return noise, timesteps


@dataclass
class TextToImageBatches:
    """(step, generator) -> batch of cached latents with captions."""

    latents: Tensor
    captions: Captions
    batch: int
    name: str
    seed: int
    high_noise: float = 0.0

    def __call__(self, step: int, generator: torch.Generator) -> DiffusionBatch:
        rows = rows_for_step(len(self.latents), self.batch, step, self.name, self.seed)
        rng = random.Random(generator.initial_seed())
        latents = self.latents[rows]
        noise, timesteps = _noise(latents.shape, generator, self.high_noise)
        return DiffusionBatch(latents, noise, timesteps, self.captions.tokens(rows, rng))


def edit_masks(before: Tensor, after: Tensor) -> Tensor:
    """Return the pixels that differ between uint8 [B, 3, H, W], closed with radius 1, float {0, 1} [B, 1, H, W]."""
    changed = (before != after).any(1, keepdim=True).float()
    return 1 - F.max_pool2d(1 - F.max_pool2d(changed, 3, 1, 1), 3, 1, 1)


def random_mask(size: int, rng: random.Random) -> Tensor:
    """Draw a box, or a union of a few ellipses, float {0, 1} [1, size, size]."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    mask = torch.zeros(size, size, dtype=torch.bool)
    if rng.random() < 0.5:
        height, width = rng.randint(size // 8, size * 3 // 4), rng.randint(size // 8, size * 3 // 4)
        top, left = rng.randint(0, size - height), rng.randint(0, size - width)
        mask[top : top + height, left : left + width] = True
    else:
        for _ in range(rng.randint(1, 4)):
            cy, cx = rng.uniform(0, size), rng.uniform(0, size)
            ry, rx = rng.uniform(size / 16, size / 3), rng.uniform(size / 16, size / 3)
            mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    return mask[None].float()


class InpaintingBatches:
    """Batches of target images with a mask and the latents of the image without its masked part.

    Two thirds of the portraits get the exact mask of an attribute edit, grown by 0 to 5 pixels; of the others and of
    the scenes 15% are masked completely, the rest get boxes and blobs. Masked pixels are grey (0 in [-1, 1]).
    `high_noise`: see `_noise`.
    """

    high_noise = 0.0

    def __init__(
        self, data: TrainingData, latents: Tensor, captions: Captions, vae: AutoencoderKL, batch: int, seed: int
    ) -> None:
        self.data, self.latents, self.captions, self.vae = data, latents, captions, vae
        self.batch, self.seed = batch, seed
        partner = data.source.clone()
        flipped = (data.changed >= 0).nonzero().flatten()
        partner[data.source[flipped]] = flipped  # a source's partner is the last portrait flipped from it
        self.partner = partner
        self.scale = float(vae.config.scaling_factor)

    def masks(self, rows: Tensor, rng: random.Random) -> Tensor:
        images, portraits = self.data.images, self.data.portraits
        masks = []
        for row in rows.tolist():
            mask = None
            if row < portraits and int(self.partner[row]) != row and rng.random() < 0.67:
                exact = edit_masks(images[row][None], images[int(self.partner[row])][None])[0]
                if exact.any():
                    grow = rng.randint(0, 5)
                    mask = F.max_pool2d(exact[None], 2 * grow + 1, 1, grow)[0]
            if mask is None:
                mask = torch.ones(1, *images.shape[-2:]) if rng.random() < 0.15 else random_mask(images.shape[-1], rng)
            masks.append(mask)
        return torch.stack(masks)

    def __call__(self, step: int, generator: torch.Generator) -> DiffusionBatch:
        rows = rows_for_step(len(self.latents), self.batch, step, "inpainting", self.seed)
        rng = random.Random(generator.initial_seed())
        mask = self.masks(rows, rng)
        masked = to_float(self.data.images[rows]) * (mask < 0.5)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            hidden = self.vae.encode(masked).latent_dist.mode()
        latents = self.latents[rows]
        noise, timesteps = _noise(latents.shape, generator, self.high_noise)
        small = F.interpolate(mask, size=latents.shape[-2:])
        extra = torch.cat([small, hidden.float() * self.scale], dim=1)
        return DiffusionBatch(latents, noise, timesteps, self.captions.tokens(rows, rng), extra)


class InstructionBatches:
    """Batches of (source, instruction, target); scene pairs make up `scene_share` of each batch.

    The words are all templates of the language file and, for `free_form_share` of the portraits, its free-form
    instructions. The text, the source image, or both are left out with probability `drop` each (Brooks et al.,
    2023, sec. 3.2.1). `high_noise`: see `_noise`.
    """

    high_noise = 0.0

    def __init__(
        self,
        data: TrainingData,
        latents: Tensor,
        scenes: tuple[Tensor, list[str], Tensor],
        tokenizer: CLIPTokenizer | None,
        scale: float,
        config: Mapping[str, Any],
        seed: int,
        name: str = "instruct-pix2pix",
    ) -> None:
        self.language, self.tokenizer = load_language(), tokenizer
        pairs = data.pairs()
        images = data.images
        blocks = [(images[part[:, 0]] != images[part[:, 1]]).any(1) for part in pairs.split(2048)]
        seen = torch.cat([changed.flatten(1).sum(1) > 3 for changed in blocks])
        self.pairs, self.images, self.latents, self.scale = pairs[seen], data.images, latents, scale
        self.scenes, self.config, self.seed, self.name = scenes, config, seed, name

    def instruction(self, pair: Sequence[int], rng: random.Random) -> str:
        name, desired = ATTRIBUTES[pair[2]], bool(pair[3])
        free = self.language.free_form(name, desired)
        if free and rng.random() < self.config["free_form_share"]:
            return rng.choice(free).text
        return rng.choice(instructions(self.language, name, desired))

    def examples(self, step: int, rng: random.Random) -> tuple[Tensor, Tensor, list[str], Tensor, Tensor]:
        """Return a step's sources and targets (unscaled latents), instructions, rows of pairs and of scene pairs."""
        batch = int(self.config["batch"])
        count = round(batch * self.config["scene_share"])
        pairs = self.pairs[rows_for_step(len(self.pairs), batch - count, step, self.name, self.seed)]
        rows = rows_for_step(len(self.scenes[0]), count, step, f"{self.name}-scenes", self.seed)
        source = torch.cat([self.latents[pairs[:, 0]], self.scenes[0][rows]])
        target = torch.cat([self.latents[pairs[:, 1]], self.scenes[2][rows]])
        texts = [self.instruction(pair, rng) for pair in pairs.tolist()]
        texts += [self.scenes[1][row] for row in rows.tolist()]
        return source, target, texts, pairs, rows

    def leave_out(self, texts: Sequence[str], generator: torch.Generator) -> tuple[list[str], Tensor]:
        """Return the texts, some of them emptied, and {0, 1} [B, 1, 1, 1]: which images stay."""
        draw, drop = torch.rand(len(texts), generator=generator), float(self.config["drop"])
        kept = ["" if value < 2 * drop else text for text, value in zip(texts, draw.tolist(), strict=True)]
        return kept, ((draw < drop) | (draw >= 3 * drop)).float().view(-1, 1, 1, 1)

    def __call__(self, step: int, generator: torch.Generator) -> DiffusionBatch:
        assert self.tokenizer is not None
        source, target, texts, _, _ = self.examples(step, random.Random(generator.initial_seed()))
        target = target * self.scale
        noise, timesteps = _noise(target.shape, generator, self.high_noise)
        texts, keep = self.leave_out(texts, generator)
        return DiffusionBatch(target, noise, timesteps, tokenise(self.tokenizer, texts), source * keep)


def scene_pairs(n: int, seed: int) -> tuple[Tensor, list[str], Tensor]:
    """Draw n scene pairs of the training: source uint8 [n, 3, 64, 64], instructions, target."""
    return session_pairs(n, stable_seed("train", "instructions", seed), portrait_share=0.0)
