"""Region drags of scene objects with known results (in ReD-Bench's role): relocation, rotation and deformation.

Affine maps are 2x3 matrices on pixel coordinates (x, y), x to the right, y downwards, whole numbers at pixel centres,
as in OpenCV's `warpAffine`. Masks are bool [64, 64].
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from editfrontier.base.seeding import stable_seed
from editfrontier.data.framing import apply
from editfrontier.data.language import Instruction, Language, load_language, pick, scene_instruction
from editfrontier.data.pictures import Mask, Pixels
from editfrontier.data.regions import Point, coordinates, warp_mask
from editfrontier.microworld import scenes as world
from editfrontier.microworld.edits import to_array
from editfrontier.microworld.scenes import Scene, SceneObject, render_scenes, sample_scene, scene_caption
from editfrontier.microworld.segment import exact_mask

KINDS = ("relocation", "rotation", "deformation")
GRADES = ("small", "medium", "large")
DISTANCE = {"small": (5.0, 9.0), "medium": (11.0, 17.0), "large": (20.0, 32.0)}  # pixels
ANGLE = {"small": (15.0, 25.0), "medium": (35.0, 55.0), "large": (70.0, 110.0)}  # degrees
STRETCH = {"small": (1.15, 1.3), "medium": (1.4, 1.6), "large": (1.75, 2.0)}  # factor
SHEAR = {"small": (0.15, 0.25), "medium": (0.35, 0.5), "large": (0.6, 0.8)}
POINT_PAIRS = 4
_TEMPLATES = {"relocation": "move", "rotation": "rotate", "deformation": "deform"}
_ROUND = frozenset({"ball", "star"})  # a rotation of these is hardly visible

Affine = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Drag:
    """One drag of one object and its true result, with the true background where the object was.

    Attributes:
        before, after: uint8 [64, 64, 3].
        affine: the map of the source region to its target.
        anchor: fixed point (x, y) of a rotation or deformation, None for a relocation.
        target_mask: the warped source mask.
        mask: the edit mask: both regions and every pixel that differs.
        points: pairs of a point in the source region and its target.
        magnitude: mean shift of the region's pixels, in pixels.
    """

    before: Pixels
    after: Pixels
    kind: str
    grade: str
    affine: Affine
    anchor: Point | None
    source_mask: Mask
    target_mask: Mask
    mask: Mask
    points: tuple[tuple[Point, Point], ...]
    magnitude: float
    source_caption: str
    target_caption: str
    instruction: Instruction


def about(anchor: Point, matrix: npt.NDArray[np.float64]) -> Affine:
    """Return the affine map that applies a 2x2 matrix around a fixed point."""
    centre = np.asarray(anchor)
    shift = centre - matrix @ centre
    (a, b), (c, d) = matrix.tolist()
    return (a, b, float(shift[0])), (c, d, float(shift[1]))


def sample_affine(obj: SceneObject, kind: str, grade: str, rng: random.Random) -> tuple[Affine, Point | None]:
    """Draw an affine map of one kind and grade for an object, and its fixed point."""
    if kind == "relocation":
        turn, distance = rng.uniform(0, 2 * math.pi), rng.uniform(*DISTANCE[grade])
        return ((1.0, 0.0, distance * math.cos(turn)), (0.0, 1.0, distance * math.sin(turn))), None
    if kind == "rotation":
        anchor = (obj.x, obj.y)
        turn = rng.choice((-1, 1)) * math.radians(rng.uniform(*ANGLE[grade]))
        cos, sin = math.cos(turn), math.sin(turn)
        return about(anchor, np.array([[cos, -sin], [sin, cos]])), anchor
    if kind == "deformation":
        # Anchored at the middle of one side, as if the opposite side were pulled.
        side_x, side_y = rng.choice(((-1, 0), (1, 0), (0, -1), (0, 1)))
        anchor = (obj.x + side_x * obj.radius, obj.y + side_y * obj.radius)
        if rng.random() < 0.5:
            factor = rng.uniform(*STRETCH[grade])
            factor = factor if rng.random() < 0.5 else 1 / factor
            diagonal = (factor, 1.0) if side_x else (1.0, factor)
            return about(anchor, np.diag(diagonal)), anchor
        shear = rng.choice((-1, 1)) * rng.uniform(*SHEAR[grade])
        matrix = [[1.0, 0.0], [shear, 1.0]] if side_x else [[1.0, shear], [0.0, 1.0]]
        return about(anchor, np.array(matrix)), anchor
    raise ValueError(f"unknown kind of drag {kind!r}, expected one of {', '.join(KINDS)}")


def _fits(scene: Scene, affine: Affine) -> bool:
    """Return whether the last object stays in the image and clear of the others."""
    obj = scene.objects[-1]
    corners = np.array(list(product((-1, 1), repeat=2))) * 0.95 * obj.radius + (obj.x, obj.y)
    moved = apply(np.array(affine), corners)
    if moved.min() < 1 or moved.max() > world.SIZE - 2:
        return False
    centre = moved.mean(0)
    reach = float(np.abs(moved - centre).max())
    return all(math.hypot(centre[0] - o.x, centre[1] - o.y) > 0.9 * (reach + o.radius) for o in scene.objects[:-1])


def point_pairs(mask: Mask, affine: Affine, count: int = POINT_PAIRS) -> tuple[tuple[Point, Point], ...]:
    """Return well spread points of a region, each with its target, beginning with the point nearest to the centroid."""
    pixels = coordinates(mask)
    chosen = [int(((pixels - pixels.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < min(count, len(pixels)):
        distance = ((pixels[:, None] - pixels[chosen][None]) ** 2).sum(2).min(1)
        chosen.append(int(distance.argmax()))
    sources = pixels[chosen]
    targets = apply(np.array(affine), sources)
    return tuple(
        ((float(a), float(b)), (round(float(c), 3), round(float(d), 3)))
        for (a, b), (c, d) in zip(sources, targets, strict=True)
    )


def direction_phrase(dx: float, dy: float, lang: Language, rng: random.Random) -> str:
    """Return 'to the left', or 'to the left and up' where the shift (dx, dy) is diagonal."""
    parts = [("left" if dx < 0 else "right", abs(dx)), ("up" if dy < 0 else "down", abs(dy))]
    longest = max(length for _, length in parts)
    return " and ".join(pick(lang.scenes.directions[name], rng) for name, length in parts if length > 0.4 * longest)


def _plan(kind: str, grade: str, rng: random.Random) -> tuple[Scene, Affine, Point | None]:
    """Draw a scene whose last (front) object can be dragged, and the drag."""
    while True:
        scene = sample_scene(rng, rng.choice((1, 1, 2)))
        if kind == "rotation" and scene.objects[-1].shape in _ROUND:
            continue
        if kind != "relocation" and scene.objects[-1].size == "small":
            continue  # its pixels would hardly shift
        for _ in range(10):
            affine, anchor = sample_affine(scene.objects[-1], kind, grade, rng)
            if _fits(scene, affine):
                return scene, affine, anchor


def sample_drags(n: int, seed: int, lang: Language | None = None, *, free_form_share: float = 0.2) -> list[Drag]:
    """Draw `n` drags of `n` different scenes, kinds, then grades in round robin; arguments as for `portrait_edits`."""
    lang = lang if lang is not None else load_language()
    rngs = [random.Random(stable_seed("cases", "drags", seed, number)) for number in range(n)]
    order = [(KINDS[k % 3], GRADES[k // 3 % 3]) for k in range(n)]
    plans = [_plan(kind, grade, rng) for (kind, grade), rng in zip(order, rngs, strict=True)]
    targets = [world.transform_object(scene, len(scene.objects) - 1, affine) for scene, affine, _ in plans]
    before, masks = render_scenes([scene for scene, _, _ in plans])
    after, masks_after = render_scenes(targets)
    drags = []
    for k, ((scene, affine, anchor), (kind, grade)) in enumerate(zip(plans, order, strict=True)):
        last = len(scene.objects) - 1
        source_mask: Mask = masks[k, last].bool().numpy()
        target_mask = warp_mask(source_mask, np.array(affine))
        images = to_array(before[k]), to_array(after[k])
        pixels = coordinates(source_mask)
        slots = {"object": scene.objects[-1].name}
        if kind == "relocation":
            slots["direction"] = direction_phrase(affine[0][2], affine[1][2], lang, rngs[k])
        drags.append(
            Drag(
                before=images[0],
                after=images[1],
                kind=kind,
                grade=grade,
                affine=affine,
                anchor=anchor,
                source_mask=source_mask,
                target_mask=target_mask,
                mask=exact_mask(*images) | source_mask | target_mask | masks_after[k, last].bool().numpy(),
                points=point_pairs(source_mask, affine),
                magnitude=float(np.linalg.norm(apply(np.array(affine), pixels) - pixels, axis=1).mean()),
                source_caption=scene_caption(scene, None, lang),
                target_caption=scene_caption(targets[k], None, lang),
                instruction=scene_instruction(lang, _TEMPLATES[kind], slots, rngs[k], free_form_share),
            )
        )
    return drags
