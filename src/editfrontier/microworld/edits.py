"""Single edits with known results: of portrait attributes and of scenes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import HAIR_COLOURS, Instruction, Language, attribute_instruction, portrait_caption
from editfrontier.data.pictures import Mask, Pixels
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import (
    ATTRIBUTES,
    Portraits,
    concatenate,
    conflicts,
    sample_portraits,
    set_attribute,
)
from editfrontier.microworld.scene_edits import EDIT_KINDS, SceneChange, edit_scene
from editfrontier.microworld.scenes import Scene, render_scenes, sample_scene, scene_caption
from editfrontier.microworld.segment import exact_mask

MINIMUM_PIXELS = 12  # an edit that changes fewer pixels is not visible
_BLOCK = 3  # candidates drawn at once; fixed, so that a longer list of edits starts with the shorter one
_ROUNDS = 200


@dataclass(frozen=True)
class Edit:
    """One edit: images uint8 [64, 64, 3] before and after it, the exact mask, captions of both, and the instruction.

    The mask, bool [64, 64], holds every pixel that differs, and for scenes all visible pixels of the changed objects.
    The fields from `attribute` on are empty for scenes; `portrait` holds the parameters of the source, a batch of one.
    """

    before: Pixels
    after: Pixels
    mask: Mask
    source_caption: str
    target_caption: str
    instruction: Instruction
    edit_type: str
    label: str  # short name of the edit for case ids
    attribute: str = ""
    desired: bool = True
    source_attributes: Mapping[str, bool] = field(default_factory=dict)
    target_attributes: Mapping[str, bool] = field(default_factory=dict)
    identity: str = ""
    portrait: Portraits | None = None


def to_array(image: Tensor) -> Pixels:
    """Turn uint8 [3, H, W] into [H, W, 3]."""
    return image.permute(1, 2, 0).contiguous().numpy()


def attribute_directions() -> list[tuple[str, bool]]:
    """Return every (attribute, desired value) in the order of the round robin.

    The first twenty name each attribute once with alternating directions, the rest the other directions. Hair colours
    are only added, since a new one replaces the old one.
    """
    first = [(name, name in HAIR_COLOURS or number % 2 == 0) for number, name in enumerate(ATTRIBUTES)]
    return first + [(name, not desired) for name, desired in first if name not in HAIR_COLOURS]


def prepared(portraits: Portraits, attribute: str, desired: bool) -> Portraits:
    """Return the portraits with the opposite value of the attribute, or another hair colour, before an edit."""
    if attribute not in HAIR_COLOURS:
        return set_attribute(portraits, attribute, not desired)
    other = HAIR_COLOURS[(HAIR_COLOURS.index(attribute) + 2) % len(HAIR_COLOURS)]
    changed = set_attribute(portraits, other, True)
    keep = portraits.attribute(attribute)[:, None]
    return replace(portraits, attributes=torch.where(keep, changed.attributes, portraits.attributes))


def visible_change(before: Tensor, after: Tensor) -> Tensor:
    """Return bool [N]: whether two batches uint8 [N, 3, H, W] differ in at least `MINIMUM_PIXELS` pixels."""
    return (before != after).any(1).sum((1, 2)) >= MINIMUM_PIXELS


def portrait_edit(
    lang: Language,
    source: Portraits,
    target: Portraits,
    images: tuple[Tensor, Tensor],
    edit: tuple[str, bool],
    instruction: Instruction,
    identity: str,
) -> Edit:
    """Return the edit of one portrait; `source` and `target` are batches of one, images uint8 [3, 64, 64]."""
    attribute, desired = edit
    arrays = to_array(images[0]), to_array(images[1])
    before, after = source.attributes_of(0), target.attributes_of(0)
    direction = "add" if desired else "remove"
    return Edit(
        before=arrays[0],
        after=arrays[1],
        mask=exact_mask(*arrays),
        source_caption=portrait_caption(lang, before),
        target_caption=portrait_caption(lang, after),
        instruction=instruction,
        edit_type=f"attribute_{direction}",
        label=f"{attribute}-{direction}",
        attribute=attribute,
        desired=desired,
        source_attributes=before,
        target_attributes=after,
        identity=identity,
        portrait=source,
    )


@dataclass
class _Slot:
    """One place of the round robin and the edits found for it so far."""

    attribute: str
    desired: bool
    wanted: int
    found: list[tuple[Portraits, Portraits, Tensor, Tensor]]


def _search(slots: Sequence[_Slot], turn: int, seed: int, population: str) -> None:
    """Draw a block of candidates for every unfilled slot, render all at once and keep the visible edits."""
    open_slots = [slot for slot in slots if len(slot.found) < slot.wanted]
    sources = []
    for slot in open_slots:
        where = stable_seed("cases", "portraits", seed, slot.attribute, slot.desired, turn)
        sources.append(
            prepared(sample_portraits(_BLOCK, seed=where, population=population), slot.attribute, slot.desired)
        )
    targets = [set_attribute(s, slot.attribute, slot.desired) for s, slot in zip(sources, open_slots, strict=True)]
    clean = [
        ~conflicts(s, slot.attribute) if slot.desired else torch.ones(_BLOCK, dtype=torch.bool)
        for s, slot in zip(sources, open_slots, strict=True)
    ]
    source, target = concatenate(sources), concatenate(targets)
    before, after = render_portraits(source).images, render_portraits(target).images
    usable = visible_change(before, after) & torch.cat(clean)
    for row in range(len(source)):
        slot = open_slots[row // _BLOCK]
        if usable[row] and len(slot.found) < slot.wanted:
            slot.found.append((source[row], target[row], before[row], after[row]))


def portrait_edits(
    n: int, seed: int, lang: Language, *, population: str = "studio", free_form_share: float = 0.2
) -> list[Edit]:
    """Draw `n` visible attribute edits of `n` different people, attributes and directions in round robin.

    Args:
        n: number of edits; a longer list starts with the shorter one.
        seed: seed of everything, disjoint from the seeds of training data.
        lang: the language.
        population: one of `portraits.POPULATIONS`.
        free_form_share: expected share of free-form instructions in [0, 1].
    """
    order = attribute_directions()
    slots = [
        _Slot(attribute, desired, len(range(place, n, len(order))), [])
        for place, (attribute, desired) in enumerate(order)
    ]
    for turn in range(_ROUNDS):
        if all(len(slot.found) == slot.wanted for slot in slots):
            break
        _search(slots, turn, seed, population)
    else:
        missing = [slot.attribute for slot in slots if len(slot.found) < slot.wanted]
        raise RuntimeError(f"no visible edits found for {', '.join(missing)} after {_ROUNDS} rounds")
    edits = []
    for number in range(n):
        slot = slots[number % len(order)]
        source, target, before, after = slot.found[number // len(order)]
        rng = random.Random(stable_seed("cases", "instruction", population, seed, number))
        text = attribute_instruction(lang, slot.attribute, slot.desired, rng, free_form_share)
        person = f"{population}-{seed}-{number:05d}"
        edits.append(portrait_edit(lang, source, target, (before, after), (slot.attribute, slot.desired), text, person))
    return edits


def changed_objects(source: Scene, target: Scene, before: Tensor, after: Tensor) -> Mask:
    """Return bool [64, 64]: the visible pixels of objects in only one of two scenes, and of backgrounds that differ.

    Args:
        source, target: the scenes.
        before, after: their instance masks {0, 1} [3, 64, 64].
    """
    mask = torch.zeros(before.shape[1:], dtype=torch.bool)
    for scene, other, planes in ((source, target, before), (target, source, after)):
        for number, obj in enumerate(scene.objects):
            if obj not in other.objects:
                mask |= planes[number].bool()
    if source.background != target.background:
        mask |= ~(before.bool().any(0) | after.bool().any(0))
    result: Mask = mask.numpy()
    return result


def scene_change_edits(lang: Language, sources: Sequence[Scene], changes: Sequence[SceneChange]) -> list[Edit]:
    """Render scenes before and after their changes."""
    first, planes_before = render_scenes(sources)
    second, planes_after = render_scenes([change.target for change in changes])
    edits = []
    for number, (source, change) in enumerate(zip(sources, changes, strict=True)):
        before, after = to_array(first[number]), to_array(second[number])
        objects = changed_objects(source, change.target, planes_before[number], planes_after[number])
        edits.append(
            Edit(
                before=before,
                after=after,
                mask=exact_mask(before, after) | objects,
                source_caption=scene_caption(source, None, lang),
                target_caption=scene_caption(change.target, None, lang),
                instruction=change.instruction,
                edit_type=change.kind,
                label=change.kind,
            )
        )
    return edits


def scene_edits(n: int, seed: int, lang: Language, *, free_form_share: float = 0.2) -> list[Edit]:
    """Draw `n` edits of `n` different scenes, kinds in round robin; arguments as for `portrait_edits`."""
    sources, changes = [], []
    for number in range(n):
        rng = random.Random(stable_seed("cases", "scenes", seed, number))
        change = None
        while change is None:
            scene = sample_scene(rng)
            change = edit_scene(scene, EDIT_KINDS[number % len(EDIT_KINDS)], rng, lang, free_form_share)
        sources.append(scene)
        changes.append(change)
    return scene_change_edits(lang, sources, changes)
