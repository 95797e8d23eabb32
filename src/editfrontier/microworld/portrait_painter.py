"""The painter of the portraits: every part of a face as anti-aliased shapes, from back to front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.microworld import draw
from editfrontier.microworld.draw import Canvas, Plane, coverage
from editfrontier.microworld.portraits import (
    ATTRIBUTES,
    HAIR_COLOURS,
    IDENTITY,
    NUISANCE,
    POPULATIONS,
    REGIONS,
    SIZE,
    Portraits,
    Rendered,
)

_SKIN = [(0.98, 0.85, 0.74), (0.93, 0.74, 0.58), (0.80, 0.58, 0.41), (0.58, 0.39, 0.27), (0.38, 0.25, 0.18)]
_EYES = [(0.25, 0.45, 0.75), (0.30, 0.55, 0.40), (0.50, 0.36, 0.16), (0.22, 0.13, 0.08)]
_HAIR = [(0.09, 0.08, 0.10), (0.40, 0.24, 0.13), (0.90, 0.76, 0.42), (0.74, 0.29, 0.11), (0.74, 0.75, 0.78)]
_CLOTHES = [
    (0.20, 0.28, 0.52),
    (0.52, 0.18, 0.22),
    (0.18, 0.42, 0.34),
    (0.45, 0.45, 0.50),
    (0.62, 0.50, 0.28),
    (0.30, 0.22, 0.40),
]
_ACCESSORY = [(0.80, 0.16, 0.20), (0.16, 0.36, 0.78), (0.15, 0.58, 0.36), (0.93, 0.72, 0.12), (0.55, 0.22, 0.62)]
_STUDIO = [(0.78, 0.82, 0.88), (0.58, 0.66, 0.76), (0.86, 0.83, 0.78), (0.50, 0.55, 0.60), (0.70, 0.76, 0.72)]
_OUTDOOR = [(0.45, 0.66, 0.90), (0.42, 0.62, 0.36), (0.86, 0.66, 0.44), (0.66, 0.60, 0.56), (0.30, 0.46, 0.42)]


def _palette(stops: Sequence[tuple[float, float, float]], position: Tensor) -> Tensor:
    """Interpolate colours: position [N] in [0, 1] to [N, 3, 1, 1]."""
    table = torch.tensor(stops)
    scaled = position.clamp(0, 1) * (len(stops) - 1)
    low = scaled.floor().long().clamp(max=len(stops) - 2)
    return torch.lerp(table[low], table[low + 1], (scaled - low)[:, None])[:, :, None, None]


def _pick(choices: Sequence[tuple[float, float, float]], position: Tensor) -> Tensor:
    """Choose colours without interpolation: position [N] in [0, 1] to [N, 3, 1, 1]."""
    return torch.tensor(choices)[(position * len(choices)).long().clamp(max=len(choices) - 1)][:, :, None, None]


def _constant(*colour: float) -> Tensor:
    return torch.tensor(colour)[None, :, None, None]


class _Look:
    """Named access to the parameters of a batch: identity and nuisance as [N, 1, 1], attributes as bool [N]."""

    def __init__(self, portraits: Portraits) -> None:
        self.n = len(portraits)
        self.identity = {name: portraits.identity[:, i, None, None] for i, name in enumerate(IDENTITY)}
        self.nuisance = {name: portraits.nuisance[:, i, None, None] for i, name in enumerate(NUISANCE)}
        self.has = {name: portraits.attributes[:, i] for i, name in enumerate(ATTRIBUTES)}
        self.outdoor = portraits.population == POPULATIONS.index("outdoor")

    def between(self, name: str, low: float, high: float) -> Tensor:
        """Map an identity parameter to [low, high], shape [N, 1, 1]."""
        return low + (high - low) * self.identity[name]

    def when(self, name: str, value: float, otherwise: float = 0.0) -> Tensor:
        """Return `value` where the attribute is true and `otherwise` elsewhere, shape [N, 1, 1]."""
        return torch.where(self.has[name], value, otherwise)[:, None, None]


def paint(portraits: Portraits) -> Rendered:
    """Draw one batch of portraits."""
    look = _Look(portraits)
    page = draw.plane(look.n, SIZE)
    reach = torch.where(look.outdoor, 1.0, 0.55)[:, None, None]  # outdoor pictures vary more in pose
    head = page.moved(
        0.16 * reach * (look.nuisance["shift_x"] - 0.5),
        0.02 + 0.10 * reach * (look.nuisance["shift_y"] - 0.5),
        1.06 + 0.10 * reach * (look.nuisance["scale"] - 0.5),
        0.28 * reach * (look.nuisance["tilt"] - 0.5),
    )
    canvas = Canvas(_background(look, page), REGIONS)
    hair = (torch.tensor(_HAIR)[portraits.attributes[:, -len(HAIR_COLOURS) :].int().argmax(1)])[:, :, None, None]
    skin = _palette(_SKIN, portraits.identity[:, 0])
    face = _Face(look)
    _draw_behind(canvas, look, head, face, hair)
    _draw_body(canvas, look, head, skin)
    _draw_head(canvas, look, head, face, skin, hair)
    _draw_mouth(canvas, look, head, face, skin, hair)
    _draw_eyes(canvas, look, head, face, skin, hair)
    _draw_top(canvas, look, head, face, hair)
    image = _light(canvas.image, look, page)
    return Rendered((image.clamp(0, 1) * 255).round().to(torch.uint8), canvas.region)


class _Face:
    """The measures of a face that several parts share, each [N, 1, 1]."""

    def __init__(self, look: _Look) -> None:
        self.width = look.between("face_width", 0.36, 0.50)
        self.height = 0.56
        self.eye_x = look.between("eye_spacing", 0.15, 0.22) * (0.6 + 0.4 * self.width / 0.43)
        self.eye_y = look.between("eye_height", -0.13, -0.04)
        self.eye_size = look.between("eye_size", 0.062, 0.098)
        self.nose_y = look.between("nose_length", 0.10, 0.20)
        self.mouth_y = 0.33
        self.brow_y = self.eye_y - look.between("brow_height", 0.12, 0.18)

    def outline(self, look: _Look, p: Plane, grow: float = 0.0) -> Tensor:
        """Signed distance to the head: an ellipse above, a jaw between round and square below."""
        jaw = look.identity["jaw"]
        u = (p.x.abs() / (self.width + grow)).clamp(min=1e-4)
        v = (p.y.abs() / (self.height + grow)).clamp(min=1e-4)
        power = torch.where(p.y > 0, 1.75 + 1.35 * jaw, torch.full_like(jaw, 2.1))
        radius = (u**power + v**power) ** (1.0 / power)
        return (radius - 1.0) * (self.width + grow)


def _background(look: _Look, page: Plane) -> Tensor:
    tint = look.nuisance["background"][:, 0, 0]
    studio, outdoor = _palette(_STUDIO, tint), _pick(_OUTDOOR, tint)
    mix = look.nuisance["background_blend"]
    shade = (0.82 + 0.3 * mix) - (0.12 + 0.12 * mix) * page.y
    plain = studio * shade[:, None]
    ground = _pick(_OUTDOOR[::-1], (tint * 7.3) % 1.0)
    horizon = coverage(0.3 * (mix - 0.5) - page.y + 0.1 * torch.sin(3.0 * page.x + 6.3 * mix), page.pixel, 4.0)
    scene = torch.lerp(outdoor.expand(-1, -1, SIZE, SIZE), ground.expand(-1, -1, SIZE, SIZE), horizon[:, None])
    phase = 6.2832 * look.nuisance["pattern_phase"]
    angle = 3.1416 * look.nuisance["pattern"]
    along = torch.cos(angle) * page.x + torch.sin(angle) * page.y
    wave = torch.sin((6.0 + 8.0 * look.nuisance["pattern"]) * along + phase)
    scene = scene * (1.0 + 0.12 * wave)[:, None]
    return torch.where(look.outdoor[:, None, None, None], scene, plain).clamp(0, 1)


def _draw_behind(canvas: Canvas, look: _Look, p: Plane, face: _Face, hair: Tensor) -> None:
    """Draw long hair, which falls behind the neck to the shoulders."""
    volume = look.between("hair_shape", 0.06, 0.16)
    fall = draw.box(p, 0.0, 0.20, face.width + volume + 0.04, 0.66, 0.25)
    canvas.paint(fall, hair * 0.86, "hair", look.has["long_hair"])


def _draw_body(canvas: Canvas, look: _Look, p: Plane, skin: Tensor) -> None:
    clothes = _pick(_CLOTHES, look.nuisance["clothes"][:, 0, 0])
    accent = _pick(_ACCESSORY, look.nuisance["accessory"][:, 0, 0])
    canvas.paint(draw.box(p, 0.0, 0.62, 0.17, 0.26, 0.05), skin * 0.86, "skin")
    shoulders = torch.minimum(draw.ellipse(p, 0.0, 1.22, 0.80, 0.52), draw.box(p, 0.0, 1.4, 0.8, 0.3))
    collar = draw.ellipse(p, 0.0, 0.68, 0.21, 0.14)
    canvas.paint(torch.maximum(shoulders, -collar), clothes, "clothes")
    wrap = torch.minimum(draw.box(p, 0.0, 0.655, 0.27, 0.085, 0.08), draw.box(p, 0.16, 0.82, 0.075, 0.17, 0.03))
    canvas.paint(wrap, accent, "accessory", look.has["scarf"])
    fold = draw.parabola(p, 0.0, 0.68, 0.25, -0.05, 0.012)
    canvas.paint(fold, accent * 0.6, shown=look.has["scarf"])
    gold = _constant(0.95, 0.80, 0.25)
    chain = draw.parabola(p, 0.0, 0.86, 0.25, -0.18, 0.022)
    pendant = draw.ellipse(p, 0.0, 0.885, 0.06, 0.055)
    canvas.paint(torch.minimum(chain, pendant), gold, "accessory", look.has["necklace"])


def _draw_head(canvas: Canvas, look: _Look, p: Plane, face: _Face, skin: Tensor, hair: Tensor) -> None:
    ear = look.between("ear_size", 0.055, 0.105)
    for side in (-1.0, 1.0):
        at = side * (face.width - 0.005)
        canvas.paint(draw.ellipse(p, at, 0.02, 0.6 * ear + 0.02, ear + 0.03), skin * 0.9, "ears")
        ring = torch.minimum(
            draw.ellipse(p, side * (face.width + 0.02), 0.19, 0.045, 0.06), draw.segment(p, at, 0.09, at, 0.15, 0.012)
        )
        canvas.paint(ring, _constant(0.96, 0.86, 0.35), "accessory", look.has["earrings"])
    outline = face.outline(look, p)
    volume = look.between("hair_shape", 0.02, 0.13)
    cap = torch.maximum(
        face.outline(look, p.moved(0.0, -0.03), 0.06) - volume * 0.7,
        p.y + 0.02 + 0.25 * (p.x.abs() - face.width).clamp(min=0),
    )
    canvas.paint(cap, hair, "hair")
    radial = 1.05 - 0.25 * ((p.x / face.width) ** 2 + (p.y / face.height) ** 2).clamp(max=1.3)
    canvas.paint(outline, (skin * radial[:, None]).clamp(0, 1), "skin")
    # The fringe follows a hairline whose height and curve belong to the identity.
    line = -0.36 + 0.10 * look.identity["hair_shape"] + 0.16 * look.when("bangs", 1.0)
    curve = (0.55 - 0.45 * look.when("bangs", 1.0)) * p.x * p.x
    fringe = torch.maximum(face.outline(look, p, 0.015), p.y - line - curve)
    canvas.paint(fringe, hair, "hair")
    strands = (0.05 * torch.sin(38.0 * p.x + 5.0 * look.identity["hair_shape"]))[:, None]
    canvas.paint(fringe, (hair * (1.0 + 2.0 * strands)).clamp(0, 1), shown=look.has["bangs"], opacity=0.9)
    crease = skin * 0.58
    lines = draw.parabola(p, 0.0, face.brow_y - 0.075, 0.20, 0.02, 0.016)
    for side in (-1.0, 1.0):
        fold = draw.segment(p, side * 0.11, face.nose_y + 0.04, side * 0.21, face.mouth_y + 0.04, 0.018)
        bag = draw.segment(p, side * 0.09, face.eye_y + 0.14, side * 0.25, face.eye_y + 0.12, 0.014)
        lines = torch.minimum(torch.minimum(lines, fold), bag)
    lines = torch.minimum(lines, draw.parabola(p, 0.0, face.brow_y - 0.135, 0.16, 0.015, 0.014))
    canvas.paint(lines, crease, shown=look.has["old"], opacity=0.8)


def _draw_mouth(canvas: Canvas, look: _Look, p: Plane, face: _Face, skin: Tensor, hair: Tensor) -> None:
    y = face.mouth_y
    beard = torch.maximum(face.outline(look, p, 0.02), -(p.y - 0.16 - 0.75 * (0.30 - p.x.abs()).clamp(min=0) * 0.55))
    canvas.paint(beard, hair * 0.92 + 0.02, "hair", look.has["beard"])
    half = look.between("mouth_width", 0.135, 0.215) * (1.0 + look.when("smile", 0.18))
    curl = look.when("smile", 0.105, -0.012)
    gape = look.when("open_mouth", 0.085)
    lip = look.between("lip_thickness", 0.026, 0.052)
    u = p.x / half
    arch = torch.sqrt((1.0 - u * u).clamp(min=1e-4))
    v = p.y - (y + 0.45 * curl) + curl * u * u - 0.5 * gape
    ends = (u.abs() - 1.0) * half
    lips = torch.maximum(v.abs() - (lip + gape) * arch, ends)
    inside = torch.maximum(v.abs() - gape * arch, ends)
    natural = skin * torch.tensor([0.86, 0.62, 0.60])[None, :, None, None]
    colour = torch.where(look.has["lipstick"][:, None, None, None], _constant(0.82, 0.05, 0.16), natural)
    canvas.paint(lips, colour, "mouth")
    canvas.paint(inside, _constant(0.20, 0.04, 0.06), "mouth", look.has["open_mouth"])
    teeth = torch.maximum(inside, v + 0.15 * gape)
    canvas.paint(teeth, _constant(0.95, 0.93, 0.88), shown=look.has["open_mouth"])
    seam = torch.maximum(v.abs() - 0.008, ends + 0.01)
    canvas.paint(seam, colour * 0.45, shown=~look.has["open_mouth"], opacity=0.8)
    for side in (-1.0, 1.0):
        dimple = draw.segment(p, side * (half + 0.035), y - 0.075, side * (half + 0.05), y - 0.02, 0.010)
        canvas.paint(dimple, skin * 0.66, shown=look.has["smile"], opacity=0.7)
    tash = torch.maximum(draw.parabola(p, 0.0, y - 0.095, 0.20, 0.05, 0.040), p.x.abs() - 0.19)
    canvas.paint(tash, hair * 0.80, "hair", look.has["moustache"])


def _draw_eyes(canvas: Canvas, look: _Look, p: Plane, face: _Face, skin: Tensor, hair: Tensor) -> None:
    nose_width = look.between("nose_width", 0.045, 0.095)
    bridge = draw.segment(p, 0.03, face.eye_y + 0.06, 0.035 + 0.2 * nose_width, face.nose_y - 0.02, 0.010)
    base = draw.ellipse(p, 0.0, face.nose_y, nose_width, 0.034)
    canvas.paint(base, skin * 0.76, "nose", opacity=0.85, softness=1.5)
    canvas.paint(bridge, skin * 0.74, "nose", opacity=0.6)
    iris_colour = _palette(_EYES, look.identity["eye_colour"][:, 0, 0])
    brow_width = look.between("brow_thickness", 0.014, 0.036)
    brow_tilt = look.between("brow_angle", -0.06, 0.06)
    for side in (-1.0, 1.0):
        x, y, r = side * face.eye_x, face.eye_y, face.eye_size
        lid = draw.ellipse(p, x, y, 1.45 * r, r)
        opened = ~look.has["eyes_closed"]
        canvas.paint(lid, _constant(0.97, 0.97, 0.96), "eyes", opened)
        canvas.paint(draw.ellipse(p, x, y, 0.72 * r, 0.80 * r), iris_colour, shown=opened)
        canvas.paint(draw.ellipse(p, x, y, 0.30 * r, 0.36 * r), _constant(0.04, 0.04, 0.05), shown=opened)
        canvas.paint(lid, skin * 0.86, "eyes", look.has["eyes_closed"])
        lash = draw.parabola(p, x, y + 0.5 * r, 1.4 * r, -0.45 * r, 0.016)
        canvas.paint(lash, _constant(0.16, 0.09, 0.08), shown=look.has["eyes_closed"])
        brow = draw.segment(
            p, x - 0.085, face.brow_y - side * brow_tilt, x + 0.085, face.brow_y + side * brow_tilt, brow_width
        )
        canvas.paint(brow, hair * 0.55 + 0.05, "brows")


def _draw_top(canvas: Canvas, look: _Look, p: Plane, face: _Face, hair: Tensor) -> None:
    """Draw the parts over the face: glasses, sunglasses and the hat."""
    accent = _pick(_ACCESSORY, look.nuisance["accessory"][:, 0, 0])
    frame = _constant(0.10, 0.10, 0.14)
    for side in (-1.0, 1.0):
        lens = draw.ellipse(p, side * face.eye_x, face.eye_y + 0.01, 0.165, 0.135)
        canvas.paint(lens.abs() - 0.020, frame, "accessory", look.has["glasses"])
        dark = draw.box(p, side * face.eye_x, face.eye_y + 0.015, 0.170, 0.125, 0.09)
        canvas.paint(dark, _constant(0.07, 0.07, 0.10), "accessory", look.has["sunglasses"])
        glint = draw.segment(
            p, side * face.eye_x - 0.07, face.eye_y - 0.03, side * face.eye_x - 0.02, face.eye_y - 0.06, 0.014
        )
        canvas.paint(glint, _constant(0.75, 0.80, 0.88), shown=look.has["sunglasses"], opacity=0.7)
        temple = draw.segment(p, side * (face.eye_x + 0.15), face.eye_y, side * face.width, face.eye_y - 0.01, 0.015)
        canvas.paint(temple, frame, shown=look.has["glasses"] | look.has["sunglasses"])
    bridge = draw.segment(p, -0.05, face.eye_y - 0.01, 0.05, face.eye_y - 0.01, 0.016)
    canvas.paint(bridge, frame, shown=look.has["glasses"] | look.has["sunglasses"])
    crown = torch.maximum(draw.ellipse(p, 0.0, -0.46, face.width + 0.06, 0.42), p.y + 0.42)
    brim = draw.box(p, 0.0, -0.43, face.width + 0.20, 0.048, 0.045)
    canvas.paint(crown, accent, "accessory", look.has["hat"])
    canvas.paint(brim, accent * 0.72, "accessory", look.has["hat"])


def _light(image: Tensor, look: _Look, page: Plane) -> Tensor:
    """Apply light from one side, stronger outdoors."""
    angle = 6.2832 * look.nuisance["light_angle"]
    reach = torch.where(look.outdoor, 0.26, 0.12)[:, None, None] * look.nuisance["light_strength"]
    shade = 1.0 + reach * (torch.cos(angle) * page.x + 0.5 * torch.sin(angle) * page.y)
    return image * shade[:, None]


def render_portraits(portraits: Portraits, batch: int = 24) -> Rendered:
    """Draw the portraits, `batch` at a time. The same parameters give the same image."""
    parts = [paint(portraits[start : start + batch]) for start in range(0, len(portraits), batch)]
    return Rendered(torch.cat([part.images for part in parts]), torch.cat([part.regions for part in parts]))


def portrait_regions(portraits: Portraits) -> list[dict[str, npt.NDArray[np.bool_]]]:
    """Return, for each portrait, the masks bool [64, 64] of its visible regions, in the order of `REGIONS`.

    A pixel belongs to the part in front: eyes behind sunglasses are no region.
    """
    names = dict(enumerate(REGIONS))
    return [
        {names[number]: owner == number for number in names if (owner == number).any()}
        for owner in render_portraits(portraits).regions.numpy()
    ]
