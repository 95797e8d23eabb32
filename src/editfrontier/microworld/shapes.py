"""Drawing of scene objects and scene backgrounds, batched.

An object is drawn in local coordinates: both from about -1 to 1 over the object, x to the right, y downwards. Local
distances are divided by the local width of a pixel for anti-aliasing, so affine deformations of an object stay sharp.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from editfrontier.microworld.draw import Plane, box, ellipse, polygon, segment

Rgb = tuple[float, float, float]

COLOURS: dict[str, Rgb] = {
    "red": (0.86, 0.13, 0.13),
    "orange": (0.97, 0.55, 0.08),
    "yellow": (0.97, 0.88, 0.16),
    "green": (0.16, 0.62, 0.20),
    "blue": (0.14, 0.33, 0.86),
    "purple": (0.56, 0.20, 0.70),
    "white": (0.96, 0.96, 0.96),
    "black": (0.12, 0.12, 0.14),
}
BROWN: Rgb = (0.45, 0.28, 0.14)
CREAM: Rgb = (0.95, 0.89, 0.74)
STEM: Rgb = (0.20, 0.50, 0.16)
GLASS: Rgb = (0.72, 0.88, 0.95)
DARK: Rgb = (0.15, 0.13, 0.13)
GOLD: Rgb = (0.95, 0.78, 0.15)

# A part is a signed distance, and a colour: a constant, or a factor on the colour of the object.
Part = tuple[Tensor, Rgb | float]


def _ball(p: Plane) -> list[Part]:
    circle = ellipse(p, 0.0, 0.0, 0.95, 0.95)
    band = torch.maximum(circle, ellipse(p, 0.0, -1.55, 1.75, 1.75).abs() - 0.11)
    return [(circle, 1.0), (band, 0.6), (ellipse(p, -0.35, -0.45, 0.22, 0.16), 1.9)]


def _box(p: Plane) -> list[Part]:
    top = polygon(p, [(-0.9, -0.4), (-0.45, -0.85), (0.95, -0.85), (0.5, -0.4)])
    side = polygon(p, [(0.5, -0.4), (0.95, -0.85), (0.95, 0.45), (0.5, 0.9)])
    return [(box(p, -0.2, 0.25, 0.7, 0.65), 1.0), (top, 1.35), (side, 0.6)]


def _star(p: Plane) -> list[Part]:
    corners = []
    for k in range(10):
        radius = 1.05 if k % 2 == 0 else 0.45
        turn = math.pi * k / 5
        corners.append((radius * math.sin(turn), 0.05 - radius * math.cos(turn)))
    return [(polygon(p, corners), 1.0)]


def _tree(p: Plane) -> list[Part]:
    lower = polygon(p, [(0.0, -0.35), (0.8, 0.55), (-0.8, 0.55)])
    upper = polygon(p, [(0.0, -1.0), (0.58, 0.0), (-0.58, 0.0)])
    return [(box(p, 0.0, 0.72, 0.15, 0.28), BROWN), (lower, 0.85), (upper, 1.1)]


def _house(p: Plane) -> list[Part]:
    roof = polygon(p, [(0.0, -0.95), (0.98, -0.1), (-0.98, -0.1)])
    return [
        (box(p, 0.0, 0.38, 0.78, 0.55), 1.0),
        (roof, 0.55),
        (box(p, 0.3, 0.6, 0.18, 0.33), DARK),
        (box(p, -0.36, 0.4, 0.2, 0.2), GLASS),
    ]


def _car(p: Plane) -> list[Part]:
    cabin = polygon(p, [(-0.55, 0.0), (-0.35, -0.55), (0.35, -0.55), (0.65, 0.0)])
    window = polygon(p, [(-0.38, -0.02), (-0.24, -0.4), (0.24, -0.4), (0.43, -0.02)])
    return [
        (cabin, 0.85),
        (window, GLASS),
        (box(p, 0.0, 0.18, 1.0, 0.27, 0.15), 1.0),
        (ellipse(p, -0.52, 0.45, 0.26, 0.26), DARK),
        (ellipse(p, 0.52, 0.45, 0.26, 0.26), DARK),
        (ellipse(p, -0.52, 0.45, 0.1, 0.1), (0.7, 0.7, 0.7)),
        (ellipse(p, 0.52, 0.45, 0.1, 0.1), (0.7, 0.7, 0.7)),
    ]


def _fish(p: Plane) -> list[Part]:
    tail = polygon(p, [(0.4, 0.0), (1.0, -0.5), (0.85, 0.0), (1.0, 0.5)])
    fin = polygon(p, [(-0.3, -0.35), (0.3, -0.72), (0.35, -0.2)])
    return [
        (tail, 0.7),
        (fin, 0.7),
        (ellipse(p, -0.2, 0.0, 0.78, 0.48), 1.0),
        (ellipse(p, -0.6, -0.1, 0.14, 0.14), (0.98, 0.98, 0.98)),
        (ellipse(p, -0.62, -0.1, 0.07, 0.07), DARK),
    ]


def _flower(p: Plane) -> list[Part]:
    petals = ellipse(p, 0.0, -0.8, 0.28, 0.28)
    for k in range(1, 5):
        turn = 2 * math.pi * k / 5
        petals = torch.minimum(petals, ellipse(p, 0.43 * math.sin(turn), -0.37 - 0.43 * math.cos(turn), 0.28, 0.28))
    return [
        (segment(p, 0.0, 0.0, 0.0, 0.95, 0.08), STEM),
        (segment(p, 0.05, 0.75, 0.45, 0.5, 0.12), STEM),
        (petals, 1.0),
        (ellipse(p, 0.0, -0.37, 0.24, 0.24), GOLD),
    ]


def _heart(p: Plane) -> list[Part]:
    lobes = torch.minimum(ellipse(p, -0.44, -0.35, 0.48, 0.48), ellipse(p, 0.44, -0.35, 0.48, 0.48))
    tip = polygon(p, [(-0.83, -0.07), (0.0, -0.5), (0.83, -0.07), (0.0, 0.92)])
    return [(torch.minimum(lobes, tip), 1.0), (ellipse(p, -0.5, -0.45, 0.17, 0.13), 1.6)]


def _mushroom(p: Plane) -> list[Part]:
    cap = torch.maximum(ellipse(p, 0.0, 0.1, 0.98, 0.98), p.y - 0.1)
    spot: Rgb = (0.93, 0.91, 0.84)
    return [
        (box(p, 0.0, 0.45, 0.28, 0.5, 0.1), CREAM),
        (cap, 1.0),
        (ellipse(p, -0.45, -0.25, 0.16, 0.16), spot),
        (ellipse(p, 0.05, -0.55, 0.17, 0.17), spot),
        (ellipse(p, 0.5, -0.2, 0.16, 0.16), spot),
    ]


CLASSES: dict[str, Callable[[Plane], list[Part]]] = {
    "ball": _ball,
    "box": _box,
    "star": _star,
    "tree": _tree,
    "house": _house,
    "car": _car,
    "fish": _fish,
    "flower": _flower,
    "heart": _heart,
    "mushroom": _mushroom,
}


def draw_objects(shape: str, p: Plane, pixel: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    """Draws objects of one class.

    Args:
        shape: a name of `CLASSES`.
        p: local coordinates [M, H, W].
        pixel: width of a pixel in local coordinates [M, 1, 1].
        colour: colour of each object [M, 3, 1, 1] in [0, 1].

    Returns:
        rgb [M, 3, H, W] in [0, 1] and the covered share of each pixel [M, H, W] in [0, 1].
    """
    shading = 1.0 - 0.12 * (p.x * 0.5 + p.y)
    rgb = torch.zeros(1)
    outline = torch.full_like(p.x, torch.inf)
    for number, (distance, paint) in enumerate(CLASSES[shape](p)):
        outline = torch.minimum(outline, distance)
        if isinstance(paint, float):
            # A factor above one mixes in white, so that black objects show their highlights too.
            tint = colour * paint if paint <= 1 else 1 - (1 - colour) * (2 - paint)
            layer = (tint * shading[:, None]).clamp(0, 1)
        else:
            layer = (torch.tensor(paint).view(1, 3, 1, 1) * shading[:, None]).clamp(0, 1)
        cover = (0.5 - distance / pixel).clamp_(0, 1)
        rgb = layer if number == 0 else torch.lerp(rgb, layer, cover[:, None])
    # A thin contour in a darker tone (lighter for black) keeps an object apart from any background.
    luma = (colour * torch.tensor([0.3, 0.6, 0.1]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    rim = torch.where(luma < 0.2, colour + 0.3, colour * 0.45)
    band = (1.0 - (outline + 0.6 * pixel).abs() / (0.9 * pixel)).clamp_(0, 1) * 0.7
    return torch.lerp(rgb, rim.expand_as(rgb), band[:, None]), (0.5 - outline / pixel).clamp_(0, 1)


def _pastel(hue: Tensor, light: Tensor) -> Tensor:
    """Soft colours [N, 3, 1, 1] from hue and lightness in [0, 1], each [N]."""
    turn = 2 * math.pi * (hue[:, None] - torch.tensor([0.0, 1 / 3, 2 / 3]))
    return ((0.55 + 0.3 * light)[:, None] + 0.13 * torch.cos(turn)).clamp(0, 1)[:, :, None, None]


def _flat(colour: Rgb) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1)


def _above(y: Tensor, edge: Tensor, pixel: float) -> Tensor:
    """Share of each pixel that lies below the line y = edge, [N, 1, H, W]."""
    return (0.5 + (y - edge) / pixel).clamp(0, 1)[:, None]


def draw_background(kind: str, p: Plane, v: Tensor) -> Tensor:
    """Backgrounds of one kind.

    Args:
        kind: a name of `BACKGROUNDS`.
        p: image coordinates [N, H, W] from -1 to 1.
        v: nuisance [N, 12] in [0, 1].

    Returns:
        [N, 3, H, W] in [0, 1].
    """
    w = v[:, :, None, None]
    down = ((p.y + 1) / 2)[:, None]
    first = _pastel(v[:, 0], v[:, 1])
    if kind == "plain":
        return first.expand(-1, -1, *p.x.shape[1:])
    if kind == "gradient":
        second = _pastel(v[:, 0] + 0.25 + 0.5 * v[:, 2], 1 - v[:, 1])
        turn = 2 * math.pi * w[:, 3]
        along = ((p.x * torch.cos(turn) + p.y * torch.sin(turn)) / 2.4 + 0.5).clamp(0, 1)
        return torch.lerp(first * 0.85, second, along[:, None])
    if kind == "field":
        sky = torch.lerp(_flat((0.42, 0.66, 0.93)), _flat((0.83, 0.92, 0.98)), down * 1.4)
        hills = 0.1 + 0.5 * (w[:, 2] - 0.5) + 0.09 * torch.sin(2.5 * p.x + 6.28 * w[:, 3])
        blades = 0.05 * torch.sin(31.0 * p.x + 17.0 * p.y + 6.28 * w[:, 4]) * torch.sin(23.0 * p.y - 11.0 * p.x)
        grass = _flat((0.40, 0.62, 0.25)) * (0.9 + 0.25 * w[:, 5, None]) + blades[:, None]
        return torch.lerp(sky, grass, _above(p.y, hills, p.pixel))
    if kind == "room":
        edge = 0.3 + 0.3 * (w[:, 2] - 0.5)
        stripes = 1.0 - 0.05 * ((p.x * (5 + 4 * w[:, 3]) + w[:, 4]).remainder(1.0) < 0.5).float()[:, None]
        depth = (p.y - edge).clamp(min=0) + 0.35
        boards = 1.0 - 0.14 * (((p.x / depth) * 1.6 + w[:, 4]).remainder(1.0) < 0.12).float()[:, None]
        floor = torch.lerp(_flat((0.66, 0.47, 0.30)), _flat((0.47, 0.36, 0.28)), w[:, 5, None]) * boards
        wall = torch.lerp(first * stripes, _flat((0.93, 0.92, 0.89)), _above(p.y, edge - 0.09, p.pixel))
        return torch.lerp(wall, floor, _above(p.y, edge, p.pixel))
    if kind == "beach":
        horizon = -0.25 + 0.3 * (w[:, 2] - 0.5)
        shore = 0.3 + 0.2 * (w[:, 3] - 0.5) + 0.06 * torch.sin(4.0 * p.x + 6.28 * w[:, 4])
        sky = torch.lerp(_flat((0.55, 0.76, 0.95)), _flat((0.96, 0.93, 0.86)), (down * 1.7).clamp(0, 1))
        waves = 0.05 * torch.sin(26.0 * p.y + 3.0 * torch.sin(5.0 * p.x + 6.28 * w[:, 4]))
        sea = _flat((0.13, 0.48, 0.66)) + waves[:, None]
        grains = 0.03 * torch.sin(41.0 * p.x + 29.0 * p.y) * torch.sin(37.0 * p.y - 19.0 * p.x)
        sand = _flat((0.89, 0.80, 0.58)) * (0.92 + 0.12 * w[:, 5, None]) + grains[:, None]
        scene = torch.lerp(sky, sea, _above(p.y, horizon, p.pixel))
        return torch.lerp(scene, sand, _above(p.y, shore, p.pixel))
    if kind == "night":
        sky = torch.lerp(_flat((0.04, 0.05, 0.20)), _flat((0.20, 0.19, 0.42)), down)
        stars = torch.zeros_like(p.x)
        for k in range(10):
            x = ((w[:, k] * 7.3 + 0.37 * k).remainder(1.0)) * 2 - 1
            y = ((w[:, (k + 5) % 12] * 5.9 + 0.61 * k).remainder(1.0)) * 1.5 - 1
            stars = torch.maximum(stars, 1.0 - ((p.x - x) ** 2 + (p.y - y) ** 2).sqrt() / (1.2 * p.pixel))
        sky = torch.lerp(sky, _flat((0.97, 0.96, 0.85)), stars.clamp(0, 1)[:, None])
        ground = 0.72 + 0.06 * torch.sin(3.1 * p.x + 6.28 * w[:, 3])
        return torch.lerp(sky, _flat((0.10, 0.15, 0.17)), _above(p.y, ground, p.pixel))
    raise ValueError(f"unknown background {kind!r}")


BACKGROUNDS = ("plain", "gradient", "field", "room", "beach", "night")
