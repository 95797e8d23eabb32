"""Editing sessions of one to three turns over scenes and portraits (in MagicBrush's role), and pairs to train on."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import HAIR_COLOURS, Language, attribute_instruction, load_language
from editfrontier.microworld.edits import Edit, portrait_edit, scene_change_edits, visible_change
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import (
    ATTRIBUTES,
    POPULATIONS,
    Portraits,
    concatenate,
    conflicts,
    sample_portraits,
    set_attribute,
)
from editfrontier.microworld.scene_edits import random_scene_edit
from editfrontier.microworld.scenes import render_scenes, sample_scene

MAX_TURNS = 3
_PROPOSALS = 3  # edits tried for one portrait and turn; the first visible one is taken


def _propose(portrait: Portraits, rng: random.Random, used: Sequence[str]) -> list[tuple[str, bool]]:
    """Draw edits of one portrait that clear no other attribute and change none that an earlier turn set."""
    values = portrait.attributes_of(0)
    names = [name for name in ATTRIBUTES if name not in used]
    if any(name in HAIR_COLOURS for name in used):
        names = [name for name in names if name not in HAIR_COLOURS]
    # At most one hair colour; otherwise a quarter of all edits would change it.
    colours = [name for name in names if name in HAIR_COLOURS and not values[name]]
    names = [name for name in names if name not in HAIR_COLOURS] + ([rng.choice(colours)] if colours else [])
    names = [name for name in names if values[name] or not bool(conflicts(portrait, name)[0])]
    return [(name, not values[name]) for name in rng.sample(names, _PROPOSALS)]


def _portrait_turn(
    portraits: Sequence[Portraits], rngs: Sequence[random.Random], used: Sequence[Sequence[str]]
) -> list[tuple[Portraits, str, bool, Tensor, Tensor]]:
    """Return the next turn of every session: target, attribute, desired, images before and after."""
    if not portraits:
        return []
    proposals = [_propose(p, rng, names) for p, rng, names in zip(portraits, rngs, used, strict=True)]
    targets = [
        set_attribute(p, name, value) for p, edits in zip(portraits, proposals, strict=True) for name, value in edits
    ]
    before = render_portraits(concatenate(portraits)).images
    after = render_portraits(concatenate(targets)).images
    seen = visible_change(before.repeat_interleave(_PROPOSALS, 0), after).view(-1, _PROPOSALS)
    turns = []
    for row, edits in enumerate(proposals):
        best = int(seen[row].int().argmax())  # the first visible one
        pick = row * _PROPOSALS + best
        turns.append((targets[pick], *edits[best], before[row], after[pick]))
    return turns


def _portrait_sessions(lengths: Sequence[int], seed: int, lang: Language, free_form_share: float) -> list[list[Edit]]:
    rngs = [random.Random(stable_seed("cases", "session", seed, number)) for number in range(len(lengths))]
    states = [
        sample_portraits(1, seed=stable_seed("cases", "sessions", seed, number), population=POPULATIONS[0])
        for number in range(len(lengths))
    ]
    sessions: list[list[Edit]] = [[] for _ in lengths]
    for turn in range(max(lengths, default=0)):
        rows = [row for row, length in enumerate(lengths) if length > turn]
        used = [[edit.attribute for edit in sessions[row]] for row in rows]
        results = _portrait_turn([states[row] for row in rows], [rngs[row] for row in rows], used)
        for row, (target, attribute, desired, before, after) in zip(rows, results, strict=True):
            text = attribute_instruction(lang, attribute, desired, rngs[row], free_form_share)
            images, person = (before, after), f"session-{seed}-{row:05d}"
            sessions[row].append(portrait_edit(lang, states[row], target, images, (attribute, desired), text, person))
            states[row] = target
    return sessions


def _scene_session(length: int, rng: random.Random, lang: Language, free_form_share: float) -> list[Edit]:
    scene = sample_scene(rng)
    sources, changes = [], []
    for _ in range(length):
        change = random_scene_edit(scene, rng, lang, free_form_share)
        sources.append(scene)
        changes.append(change)
        scene = change.target
    return scene_change_edits(lang, sources, changes)


def sample_sessions(
    turns: int, seed: int, lang: Language | None = None, *, portrait_share: float = 0.5, free_form_share: float = 0.2
) -> list[list[Edit]]:
    """Draw sessions with `turns` turns in all; the image of a turn is the true result of the turn before it.

    Args:
        turns: number of turns over all sessions; the last session is cut to fit.
        seed: seed of everything, disjoint from the seeds of training data.
        lang: the language, None = the default file.
        portrait_share: share of sessions on portraits, in [0, 1]; the others are on scenes.
        free_form_share: expected share of free-form instructions in [0, 1].
    """
    lang = lang if lang is not None else load_language()
    lengths: list[int] = []
    while sum(lengths) < turns:
        lengths.append(min(1 + (len(lengths) + 2) % MAX_TURNS, turns - sum(lengths)))
    # Evenly spread: session k is on portraits where the running share passes a whole number.
    on_portraits = [int((k + 1) * portrait_share) > int(k * portrait_share) for k in range(len(lengths))]
    portrait_lengths = [length for length, chosen in zip(lengths, on_portraits, strict=True) if chosen]
    portraits = iter(_portrait_sessions(portrait_lengths, seed, lang, free_form_share))
    sessions = []
    for number, (length, chosen) in enumerate(zip(lengths, on_portraits, strict=True)):
        rng = random.Random(stable_seed("cases", "scene session", seed, number))
        sessions.append(next(portraits) if chosen else _scene_session(length, rng, lang, free_form_share))
    return sessions


def session_pairs(
    n: int, seed: int, lang: Language | None = None, *, portrait_share: float = 0.5, free_form_share: float = 0.2
) -> tuple[Tensor, list[str], Tensor]:
    """Draw `n` triples to train an instruction-following editor on, from seeds that no evaluation case uses.

    Arguments as for `sample_sessions`; portraits come first.

    Returns:
        Source images uint8 [n, 3, 64, 64], instructions, target images uint8 [n, 3, 64, 64]; every edit is visible.
    """
    lang = lang if lang is not None else load_language()
    count = round(n * portrait_share)
    sources: list[Tensor] = []
    targets: list[Tensor] = []
    texts: list[str] = []
    block = 0
    while len(texts) < count:
        size = min(256, max(16, count - len(texts)))
        where = stable_seed("train", "pairs", seed, block)
        rng = random.Random(where)
        states = sample_portraits(size, seed=where, population=POPULATIONS[block % len(POPULATIONS)])
        edits = [_propose(states[row], rng, ())[0] for row in range(size)]
        after = concatenate([set_attribute(states[row], *edit) for row, edit in enumerate(edits)])
        first, second = render_portraits(states).images, render_portraits(after).images
        for row in visible_change(first, second).nonzero().flatten().tolist()[: count - len(texts)]:
            sources.append(first[row])
            targets.append(second[row])
            name, value = edits[row]
            texts.append(attribute_instruction(lang, name, value, rng, free_form_share).text)
        block += 1
    scenes, changes = [], []
    for number in range(n - count):
        rng = random.Random(stable_seed("train", "scene pairs", seed, number))
        scenes.append(sample_scene(rng))
        changes.append(random_scene_edit(scenes[-1], rng, lang, free_form_share))
    first = render_scenes(scenes)[0]
    second = render_scenes([change.target for change in changes])[0]
    empty = torch.zeros(0, 3, *first.shape[2:], dtype=torch.uint8)
    texts += [change.instruction.text for change in changes]
    stacked = [torch.stack(images) if images else empty for images in (sources, targets)]
    return torch.cat([stacked[0], first]), texts, torch.cat([stacked[1], second])
