"""How well an edit keeps the background, and a reconstruction the whole image: PSNR, SSIM and LPIPS.

Images are uint8 [B, 3, H, W]; a background is bool [B, 1, H, W], True = must not change. Values are NaN where an image
has no background to judge.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64
    from torch import Tensor

    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Exact, Images, Maps, Masks, Values

PSNR_CAP = 60.0
"""dB. An RMS error of 0.255 grey levels (one level in 6.5% of the values), which is invisible."""
MID_GREY = 128
SSIM_PART = 8
"""Images that SSIM takes at a time: its moments are five float64 images each."""
EROSION_AT_256 = 16.0


def masked_mean(values: Maps, mask: Bool[Tensor, "batch height width"]) -> Exact:
    """Mean of values over a mask, for each image; NaN where the mask is empty."""
    weights = mask.double()
    return (values.double() * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))


def psnr_background(source: Images, edited: Images, background: Masks, cap: float = PSNR_CAP) -> Exact:
    """PSNR in dB over background pixels only, of each image by itself, at most `cap` (given to equal backgrounds)."""
    import torch
    from torchmetrics.functional.image import peak_signal_noise_ratio

    values = [
        peak_signal_noise_ratio(second[:, area[0]].double(), first[:, area[0]].double(), data_range=255.0)
        for first, second, area in zip(source, edited, background, strict=True)
    ]
    return torch.stack(values).clamp(max=cap)


def fill_outside(images: Images, background: Masks, value: int = MID_GREY) -> Images:
    """Replace every pixel that is not background by a grey value."""
    return images.masked_fill(~background, value)


def fill_inside(source: Images, edited: Images, background: Masks) -> Images:
    """Put the source's pixels into the edit wherever it is not background: a window then sees its errors only."""
    return edited.where(background, source)


def erode(mask: Masks, radius: int) -> Masks:
    """Erode a mask by a square of the given radius; the image border does not erode."""
    from torch.nn import functional

    if radius <= 0:
        return mask
    # Two passes of one axis each: the square is separable.
    outside = (~mask).float()
    grown = functional.max_pool2d(outside, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    grown = functional.max_pool2d(grown, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return grown < 0.5


def erosion_radius(height: int, radius_at_256: float = EROSION_AT_256) -> int:
    """Erosion radius in pixels of an image of this height, given the radius in an image of 256 pixels."""
    return round(radius_at_256 * height / 256)


def lpips_spatial(distance_map: Maps, background: Masks, radius: int) -> Exact:
    """Mean of an LPIPS map over the background eroded by `radius`; NaN where nothing is left of it.

    The erosion keeps the network's receptive field, which reaches across the border, from charging the edit to the
    background; it shortens that reach and does not end it (Zhang et al. 2018 and the authors' notes on regions).
    """
    return masked_mean(distance_map, erode(background, radius)[:, 0])


def ssim_map(a: Images, b: Images) -> Float64[Tensor, "batch height width"]:
    """SSIM of every pixel, mean over channels.

    Wang et al. 2004: Gaussian window of 11 px (sigma 1.5), K1 = 0.01, K2 = 0.03, L = 255, border reflected at the
    centres of the edge pixels.
    """
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    maps = [
        structural_similarity_index_measure(
            first.double(), second.double(), data_range=255.0, reduction="none", return_full_image=True
        )[1].mean(dim=1)
        for first, second in zip(a.split(SSIM_PART), b.split(SSIM_PART), strict=True)
    ]
    return torch.cat(maps)


def ssim_background(source: Images, edited: Images, background: Masks) -> Exact:
    """SSIM map averaged over the background, the source's pixels standing inside the edit mask; 1 if unchanged."""
    return masked_mean(ssim_map(source, fill_inside(source, edited, background)), background[:, 0])


# Values of a batch ----------------------------------------------------------------------------------------------------


def _everywhere(batch: Batch) -> Masks:
    return batch.source.new_ones(len(batch.cases), 1, *batch.size).bool()


def _lpips_map(batch: Batch) -> Maps:
    distances: Tensor = batch.networks["lpips"].distance_map(batch.source, batch.edited)
    return distances


def _lpips_masked(batch: Batch) -> Values:
    area = batch.stacked("background")
    filled = (fill_outside(images, area) for images in (batch.source, batch.edited))
    distances: Tensor = batch.networks["lpips"].distance(*filled)
    return distances.masked_fill(~area.flatten(1).any(dim=1), float("nan"))


def _lpips_spatial(batch: Batch) -> Exact:
    radius = erosion_radius(batch.size[0])
    return lpips_spatial(batch.of_all(_lpips_map), batch.stacked("background"), radius)


def _by_pyiqa(name: str, batch: Batch) -> Values:
    values: Tensor = batch.networks["full_reference"].compare(name, batch.edited, batch.source)
    return values


EMPTY = "the background is empty"
_SSIM = "Wang et al. 2004: Gaussian window of 11 px, sigma 1.5, mean over RGB."

_fidelity = partial(Metric, group="fidelity")

METRICS = (
    _fidelity(
        name="lpips_bg_masked",
        label="LPIPS bg (masked)",
        direction="lower",
        range=(0.0, None),
        description="LPIPS of source and edit, both with everything but the background filled with mid grey; mean over "
        "the whole image, so the value scales with the share of background.",
        source="LPIPS, Zhang et al. 2018; masking as in the evaluation of DragFlow, arXiv 2510.02253.",
        compute=_lpips_masked,
        needs="lpips",
        inputs=("background",),
        undefined=EMPTY,
        paper="lpips_bg",  # the paper does not say which of the two definitions its value follows
    ),
    _fidelity(
        name="lpips_bg_spatial",
        label="LPIPS bg (spatial)",
        direction="lower",
        range=(0.0, None),
        description="LPIPS map of source and edit averaged over the background eroded by 16 px at 256 px (scaled to "
        "the image).",
        source="LPIPS, Zhang et al. 2018; the spatial map, as its authors recommend for regions.",
        compute=_lpips_spatial,
        needs="lpips",
        inputs=("background",),
        undefined=f"the background eroded by {EROSION_AT_256:g} px at 256 px is empty",
        paper="lpips_bg",
    ),
    _fidelity(
        name="psnr_bg",
        label="PSNR bg",
        direction="higher",
        range=(0.0, PSNR_CAP),
        description=f"PSNR over the background's pixels only, of each image by itself, at most {PSNR_CAP:g} dB.",
        source="Peak 255; no masked zeros in the mean.",
        compute=lambda batch: psnr_background(batch.source, batch.edited, batch.stacked("background")),
        unit="dB",
        inputs=("background",),
        undefined=EMPTY,
    ),
    _fidelity(
        name="ssim_bg",
        label="SSIM bg",
        direction="higher",
        range=(-1.0, 1.0),
        description="SSIM map averaged over the background, with the source's pixels inside the edit mask so that the "
        "window sees no edit from across the border.",
        source=_SSIM,
        compute=lambda batch: ssim_background(batch.source, batch.edited, batch.stacked("background")),
        inputs=("background",),
        undefined=EMPTY,
    ),
    _fidelity(
        name="lpips_source",
        label="LPIPS",
        direction="lower",
        range=(0.0, None),
        description="LPIPS of the source and the edited image, whole images; for a reconstruction the error that is "
        "seen.",
        source="LPIPS, Zhang et al. 2018.",
        compute=lambda batch: batch.of_all(_lpips_map).mean((1, 2)),
        needs="lpips",
        undefined="LPIPS is not finite",
        paper="lpips_rec",
    ),
    _fidelity(
        name="psnr_source",
        label="PSNR",
        direction="higher",
        range=(0.0, PSNR_CAP),
        description=f"PSNR of the whole edited image against its source, of each image by itself, at most {PSNR_CAP:g} "
        "dB.",
        source="Peak 255.",
        compute=lambda batch: psnr_background(batch.source, batch.edited, _everywhere(batch)),
        unit="dB",
        paper="psnr",
    ),
    _fidelity(
        name="ssim_source",
        label="SSIM",
        direction="higher",
        range=(-1.0, 1.0),
        description="Mean SSIM of the whole edited image and its source.",
        source=_SSIM,
        compute=lambda batch: ssim_background(batch.source, batch.edited, _everywhere(batch)),
    ),
    _fidelity(
        name="fsim_source",
        label="FSIM",
        direction="higher",
        range=(0.0, 1.0),
        description="Likeness of phase congruency, gradients and colours of the whole edited image and its source.",
        source="Zhang et al. 2011 (FSIMc), by pyiqa.",
        compute=lambda batch: _by_pyiqa("fsim", batch),
        needs="full_reference",
    ),
    _fidelity(
        name="gmsd_source",
        label="GMSD",
        direction="lower",
        range=(0.0, None),
        description="Standard deviation over the image of the likeness of gradients of the whole edited image and its "
        "source.",
        source="Xue et al. 2014, on luminance, by pyiqa.",
        compute=lambda batch: _by_pyiqa("gmsd", batch),
        needs="full_reference",
    ),
    _fidelity(
        name="vif_source",
        label="VIF",
        direction="higher",
        range=(0.0, None),
        description="Share of the source's information that is left in the whole edited image; over 1 where contrast "
        "was raised.",
        source="Sheikh and Bovik 2006, on luminance, with a steerable pyramid, by pyiqa.",
        compute=lambda batch: _by_pyiqa("vif", batch),
        needs="full_reference",
    ),
    _fidelity(
        name="latent_error",
        label="Latent error",
        direction="lower",
        range=(0.0, None),
        description="Root mean squared difference of the source's latents and the reconstructed ones, before they are "
        "decoded.",
        source="Theorem 1 of the paper bounds the error of the image by it; latents of unit scale.",
        recorded=True,
    ),
)
