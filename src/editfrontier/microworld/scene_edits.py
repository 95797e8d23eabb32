"""Random edits of scenes with their instructions; a target scene is the source scene with one thing changed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from editfrontier.data.language import Instruction, Language, pick, scene_instruction
from editfrontier.microworld import scenes as world
from editfrontier.microworld.scenes import Scene, scene_caption
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS

EDIT_KINDS = ("recolour", "replace", "add", "remove", "enlarge", "shrink", "move", "swap", "background")
_OFFSETS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class SceneChange:
    """An edit of a scene: its kind, the scene after it and the instruction."""

    kind: str
    target: Scene
    instruction: Instruction


def _crowded(scene: Scene, index: int) -> bool:
    """Return whether the object leaves the image or overlaps another one."""
    obj = scene.objects[index]
    inside = all(obj.radius <= value <= world.SIZE - 1 - obj.radius for value in (obj.x, obj.y))
    return not inside or any(
        math.hypot(obj.x - o.x, obj.y - o.y) < 0.95 * (obj.radius + o.radius)
        for other, o in enumerate(scene.objects)
        if other != index
    )


def _moved(scene: Scene, rng: random.Random, index: int) -> tuple[Scene, str] | None:
    directions = list(_OFFSETS)
    rng.shuffle(directions)
    for direction in directions:
        dx, dy = _OFFSETS[direction]
        obj = scene.objects[index]
        for distance in sorted((rng.uniform(12, 32) for _ in range(3)), reverse=True):
            # Not clamped at the border: the object moves exactly as far as the truth of the instruction says.
            target = world.change_object(scene, index, x=obj.x + dx * distance, y=obj.y + dy * distance)
            if not _crowded(target, index):
                return target, direction
    return None


def _changed(scene: Scene, kind: str, rng: random.Random, lang: Language) -> tuple[Scene, dict[str, str]] | None:
    """Return the target scene and the slots of the instruction, or None where the edit does not apply."""
    words = lang.scenes
    index = rng.randrange(len(scene.objects))
    obj = scene.objects[index]
    slots = {"object": obj.name}
    if kind == "recolour":
        colour = rng.choice([name for name in COLOURS if all(name != o.colour for o in scene.objects)])
        return world.change_object(scene, index, colour=colour), {**slots, "colour": colour}
    if kind == "replace":
        shape = rng.choice([name for name in CLASSES if all(name != o.shape for o in scene.objects)])
        return world.change_object(scene, index, shape=shape), {**slots, "new": f"{obj.colour} {shape}"}
    if kind == "add":
        new = world.sample_object(rng, scene.objects) if len(scene.objects) < world.MAX_OBJECTS else None
        if new is None:
            return None
        slots = {"new": world.object_phrase(new, lang), "place": pick(words.places[world.place_of(new.x, new.y)], rng)}
        return world.add_object(scene, new), slots
    if kind == "remove":
        return (world.remove_object(scene, index), slots) if len(scene.objects) > 1 else None
    if kind in ("enlarge", "shrink"):
        size = "large" if kind == "enlarge" else "small"
        if obj.size == size:
            return None
        target = world.resize(scene, index, size)
        return None if _crowded(target, index) else (target, slots)
    if kind == "move":
        moved = _moved(scene, rng, index)
        return (moved[0], {**slots, "direction": pick(words.directions[moved[1]], rng)}) if moved else None
    if kind == "swap":
        if len(scene.objects) < 2:
            return None
        other = rng.choice([k for k in range(len(scene.objects)) if k != index])
        target = world.swap(scene, index, other)
        if _crowded(target, index) or _crowded(target, other):
            return None
        return target, {**slots, "other": scene.objects[other].name}
    if kind == "background":
        name = rng.choice([name for name in BACKGROUNDS if name != scene.background])
        return replace(scene, background=name), {**slots, "background": pick(words.backgrounds[name], rng)}
    raise ValueError(f"unknown kind of scene edit {kind!r}, expected one of {', '.join(EDIT_KINDS)}")


def edit_scene(
    scene: Scene, kind: str, rng: random.Random, lang: Language, free_form_share: float = 0.0
) -> SceneChange | None:
    """Draw an edit of one of `EDIT_KINDS` that changes the canonical caption, or None where the kind does not apply."""
    for _ in range(6):
        changed = _changed(scene, kind, rng, lang)
        if changed is not None:
            target, slots = changed
            # With an equal caption the edit could neither be prompted nor judged by text.
            if scene_caption(target, None, lang) == scene_caption(scene, None, lang):
                continue
            return SceneChange(kind, target, scene_instruction(lang, kind, slots, rng, free_form_share))
    return None


def random_scene_edit(scene: Scene, rng: random.Random, lang: Language, free_form_share: float = 0.0) -> SceneChange:
    """Draw an edit of a random kind that applies to the scene."""
    kinds = list(EDIT_KINDS)
    rng.shuffle(kinds)
    for kind in kinds:
        change = edit_scene(scene, kind, rng, lang, free_form_share)
        if change is not None:
            return change
    raise AssertionError("recolour applies to every scene")
