"""Seams at the border of the edit mask, and drift of regions. Images are uint8 [B,3,H,W]; values float64 [B]."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from editfrontier.base.errors import UserError
from editfrontier.scoring.metrics.background import erode, masked_mean
from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from jaxtyping import Float64
    from torch import Tensor

    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Exact, Images, Masks

DRIFT_REGIONS = ("eyes", "brows", "nose", "mouth", "ears", "skin", "hair", "clothes", "background")
LEAST_PIXELS = 4
"""Of a region that is judged; fewer say nothing of it."""
CONTOURS = (-1, 0, 1, 2)
"""Pixels that the border is moved outwards to look for a seam: latent cells and decoders shift it a little."""


def boundary(source: Images, edited: Images, mask: Masks, true_edit: Images | None = None) -> Exact:
    """How strong a seam runs along the border of a mask.

    An edge counts as far as it is stronger than the edges of source and true edit at the same place. So neither
    the source nor the true edit has any, whatever the mask.

    Args:
        source, edited: images.
        mask: bool [B,1,H,W], True = editable.
        true_edit: images, None if it is not known; edges that the edit is asked for then count as well.

    Returns:
        mean step between neighbouring pixels on either side of the border, or of one of the shifted borders
        (`CONTOURS`) where it is greatest, less the mean step between neighbours inside the mask; in [-1, 1], where 1 is
        the range of a pixel. NaN where the mask has no border or no inside.
    """
    import torch

    across = []
    for radius in CONTOURS:
        grown = _grow(mask, radius) if radius >= 0 else ~_grow(~mask, -radius)
        across.append(_mean_step(source, edited, true_edit, operator.xor, grown))
    strongest = torch.stack(across).nan_to_num(nan=-torch.inf).amax(0)
    seam = strongest - _mean_step(source, edited, true_edit, operator.and_, mask)
    return torch.where(across[CONTOURS.index(0)].isfinite() & seam.isfinite(), seam, torch.nan)


def _grow(mask: Masks, radius: int) -> Masks:
    """Dilate by a square; nothing grows in from outside of the image."""
    from torch.nn import functional

    return functional.max_pool2d(mask.float(), 2 * radius + 1, stride=1, padding=radius) > 0.5


def _mean_step(
    source: Images, edited: Images, true_edit: Images | None, which: Callable[[Masks, Masks], Masks], area: Masks
) -> Exact:
    """Mean excess of the edit's steps over horizontal and vertical neighbours, those whose places in `area` `which`
    chooses; NaN if there are none."""
    total, count = source.new_zeros(len(source)).double(), source.new_zeros(len(source)).double()
    for axis in (2, 3):
        first, second = (area.narrow(axis, start, area.shape[axis] - 1) for start in (0, 1))
        chosen = which(first, second)
        known = _steps(source, axis) if true_edit is None else _steps(source, axis).maximum(_steps(true_edit, axis))
        excess = (_steps(edited, axis) - known).clamp(min=0).mean(1, keepdim=True)
        total = total + (excess * chosen).sum((1, 2, 3))
        count = count + chosen.sum((1, 2, 3))
    return total / count


def _steps(images: Images, axis: int) -> Float64[Tensor, "batch 3 rows columns"]:
    return images.double().diff(dim=axis).abs() / 255


def drift(source: Images, edited: Images, region: Masks, background: Masks) -> Exact:
    """Mean absolute difference over a region outside of the edit.

    Args:
        source, edited: images.
        region: the part of the source that is meant.
        background: what must not change; a rim of one pixel of it is left out.

    Returns:
        in [0, 1]; NaN where fewer than `LEAST_PIXELS` pixels are left.
    """
    area = region & erode(background, 1)
    difference = (edited.double() - source.double()).abs().mean(1) / 255
    return masked_mean(difference, area[:, 0]).masked_fill(area.sum((1, 2, 3)) < LEAST_PIXELS, float("nan"))


# Values of a batch ----------------------------------------------------------------------------------------------------


def _boundary(batch: Batch) -> Exact:
    """Against the true edit where there is one that fits; else the source stands in, whose edges count anyway."""
    true = batch.source.clone()
    for row, image in enumerate(batch.inputs("true_edit")):
        if image is not None and not isinstance(image, UserError):  # scoring says why it cannot be read
            true[row] = image
    return boundary(batch.source, batch.edited, batch.stacked("mask"), true)


def _drift(batch: Batch, name: str) -> Exact:
    region = batch.stack([masks.get(name) for masks in batch.inputs("regions")])
    return drift(batch.source, batch.edited, region, batch.stacked("surroundings"))


def _entry(name: str, what: str) -> Metric:
    return Metric(
        name=f"drift_{name}",
        label=f"Drift {name}",
        direction="lower",
        range=(0.0, 1.0),
        group="fidelity",
        description=f"Mean absolute difference of source and edit over {what} outside of the edit mask and a rim of "
        "one pixel, pixel values in [0, 1].",
        source="Section 7 of the paper: deviation in semantically meaningful regions. The autoencoder is its floor.",
        compute=partial(_drift, name=name),
        inputs=("regions", "surroundings"),
        about="regions",
        undefined=f"fewer than {LEAST_PIXELS} pixels of it are shown outside of the edit",
    )


METRICS = (
    Metric(
        name="boundary",
        label="Boundary",
        direction="lower",
        range=(-1.0, 1.0),
        group="quality",
        description="Seam along the border of the mask that the editor was given: mean step between pixels on its two "
        "sides (or of the strongest contour 1 px inside to 2 px outside) beyond the edges of source and true "
        "edit, less the same inside the mask; pixel values in [0, 1].",
        source="Boundary artifacts, section 5.4 of the paper. Source and true edit have 0; the autoencoder round "
        "trip is its floor. Without a true edit the edges that are asked for count as well.",
        compute=_boundary,
        inputs=("mask",),
        about="a mask",
        undefined="the mask has no border or no inside",
    ),
    _entry("face", "the face (skin, eyes, brows, nose, mouth, ears)"),
    *(_entry(name, f"the {name}") for name in DRIFT_REGIONS),
)
