"""Known corruptions with a severity, the ground truth for the quality model, LPIPS heads and metric validation.

Every corruption takes images float [B, 3, H, W] in [0, 1], severities [B] in [0, 1] and a CPU generator, and returns
images of the same shape in [0, 1]. Severity 0 returns the image unchanged; the amplitudes are chosen so that 0.15 is
about the smallest that a person notices and 1 ruins the image, in every family alike.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import torch
from torch import Generator, Tensor
from torch.nn import functional

Corruption = Callable[[Tensor, Tensor, Generator], Tensor]
VISIBLE_SEVERITY = 0.3
CLEAN_SEVERITY = 0.1


def _column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def _uniform(shape: tuple[int, ...], generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _grid(batch: int, height: int, width: int) -> Tensor:
    """Identity sampling grid [B, H, W, 2] in pixels, (x, y)."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([x, y], -1).expand(batch, height, width, 2)


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    """Bilinear sampling at pixel coordinates [B, H, W, 2] (x, y), border repeated."""
    size = torch.tensor([images.shape[-1], images.shape[-2]], dtype=torch.float32)
    return functional.grid_sample(images, (2 * grid + 1) / size - 1, padding_mode="border", align_corners=False)


def _soft_field(batch: int, height: int, width: int, cells: int, generator: Generator, channels: int = 1) -> Tensor:
    """Smooth random field [B, channels, H, W] with standard deviation near 1."""
    coarse = torch.randn((batch, channels, cells, cells), generator=generator)
    return 1.3 * functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)


def _region(batch: int, height: int, width: int, generator: Generator) -> Tensor:
    """A random hard-edged ellipse or rectangle [B, 1, H, W] in {0, 1}, 15-45 % of the width in half-size."""
    grid = _grid(batch, height, width)
    scale = torch.tensor([width, height], dtype=torch.float32)
    centre = _uniform((batch, 1, 1, 2), generator, 0.25, 0.75) * scale
    half = _uniform((batch, 1, 1, 2), generator, 0.15, 0.45) * scale
    offset = ((grid - centre) / half).abs()
    ellipse = (offset.square().sum(-1) < 1).float()
    rectangle = (offset.amax(-1) < 0.8).float()
    choice = (torch.rand((batch, 1, 1), generator=generator) < 0.5).float()
    return (choice * ellipse + (1 - choice) * rectangle)[:, None]


def _telling_region(images: Tensor, changed: Tensor, generator: Generator) -> Tensor:
    """Of four random regions [B, 1, H, W] the one in which `changed` differs most, lest a severity go unseen."""
    batch, _, height, width = images.shape
    regions = torch.stack([_region(batch, height, width, generator) for _ in range(4)], 1)
    difference = (changed - images).abs().mean(1, keepdim=True)
    best = (regions * difference[:, None]).sum((2, 3, 4)).argmax(1)
    return regions[torch.arange(batch), best]


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian blur with one standard deviation [B] in pixels for each image."""
    batch, channels, height, width = images.shape
    radius = 6
    offsets = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    flat = functional.pad(images, [radius] * 4, mode="reflect").reshape(1, batch * channels, height + 12, width + 12)
    flat = functional.conv2d(flat, kernel[:, :, :, None], groups=batch * channels)
    flat = functional.conv2d(flat, kernel[:, :, None, :], groups=batch * channels)
    return flat.reshape(batch, channels, height, width)


def blur(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """Gaussian blur, sigma up to 2.8 pixels."""
    sigma = 2.8 * severity
    return torch.where(_column(sigma) > 0, gaussian_blur(images, sigma), images)


def noise(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise, standard deviation up to 0.16, grey or coloured."""
    coloured = torch.randn(images.shape, generator=generator)
    grey = torch.randn((len(images), 1, *images.shape[2:]), generator=generator)
    pick = (torch.rand((len(images), 1, 1, 1), generator=generator) < 0.3).float()
    return (images + 0.16 * _column(severity) * (pick * grey + (1 - pick) * coloured)).clamp(0, 1)


def jpeg(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """JPEG with a quality from 90 down to 2."""
    result = images.clone()
    arrays = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for index, (array, value) in enumerate(zip(arrays, severity.tolist(), strict=True)):
        if value <= 0:
            continue
        quality = round(2 + 88 * (1 - value) ** 2.5)
        encoded = cv2.imencode(".jpg", array[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if decoded is None:
            raise RuntimeError("OpenCV could not decode its own JPEG")
        result[index] = torch.from_numpy(decoded[:, :, ::-1].copy()).permute(2, 0, 1).float() / 255
    return result


def pixelate(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """Blocks of 2, 4 or 8 pixels, blended in with the severity inside each step."""
    result = images
    for block, low, high in ((2, 0.0, 0.35), (4, 0.35, 0.7), (8, 0.7, 1.0)):
        share = ((severity - low) / (high - low)).clamp(0, 1)
        coarse = functional.avg_pool2d(images, block).repeat_interleave(block, 2).repeat_interleave(block, 3)
        result = torch.lerp(result, coarse, _column(share))
    return result


def colour_shift(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """Gain and offset of each channel in one random direction, over the whole image or a hard-edged part of it."""
    batch = len(images)
    direction = functional.normalize(torch.randn((batch, 3, 1, 1), generator=generator), dim=1)
    strength = _column(severity) * direction
    shifted = (images * (1 + 0.6 * strength) + 0.35 * strength).clamp(0, 1)
    whole = (torch.rand((batch, 1, 1, 1), generator=generator) < 0.4).float()
    mask = torch.maximum(_telling_region(images, shifted, generator), whole)
    return images + mask * (shifted - images)


def ghost(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """A shifted copy shines through."""
    batch, _, height, width = images.shape
    angle = _uniform((batch,), generator, 0, 6.2832)
    length = _uniform((batch,), generator, 3, 10) * width / 64
    shift = torch.stack([torch.cos(angle), torch.sin(angle)], -1) * length[:, None]
    copy = _sample(images, _grid(batch, height, width) + shift[:, None, None])
    return torch.lerp(images, copy, 0.6 * _column(severity))


def paste(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """A region of another image of the batch, laid over with a hard boundary."""
    batch = len(images)
    other = images.roll(1, 0) if batch > 1 else images.flip(3)
    mask = _telling_region(images, other, generator)
    return images + 0.8 * _column(severity) * mask * (other - images)


def seam(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """A region torn away by up to 8 pixels, with a hard boundary."""
    batch, _, height, width = images.shape
    angle = _uniform((batch,), generator, 0, 6.2832)
    shift = torch.stack([torch.cos(angle), torch.sin(angle)], -1) * (8 * width / 64 * severity)[:, None]
    moved = _sample(images, _grid(batch, height, width) + shift[:, None, None])
    mask = _telling_region(images, moved, generator)
    return images + mask * (moved - images) * (_column(severity) > 0).float()


def warp(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """Smooth random displacement, standard deviation up to 4.5 pixels."""
    batch, _, height, width = images.shape
    field = _soft_field(batch, height, width, 6, generator, 2).permute(0, 2, 3, 1)
    field = field * (4.5 * width / 64 * severity).reshape(-1, 1, 1, 1)
    return torch.where(_column(severity) > 0, _sample(images, _grid(batch, height, width) + field), images)


def smear(images: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """What a weak autoencoder does: fine detail lost in patches, coarse blotches of colour in its place."""
    batch, _, height, width = images.shape
    small = functional.avg_pool2d(images, 4)
    coarse = functional.interpolate(small, (height, width), mode="bicubic", align_corners=False)
    patches = (1.4 * torch.sigmoid(2 * _soft_field(batch, height, width, 8, generator))).clamp(0, 1)
    loss = (_column(severity) * (0.6 + 0.6 * patches)).clamp(0, 1)
    blotches = _soft_field(batch, height, width, 16, generator, 3)
    return (images + loss * (coarse - images) + 0.05 * _column(severity) * blotches).clamp(0, 1)


_FAMILIES = (blur, noise, jpeg, pixelate, colour_shift, ghost, paste, seam, warp, smear)
CORRUPTIONS: dict[str, Corruption] = {family.__name__: family for family in _FAMILIES}


def mild_resample(images: Tensor, generator: Generator) -> Tensor:
    """A round trip that counts as clean: slight blur, slight smear, slight noise, as a good autoencoder leaves."""
    batch = len(images)
    blurred = gaussian_blur(images, _uniform((batch,), generator, 0, 0.6))
    smeared = smear(blurred, _uniform((batch,), generator, 0, 0.08), generator)
    return (smeared + 0.008 * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def corrupt(images: Tensor, families: Tensor, severity: Tensor, generator: Generator) -> Tensor:
    """Apply to each image the corruption that `families` [B] (index into CORRUPTIONS) names, at its severity [B].

    Images of one family are corrupted together; the result depends on the batch (order of draws, pasted neighbours).
    """
    result = images.clone()
    for index, corruption in enumerate(CORRUPTIONS.values()):
        chosen = (families == index).nonzero()[:, 0]
        if len(chosen):
            result[chosen] = corruption(images[chosen], severity[chosen], generator)
    return result.clamp(0, 1)
