"""Training data of the micro model for questions: pairs of images that differ by one edit, and their captions.

Each caption of a pair is true of one image and false of the other, so that the caption alone does not tell the answer.
Seeds lie in the space stable_seed("train", ...), which no evaluation data use.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import Language, load_language, portrait_caption
from editfrontier.microworld.edits import MINIMUM_PIXELS, attribute_directions, prepared
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import (
    ATTRIBUTES,
    POPULATIONS,
    Portraits,
    concatenate,
    conflicts,
    named_attributes,
    sample_portraits,
    set_attribute,
)
from editfrontier.microworld.scene_edits import EDIT_KINDS, edit_scene, random_scene_edit
from editfrontier.microworld.scenes import Scene, render_scenes, sample_scene, scene_caption
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS
from editfrontier.microworld.zoo.evaluators_data import augment, to_float
from editfrontier.scoring.evaluators.vqa import QUESTION

PATCH = 8
COVERED = 0.35
"""Least share of a patch that its object covers."""

IGNORED = -100
_EARLIER = 2  # most earlier edits of a scene, as in the later turns of a session


@dataclass(frozen=True)
class EditPool:
    """P pairs: first of scenes, then of portraits. Image 2p is before the edit of pair p, image 2p + 1 after it.

    Attributes:
        images: uint8 [2P, 3, 64, 64].
        scenes: scenes of the first images, two a pair.
        portraits: attributes of the others, bool [N, 20].
        captions: canonical captions, 2P.
        tokens: questions of the captions.
        agrees: for the other caption of the pair, 1 for each token of its question that the caption of the image has
            too, else 0.
        patches: int64 [2S, 3, 64], class, colour and size + 1 of the object in each patch of a scene, 0 = the
            background.
    """

    images: Tensor
    scenes: list[Scene]
    portraits: Tensor
    captions: list[str]
    tokens: list[list[int]]
    agrees: list[list[int]]
    patches: Tensor

    def __len__(self) -> int:
        return len(self.captions) // 2

    def paraphrase(self, row: int, language: Language, rng: random.Random) -> str:
        """Draw another caption of an image."""
        if row < len(self.scenes):
            return scene_caption(self.scenes[row], rng, language)
        return portrait_caption(language, named_attributes(self.portraits[row - len(self.scenes)]), rng)


def training_scene_pairs(count: int, seed: int, language: Language) -> list[tuple[Scene, Scene]]:
    """Draw `count` scenes before and after an edit, kinds in round robin."""
    pairs: list[tuple[Scene, Scene]] = []
    number = 0
    while len(pairs) < count:
        rng = random.Random(stable_seed("train", "vqa scenes", seed, number))
        number += 1
        scene = sample_scene(rng)
        for _ in range(rng.randint(0, _EARLIER)):
            scene = random_scene_edit(scene, rng, language).target
        change = edit_scene(scene, EDIT_KINDS[len(pairs) % len(EDIT_KINDS)], rng, language)
        if change is not None:
            pairs.append((scene, change.target))
    return pairs


def training_portrait_pairs(count: int, seed: int) -> tuple[Portraits, Portraits]:
    """Draw portraits before and after an edit that changes one attribute alone, in round robin over the attributes."""
    before, after = [], []
    directions = attribute_directions()
    for place, (attribute, desired) in enumerate(directions):
        wanted = len(range(place, count, len(directions)))
        for population in POPULATIONS:
            where = stable_seed("train", "vqa portraits", seed, attribute, desired, population)
            drawn = sample_portraits(wanted + 8, seed=where, population=population)
            source = prepared(drawn, attribute, desired)
            if desired:
                source = source[(~conflicts(source, attribute)).nonzero().flatten()]
            source = source[: (wanted + 1) // 2 if population == POPULATIONS[0] else wanted // 2]
            before.append(source)
            after.append(set_attribute(source, attribute, desired))
    return concatenate(before), concatenate(after)


def build_pool(scenes: int, portraits: int, seed: int, tokenizer: Any) -> EditPool:
    """Render the pairs; portraits whose edit is not visible are left out."""
    language = load_language()
    pairs = training_scene_pairs(scenes, seed, language)
    flat = [scene for pair in pairs for scene in pair]
    scene_images, masks = render_scenes(flat)
    before, after = training_portrait_pairs(portraits, seed)
    first, second = render_portraits(before).images, render_portraits(after).images
    seen = ((first != second).any(1).sum((1, 2)) >= MINIMUM_PIXELS).nonzero().flatten()
    attributes = torch.stack([before.attributes[seen], after.attributes[seen]], dim=1).flatten(0, 1)
    portrait_images = torch.stack([first[seen], second[seen]], dim=1).flatten(0, 1)
    captions = [scene_caption(scene, None, language) for scene in flat]
    captions += [portrait_caption(language, named_attributes(row)) for row in attributes]
    tokens = questions(tokenizer, captions)
    agrees = [agreement(tokens[row ^ 1], tokens[row]) for row in range(len(tokens))]
    images = torch.cat([scene_images, portrait_images])
    return EditPool(images, flat, attributes, captions, tokens, agrees, patch_labels(flat, masks))


def questions(tokenizer: Any, captions: Sequence[str]) -> list[list[int]]:
    """Return the token ids of the question for each caption."""
    rows: list[list[int]] = tokenizer([QUESTION.format(caption=text) for text in captions]).input_ids
    return rows


def agreement(asked: Sequence[int], true: Sequence[int]) -> list[int]:
    """Return, for each token of `asked`, 1 if `true` has it too when both are aligned, else 0."""
    agrees = [0] * len(asked)
    for block in difflib.SequenceMatcher(None, asked, true, autojunk=False).get_matching_blocks():
        agrees[block.a : block.a + block.size] = [1] * block.size
    return agrees


def patch_labels(scenes: Sequence[Scene], masks: Tensor) -> Tensor:
    """Return class, colour and size + 1 of the object in each patch, int64 [N, 3, 64]; masks uint8 [N, 3, 64, 64]."""
    cover = functional.avg_pool2d(masks.float(), PATCH).flatten(2)
    best, number = cover.max(1)
    names: tuple[list[str], ...] = (list(CLASSES), list(COLOURS), ["small", "large"])
    table = torch.zeros(len(scenes), 3, masks.shape[1], dtype=torch.int64)
    for row, scene in enumerate(scenes):
        for place, thing in enumerate(scene.objects):
            for kind, value in enumerate((thing.shape, thing.colour, thing.size)):
                table[row, kind, place] = names[kind].index(value) + 1
    labels = table.gather(2, number[:, None].expand(-1, 3, -1))
    return torch.where(best[:, None] > COVERED, labels, 0)


@dataclass
class VqaBatch:
    """I images and Q questions about them.

    images float [I, 3, 64, 64] in [0, 1]; row int64 [Q]: number of the image; tokens, mask int64 [Q, L]; answer bool
    [Q]; agrees int64 [Q, L]: 1 or 0 for each token, IGNORED where it is not known; patches int64 [I, 3, 64], background
    int64 [I] (IGNORED for portraits), attributes float [I, 20] (NaN for scenes).
    """

    images: Tensor
    row: Tensor
    tokens: Tensor
    mask: Tensor
    answer: Tensor
    agrees: Tensor
    patches: Tensor
    background: Tensor
    attributes: Tensor


class VqaBatches:
    """(step, generator) -> batch of `pairs` pairs, a `scene_share` of them scenes.

    Both images of a pair are asked for both captions. A share `paraphrased` of the pairs has other wordings than the
    canonical ones. In a share `foreign`, the image before the edit is also asked for a caption of another pair, and
    again for its own caption.
    """

    def __init__(
        self, pool: EditPool, tokenizer: Any, *, pairs: int, scene_share: float, paraphrased: float, foreign: float
    ) -> None:
        self.pool, self.tokenizer, self.pairs, self.scene_share = pool, tokenizer, pairs, scene_share
        self.paraphrased, self.foreign, self.language = paraphrased, foreign, load_language()

    def __call__(self, step: int, generator: Generator) -> VqaBatch:
        pool, rng = self.pool, random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        scenes, seen = len(pool.scenes) // 2, round(self.pairs * self.scene_share)
        chosen = torch.randint(scenes, (seen,), generator=generator).tolist()
        chosen += (scenes + torch.randint(len(pool) - scenes, (self.pairs - seen,), generator=generator)).tolist()
        asked: list[tuple[int, list[int], list[int], bool]] = []
        for place, pair in enumerate(chosen):
            sides = [pool.tokens[2 * pair + side] for side in (0, 1)]
            plain = rng.random() >= self.paraphrased
            if not plain:
                texts = [pool.paraphrase(2 * pair + side, self.language, rng) for side in (0, 1)]
                sides = questions(self.tokenizer, texts)
            for side in (0, 1):
                row = 2 * place + side
                asked.append((row, sides[side], [1 if plain else IGNORED] * len(sides[side]), True))
                wrong = pool.agrees[2 * pair + side] if plain else [IGNORED] * len(sides[1 - side])
                asked.append((row, sides[1 - side], wrong, False))
            if rng.random() < self.foreign:
                other = pool.tokens[
                    2 * rng.choice([p for p in chosen if pool.captions[2 * p] != pool.captions[2 * pair]])
                ]
                asked.append((2 * place, other, agreement(other, pool.tokens[2 * pair]), False))
                asked.append((2 * place, sides[0], [IGNORED] * len(sides[0]), True))
        return self._batch(chosen, asked, generator)

    def _batch(
        self, chosen: Sequence[int], asked: Sequence[tuple[int, list[int], list[int], bool]], generator: Generator
    ) -> VqaBatch:
        pool = self.pool
        rows = torch.tensor([2 * pair + side for pair in chosen for side in (0, 1)])
        length = max(len(tokens) for _, tokens, _, _ in asked)
        count = len(pool.scenes)
        scene = rows < count
        patches = torch.full((len(rows), 3, pool.patches.shape[2]), IGNORED)
        patches[scene] = pool.patches[rows[scene]]
        background = torch.full((len(rows),), IGNORED)
        background[scene] = torch.tensor(
            [list(BACKGROUNDS).index(pool.scenes[row].background) for row in rows[scene].tolist()], dtype=torch.int64
        )
        attributes = torch.full((len(rows), len(ATTRIBUTES)), torch.nan)
        attributes[~scene] = pool.portraits[rows[~scene] - count].float()
        return VqaBatch(
            augment(to_float(pool.images[rows]), generator, 0.25),
            torch.tensor([row for row, _, _, _ in asked]),
            torch.tensor([[*tokens, *[0] * (length - len(tokens))] for _, tokens, _, _ in asked]),
            torch.tensor([[1] * len(tokens) + [0] * (length - len(tokens)) for _, tokens, _, _ in asked]),
            torch.tensor([answer for _, _, _, answer in asked]),
            torch.tensor([[*known, *[IGNORED] * (length - len(known))] for _, _, known, _ in asked]),
            patches,
            background,
            attributes,
        )
