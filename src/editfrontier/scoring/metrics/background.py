"""How well an edit keeps the background: PSNR, SSIM and the two published forms of background LPIPS.

Images are uint8 [B,3,H,W]; a background is bool [B,1,H,W], True = must not change. Values are float64 [B], NaN where an
image has no background to judge.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from editfrontier.scoring.metrics.registry import PSNR_CAP

MID_GREY = 128
SSIM_RADIUS = 5
SSIM_SIGMA = 1.5
EROSION_AT_256 = 16.0


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [B,H,W] over mask bool [B,H,W], for each image; NaN where the mask is empty."""
    weights = mask.to(torch.float64)
    total = (values.to(torch.float64) * weights).sum(dim=(1, 2))
    return total / weights.sum(dim=(1, 2))


def psnr_background(source: Tensor, edited: Tensor, background: Tensor, cap: float = PSNR_CAP) -> Tensor:
    """PSNR in dB over background pixels only, of each image by itself, at most `cap` (given to equal backgrounds)."""
    error = (source.to(torch.float64) - edited.to(torch.float64)).square().mean(dim=1)
    mse = masked_mean(error, background[:, 0])
    return (10 * torch.log10(255.0**2 / mse)).clamp(max=cap)


def fill_outside(images: Tensor, background: Tensor, value: int = MID_GREY) -> Tensor:
    """Replace every pixel that is not background by a grey value."""
    return torch.where(background, images, torch.full_like(images, value))


def fill_inside(source: Tensor, edited: Tensor, background: Tensor) -> Tensor:
    """Put the source's pixels into the edit wherever it is not background: a window then sees its errors only."""
    return torch.where(background, edited, source)


def erode(mask: Tensor, radius: int) -> Tensor:
    """Erode bool [B,1,H,W] by a square of the given radius; the image border does not erode."""
    if radius <= 0:
        return mask
    # Two passes of one axis each: the square is separable.
    outside = (~mask).float()
    grown = F.max_pool2d(outside, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    grown = F.max_pool2d(grown, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return grown < 0.5


def erosion_radius(height: int, radius_at_256: float = EROSION_AT_256) -> int:
    """Erosion radius in pixels of an image of this height, given the radius in an image of 256 pixels."""
    return round(radius_at_256 * height / 256)


def lpips_spatial(distance_map: Tensor, background: Tensor, radius: int) -> Tensor:
    """Mean of an LPIPS map [B,H,W] over the background eroded by `radius`; NaN where nothing is left of it.

    The erosion keeps the network's receptive field, which reaches across the border, from charging the edit to the
    background; it shortens that reach and does not end it (Zhang et al. 2018 and the authors' notes on regions).
    """
    return masked_mean(distance_map, erode(background, radius)[:, 0])


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of every pixel, float64 [B,H,W], mean over channels; inputs uint8 [B,3,H,W].

    Wang et al. 2004: Gaussian window of 11 px (sigma 1.5), K1 = 0.01, K2 = 0.03, L = 255, symmetric border.
    """
    x, y = a.to(torch.float64), b.to(torch.float64)
    mx, my = _blur(x), _blur(y)
    vx, vy, cov = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return similarity.mean(dim=1)


def ssim_background(source: Tensor, edited: Tensor, background: Tensor) -> Tensor:
    """SSIM map averaged over the background, the source's pixels standing inside the edit mask; 1 if unchanged."""
    return masked_mean(ssim_map(source, fill_inside(source, edited, background)), background[:, 0])


def _blur(x: Tensor) -> Tensor:
    taps = torch.tensor(
        [math.exp(-0.5 * (i / SSIM_SIGMA) ** 2) for i in range(-SSIM_RADIUS, SSIM_RADIUS + 1)], dtype=x.dtype
    )
    taps = (taps / taps.sum()).to(x.device)
    channels = x.shape[1]
    for dim, shape in ((2, (-1, 1)), (3, (1, -1))):
        size = x.shape[dim]
        # Symmetric border (edge pixel repeated), which torch's own padding modes lack.
        index = torch.arange(-SSIM_RADIUS, size + SSIM_RADIUS, device=x.device) % (2 * size)
        index = torch.where(index < size, index, 2 * size - 1 - index)
        kernel = taps.reshape(1, 1, *shape).expand(channels, 1, *([len(taps), 1] if dim == 2 else [1, len(taps)]))
        x = F.conv2d(x.index_select(dim, index), kernel, groups=channels)
    return x
