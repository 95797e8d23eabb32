"""Anti-aliased drawing of whole batches from signed distances.

Coordinates: x to the right and y downwards, both from -1 to 1 over the image. Shape parameters are floats or tensors
[N, 1, 1] that broadcast with the pixel grid [N, H, W]. A signed distance is negative inside a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Scalar = Tensor | float


@dataclass(frozen=True)
class Plane:
    """The pixel centres of a batch, x and y [N, H, W], after an optional move of the drawing."""

    x: Tensor
    y: Tensor
    pixel: float  # width of a pixel in these coordinates

    def moved(self, dx: Scalar, dy: Scalar, scale: Scalar = 1.0, angle: Scalar = 0.0) -> Plane:
        """Return the plane in which a drawing appears scaled, then rotated by `angle` (radians), then shifted."""
        x, y = (self.x - dx) / scale, (self.y - dy) / scale
        angle = torch.as_tensor(angle)
        cos, sin = torch.cos(angle), torch.sin(angle)
        return Plane(cos * x + sin * y, -sin * x + cos * y, self.pixel)


def plane(n: int, size: int) -> Plane:
    """Return the pixel grid of `n` images of `size` x `size` pixels."""
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) * (2.0 / size) - 1.0
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return Plane(x.expand(n, -1, -1), y.expand(n, -1, -1), 2.0 / size)


def coverage(distance: Tensor, pixel: float, softness: float = 1.0) -> Tensor:
    """Turn a signed distance [N, H, W] into the covered share of each pixel, blurred over `softness` pixels."""
    return (0.5 - distance / (pixel * softness)).clamp_(0.0, 1.0)


def ellipse(p: Plane, cx: Scalar, cy: Scalar, rx: Scalar, ry: Scalar) -> Tensor:
    """Signed distance (first order) to an axis-parallel ellipse with centre (cx, cy) and radii (rx, ry)."""
    u, v = (p.x - cx) / rx, (p.y - cy) / ry
    k0 = torch.sqrt(u * u + v * v + 1e-8)
    k1 = torch.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-8)
    return k0 * (k0 - 1.0) / k1


def box(p: Plane, cx: Scalar, cy: Scalar, hx: Scalar, hy: Scalar, radius: Scalar = 0.0) -> Tensor:
    """Signed distance to a box with half sizes (hx, hy) whose corners are rounded by `radius`."""
    u, v = (p.x - cx).abs() - hx + radius, (p.y - cy).abs() - hy + radius
    outside = torch.sqrt(u.clamp(min=0) ** 2 + v.clamp(min=0) ** 2 + 1e-12)
    return outside + torch.maximum(u, v).clamp(max=0) - radius


def segment(p: Plane, ax: Scalar, ay: Scalar, bx: Scalar, by: Scalar, width: Scalar) -> Tensor:
    """Signed distance to a line from (ax, ay) to (bx, by) of full thickness 2 * `width` with round ends."""
    ex, ey = torch.as_tensor(bx - ax), torch.as_tensor(by - ay)
    t = (((p.x - ax) * ex + (p.y - ay) * ey) / (ex * ex + ey * ey + 1e-8)).clamp(0, 1)
    return torch.sqrt((p.x - ax - t * ex) ** 2 + (p.y - ay - t * ey) ** 2 + 1e-12) - width


def parabola(p: Plane, cx: Scalar, cy: Scalar, half: Scalar, sag: Scalar, width: Scalar) -> Tensor:
    """Signed distance (first order) to the stroke y = cy + sag ((x - cx) / half)^2 for |x - cx| <= half."""
    u = (p.x - cx) / half
    slope = 2.0 * sag * u / half
    across = (p.y - cy - sag * u * u).abs() / torch.sqrt(1.0 + slope * slope) - width
    return torch.maximum(across, (u.abs() - 1.0) * half)


def polygon(p: Plane, corners: list[tuple[float, float]]) -> Tensor:
    """Signed distance to a simple polygon."""
    x, y = p.x, p.y
    nearest, sign = torch.full_like(x, torch.inf), torch.ones_like(x)
    for (ax, ay), (bx, by) in zip(corners, corners[-1:] + corners[:-1], strict=True):
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        t = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        nearest = torch.minimum(nearest, (wx - ex * t) ** 2 + (wy - ey * t) ** 2)
        up, down, left = y >= ay, y < by, ex * wy > ey * wx
        crossing = (up & down & left) | (~up & ~down & ~left)
        sign = torch.where(crossing, -sign, sign)
    return sign * torch.sqrt(nearest)


class Canvas:
    """A batch of images [N, 3, H, W] in [0, 1] with a map of which region owns each pixel, painted back to front."""

    def __init__(self, background: Tensor, regions: Sequence[str]) -> None:
        self.image, self.regions = background, regions
        n, _, height, width = background.shape
        self.region = torch.zeros(n, height, width, dtype=torch.uint8)

    def paint(
        self,
        shape: Tensor,
        colour: Tensor,
        region: str = "",
        shown: Tensor | None = None,
        *,
        opacity: float = 1.0,
        softness: float = 1.0,
    ) -> None:
        """Blend `colour` over the image.

        Args:
            shape: signed distance [N, H, W].
            colour: [N, 3, 1, 1] or [N, 3, H, W] in [0, 1].
            region: name of the region that takes the pixels covered by more than one half; "" leaves the map.
            shown: bool [N]; images where it is false are left as they are.
            opacity: factor on the covered share, in [0, 1].
            softness: blur of the outline, in pixels.
        """
        cover = coverage(shape, 2.0 / shape.shape[-1], softness) * opacity
        if shown is not None:
            cover = cover * shown.float()[:, None, None]
        self.image = torch.lerp(self.image, colour.expand_as(self.image), cover[:, None])
        if region:
            self.region.masked_fill_(cover > 0.5, self.regions.index(region))
