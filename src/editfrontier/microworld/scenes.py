"""Scenes of one to three coloured objects with relations, exact instance masks, captions and edits (in COCO's role).

Coordinates are pixels of the 64x64 image: x to the right, y downwards, whole numbers at pixel centres (as in OpenCV).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import Language, load_language, pick, with_articles, word_count
from editfrontier.microworld.draw import Plane, plane
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS, draw_background, draw_objects

SIZE = 64
MAX_OBJECTS = 3
NUISANCE_SIZE = 12
RADIUS = {"small": (8.0, 10.0), "large": (14.0, 17.0)}  # pixels, half of the extent
IDENTITY = (1.0, 0.0, 0.0, 1.0)

Matrix = tuple[float, float, float, float]  # rows of a 2x2 matrix


@dataclass(frozen=True)
class SceneObject:
    """One object.

    `x`, `y`: centre in pixels; `radius`: half of the extent in pixels; `deformation`: 2x2 matrix applied after the
    rotation by `angle` (radians, clockwise on the screen); `tone`: nuisance of the colour in [-1, 1].
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float = 0.0
    deformation: Matrix = IDENTITY
    tone: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Objects from back to front, the kind of background and nuisance (background, lighting, texture) in [0, 1]."""

    objects: tuple[SceneObject, ...]
    background: str
    nuisance: tuple[float, ...]


def sample_object(rng: random.Random, others: Sequence[SceneObject]) -> SceneObject | None:
    """Draw an object that differs from `others` in class and colour and hardly overlaps them; None if none fits."""
    shape = rng.choice([name for name in CLASSES if all(name != other.shape for other in others)])
    colour = rng.choice([name for name in COLOURS if all(name != other.colour for other in others)])
    for size in rng.sample(list(RADIUS), len(RADIUS)):
        for _ in range(12):
            radius = rng.uniform(*RADIUS[size])
            x, y = (rng.uniform(radius + 1, SIZE - 2 - radius) for _ in range(2))
            if all(math.hypot(x - o.x, y - o.y) > 0.98 * (radius + o.radius) for o in others):
                angle = math.radians(rng.uniform(-12, 12))
                return SceneObject(shape, colour, size, x, y, radius, angle, tone=rng.uniform(-1, 1))
    return None


def sample_scene(rng: random.Random, count: int | None = None) -> Scene:
    """Draw a scene of `count` objects (None: 1 to 3 at random); classes and colours differ within a scene."""
    wanted = count if count is not None else rng.choices((1, 2, 3), (0.25, 0.45, 0.3))[0]
    while True:
        objects: list[SceneObject] = []
        for _ in range(wanted):
            thing = sample_object(rng, objects)
            if thing is None:
                break
            objects.append(thing)
        if len(objects) == wanted:
            nuisance = tuple(rng.random() for _ in range(NUISANCE_SIZE))
            return Scene(tuple(objects), rng.choice(BACKGROUNDS), nuisance)


def sample_scenes(n: int, seed: int) -> list[Scene]:
    """Draw `n` scenes; scene i depends on (seed, i) alone."""
    return [sample_scene(random.Random(stable_seed("scene", seed, index))) for index in range(n)]


def _local_plane(objects: Sequence[SceneObject]) -> tuple[Plane, Tensor]:
    """Return local coordinates [M, 64, 64] of each object and the local width of a pixel [M, 1, 1]."""
    table = torch.tensor([[o.x, o.y, o.radius, o.angle, *o.deformation] for o in objects])
    x0, y0, radius, angle, a, b, c, d = (column.view(-1, 1, 1) for column in table.T)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Local to pixel offsets: deformation @ rotation * radius; inverted in closed form.
    m00, m01 = (a * cos + b * sin) * radius, (-a * sin + b * cos) * radius
    m10, m11 = (c * cos + d * sin) * radius, (-c * sin + d * cos) * radius
    det = m00 * m11 - m01 * m10
    axis = torch.arange(SIZE, dtype=torch.float32)
    dx, dy = axis.view(1, 1, -1) - x0, axis.view(1, -1, 1) - y0
    pixel = det.abs().rsqrt()
    return Plane((m11 * dx - m01 * dy) / det, (m00 * dy - m10 * dx) / det, 1.0), pixel


def _render_chunk(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    n = len(scenes)
    screen = plane(n, SIZE)
    nuisance = torch.tensor([scene.nuisance for scene in scenes])
    image = torch.empty(n, 3, SIZE, SIZE)
    for kind in BACKGROUNDS:
        rows = [i for i, scene in enumerate(scenes) if scene.background == kind]
        if rows:
            image[rows] = draw_background(kind, plane(len(rows), SIZE), nuisance[rows])
    flat = [(i, k, obj) for i, scene in enumerate(scenes) for k, obj in enumerate(scene.objects)]
    rgb = torch.zeros(n, MAX_OBJECTS, 3, SIZE, SIZE)
    cover = torch.zeros(n, MAX_OBJECTS, SIZE, SIZE)
    for shape in CLASSES:
        group = [entry for entry in flat if entry[2].shape == shape]
        if group:
            colour = torch.tensor([COLOURS[obj.colour] for _, _, obj in group])
            tone = torch.tensor([obj.tone for _, _, obj in group])
            colour = (colour * (1 + 0.06 * tone[:, None])).clamp(0, 1)[:, :, None, None]
            rows, slots = [entry[0] for entry in group], [entry[1] for entry in group]
            local, pixel = _local_plane([entry[2] for entry in group])
            rgb[rows, slots], cover[rows, slots] = draw_objects(shape, local, pixel, colour)
    for k in range(MAX_OBJECTS):
        image = torch.lerp(image, rgb[:, k], cover[:, k, None])
    # Lighting falls off across the image; the grain stands for sensor texture. Both stay equal under every edit.
    v = nuisance[:, :, None, None]
    turn = 2 * math.pi * v[:, 6]
    light = 0.93 + 0.14 * v[:, 7] + 0.09 * (screen.x * torch.cos(turn) + screen.y * torch.sin(turn)) * v[:, 8]
    grain = torch.sin(61.3 * screen.x + 6.28 * v[:, 9]) * torch.sin(53.7 * screen.y + 6.28 * v[:, 10])
    image = image * light[:, None] + 0.012 * (grain * v[:, 11])[:, None]
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    front = torch.zeros(n, SIZE, SIZE, dtype=torch.bool)
    masks = torch.zeros(n, MAX_OBJECTS, SIZE, SIZE, dtype=torch.uint8)
    for k in reversed(range(MAX_OBJECTS)):
        covered = cover[:, k] > 0.5
        masks[:, k] = covered & ~front
        front |= covered
    return pixels, masks


def render_scenes(scenes: Sequence[Scene], batch: int = 64) -> tuple[Tensor, Tensor]:
    """Render scenes, `batch` at a time.

    Returns:
        Images uint8 [N, 3, 64, 64] and the visible pixels of each object, uint8 {0, 1} [N, 3, 64, 64] with one plane an
        object in the order of `Scene.objects` (planes of absent objects are 0).
    """
    chunks = [_render_chunk(scenes[start : start + batch]) for start in range(0, len(scenes), batch)]
    if not chunks:
        return torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8), torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)
    return torch.cat([c[0] for c in chunks]), torch.cat([c[1] for c in chunks])


def place_of(x: float, y: float) -> str:
    """Return the place in the image: left, right, top, bottom or middle."""
    u, v = x / (SIZE - 1) - 0.5, y / (SIZE - 1) - 0.5
    if max(abs(u), abs(v)) < 0.12:
        return "middle"
    if abs(u) >= abs(v):
        return "left" if u < 0 else "right"
    return "top" if v < 0 else "bottom"


def relation_of(first: SceneObject, second: SceneObject) -> str:
    """Return where `first` is relative to `second`: left, right, above or below, by the larger offset."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) >= abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def object_phrase(obj: SceneObject, lang: Language, rng: random.Random | None = None) -> str:
    """Return a phrase such as 'small red ball'."""
    words = lang.scenes
    parts = (words.sizes[obj.size], words.colours[obj.colour], words.classes[obj.shape])
    return " ".join(pick(options, rng) for options in parts)


def scene_caption(scene: Scene, rng: random.Random | None = None, lang: Language | None = None) -> str:
    """Name every object with size and colour, its place or relation, and the background.

    Args:
        scene: the scene.
        rng: draws wordings and the object that the relations start from; None gives the canonical caption.
        lang: the language, None = the default file.
    """
    lang = lang if lang is not None else load_language()
    words = lang.scenes
    caption = ""
    for source in (rng, None) if rng is not None else (None,):
        objects = list(scene.objects)
        if source is not None:
            source.shuffle(objects)
        first = f"a {object_phrase(objects[0], lang, source)}"
        if len(objects) == 1:
            text = f"{first} {pick(words.places[place_of(objects[0].x, objects[0].y)], source)}"
        else:
            parts = [
                f"{pick(words.relations[relation_of(objects[0], o)], source)} a {object_phrase(o, lang, source)}"
                for o in objects[1:]
            ]
            text = f"{first} {' and '.join(parts)}"
        background = pick(words.backgrounds[scene.background], source)
        caption = with_articles(pick(words.frames, source).format(objects=text, background=background))
        if word_count(caption) <= words.max_words:
            break
    return caption


def change_object(scene: Scene, index: int, **changes: object) -> Scene:
    """Return the scene with fields of one object replaced."""
    objects = list(scene.objects)
    objects[index] = replace(objects[index], **changes)  # type: ignore[arg-type]
    return replace(scene, objects=tuple(objects))


def add_object(scene: Scene, obj: SceneObject) -> Scene:
    """Add an object in front of the others; a scene has at most `MAX_OBJECTS`."""
    if len(scene.objects) >= MAX_OBJECTS:
        raise ValueError(f"a scene has at most {MAX_OBJECTS} objects")
    return replace(scene, objects=(*scene.objects, obj))


def remove_object(scene: Scene, index: int) -> Scene:
    """Remove an object; at least one stays."""
    if len(scene.objects) < 2:
        raise ValueError("the last object of a scene cannot be removed")
    return replace(scene, objects=scene.objects[:index] + scene.objects[index + 1 :])


def resize(scene: Scene, index: int, size: str) -> Scene:
    """Give one object another size, and move it inwards where it would leave the image."""
    radius = sum(RADIUS[size]) / 2
    return move(change_object(scene, index, size=size, radius=radius), index, 0.0, 0.0)


def move(scene: Scene, index: int, dx: float, dy: float) -> Scene:
    """Shift one object by (dx, dy) pixels, within the image."""
    obj = scene.objects[index]
    low, high = obj.radius + 1, SIZE - 2 - obj.radius
    return change_object(scene, index, x=min(max(obj.x + dx, low), high), y=min(max(obj.y + dy, low), high))


def swap(scene: Scene, first: int, second: int) -> Scene:
    """Exchange the places of two objects."""
    a, b = scene.objects[first], scene.objects[second]
    return move(move(scene, first, b.x - a.x, b.y - a.y), second, a.x - b.x, a.y - b.y)


def transform_object(scene: Scene, index: int, affine: Sequence[Sequence[float]]) -> Scene:
    """Apply a 2x3 affine map of pixel coordinates (x, y) to one object."""
    obj = scene.objects[index]
    (a, b, tx), (c, d, ty) = affine
    e, f, g, h = obj.deformation
    deformation = (a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h)
    x, y = a * obj.x + b * obj.y + tx, c * obj.x + d * obj.y + ty
    return change_object(scene, index, x=x, y=y, deformation=deformation)
