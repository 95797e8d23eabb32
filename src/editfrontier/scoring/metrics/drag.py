"""Whether a drag put its object where it should be. One row is one region, unless said otherwise.

Masks are bool [N, H, W], images uint8 [N, 3, H, W], points (x, y) in pixels with whole numbers at pixel centres. Values
are float64, NaN where a metric cannot speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.data.regions import Matrix, Point, Region, apply
from editfrontier.diffusion.features import sample_at

MINIMUM_SHIFT = 1 / 32
"""Share of the image's height. A drag that moves its region's centroid less (most rotations) has no direction."""
TOWARDS = 0.1
"""Share of the distance by which the centroid has to come nearer; the rest is the segmentation's jitter."""
SMALLEST_DISC = 5 / 512
"""Share of the image's longer side: the least radius of the search for a point (DragFlow: 5 pixels of the images of
ReD-Bench, whose sides are 512 pixels or so)."""


# Regions --------------------------------------------------------------------------------------------------------------


def iou(mask: Tensor, target: Tensor) -> Tensor:
    """Intersection over union [N] of two masks; 0 where nothing was found."""
    union = (mask | target).sum((1, 2)).to(torch.float64)
    return (mask & target).sum((1, 2)) / union


def centroid(masks: Tensor) -> Tensor:
    """Centroid (x, y) [N, 2] of masks; NaN where a mask is empty."""
    weights = masks.to(torch.float64)
    area = weights.sum((1, 2))
    y, x = (torch.arange(size, dtype=torch.float64, device=masks.device) for size in masks.shape[1:])
    return torch.stack([(weights.sum(1) @ x) / area, (weights.sum(2) @ y) / area], 1)


def centroid_shift(mask: Tensor, target: Tensor) -> Tensor:
    """Distance [N] in pixels between the centroids of the found object and of its target; NaN where it was lost."""
    return (centroid(mask) - centroid(target)).norm(dim=1)


def moved_towards(before: Tensor, after: Tensor, target: Tensor) -> Tensor:
    """1.0 where the object's centroid came nearer to its target's, else 0.0, also where the object was lost.

    Args:
        before: the object as it is found in the source; NaN where it is not found there.
        after: the object as it is found in the edited image.
        target: where it belongs. NaN where the object hardly had to move.
    """
    start, end = centroid_shift(before, target), centroid_shift(after, target)
    nearer = (end <= (1 - TOWARDS) * start).to(torch.float64)
    asked = start >= MINIMUM_SHIFT * target.shape[1]
    return torch.where(asked, nearer, torch.full_like(nearer, torch.nan))


# Appearance -----------------------------------------------------------------------------------------------------------


def warped(image: Tensor, affine: Matrix) -> Tensor:
    """Return one image [3, H, W] under an affine map of pixel coordinates, bilinear, its border repeated."""
    array = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    size = array.shape[1], array.shape[0]
    moved = cv2.warpAffine(array, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(moved).permute(2, 0, 1)


def moved_source(source: Tensor, regions: Sequence[Region]) -> Tensor:
    """Return the source [3, H, W] with every region where it belongs; the last one lies on top."""
    result = source.clone()
    for region in regions:
        result = torch.where(torch.from_numpy(region.target), warped(source, region.affine), result)
    return result


# Points on features ---------------------------------------------------------------------------------------------------


def query_points(region: Region) -> list[Point]:
    """Return where features of the source are read: the centroid of the region, then its handles."""
    (x, y), *_ = centroid(torch.from_numpy(region.source)[None]).tolist()
    return [(x, y), *(start for start, _ in region.points)]


def region_queries(full: Tensor, reduced: Tensor, region: Region, size: tuple[int, int]) -> Tensor:
    """Return the features that are searched for in the edited image.

    Args:
        full: [C, h, w], features of the source at its own size.
        reduced: [C, h', w'], features of the source resized to the model's size by nearest neighbour.
        region: the region.
        size: (H, W) of the image.

    Returns:
        [2 + handles, C]: at the centroid from `own` (bilinear), at the centroid's pixel from `reduced` (nearest
        neighbour), at the handles from `own`.
    """
    points = torch.tensor(query_points(region))
    scale = torch.tensor([full.shape[2] / size[1], full.shape[1] / size[0]])
    smooth = sample_at(full[None], ((points + 0.5) * scale - 0.5)[None])[0]
    column, row = (points[0] + 0.5).floor().long().tolist()
    height, width = reduced.shape[1:]
    # Which cell a pixel has is asked of the resizing itself, whose rounding is its own.
    cells = functional.interpolate(torch.arange(float(height * width)).reshape(1, 1, height, width), size)[0, 0]
    nearest = reduced.flatten(1)[:, int(cells[row, column])]
    return torch.cat([smooth[:1], nearest[None], smooth[1:]])


def similarity(
    queries: Tensor,
    features: Tensor,
    size: tuple[int, int],
    mode: Literal["bilinear", "nearest"] = "bilinear",
    part: int = 64,
) -> Tensor:
    """Return the cosine of queries and of the features that are resized to the image, at every pixel.

    Args:
        queries: [P, C].
        features: [C, h, w].
        size: (H, W).
        mode: how features are resized.
        part: channels that are resized at a time, because the whole would hold gigabytes at 768 pixels.

    Returns:
        [P, H, W] in [-1, 1].
    """

    def resized(maps: Tensor) -> Tensor:
        corners = False if mode == "bilinear" else None
        return functional.interpolate(maps[None], size, mode=mode, align_corners=corners)[0]

    # The product with a query commutes with resizing, the length of the features does not.
    products = resized(torch.einsum("pc,chw->phw", queries, features))
    squared = torch.zeros(size)
    for start in range(0, len(features), part):
        squared += resized(features[start : start + part]).square().sum(0)
    lengths = squared.sqrt() * queries.norm(dim=1)[:, None, None]
    return products / lengths.clamp(min=1e-12)


def best_match(cosine: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return the pixel (x, y) [P, 2] of the greatest value of maps [P, H, W], within bool [P, H, W] if it is given."""
    if allowed is not None:
        cosine = cosine.masked_fill(~allowed, -torch.inf)
    flat = cosine.flatten(1).argmax(1)
    return torch.stack([flat % cosine.shape[2], flat // cosine.shape[2]], 1).to(torch.float64)


def search_discs(starts: Tensor, ends: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where DragFlow searches for points: bool [P, H, W], open discs of radius |d| / sqrt 2 around both ends."""
    radius = ((ends - starts).norm(dim=1) / 2**0.5).clamp(min=SMALLEST_DISC * max(size))[:, None, None]
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in size), indexing="ij")
    allowed = torch.zeros(len(starts), *size, dtype=torch.bool)
    for centres in (starts, ends):
        distance = ((x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2).sqrt()
        # The pixel that is nearest to the centre belongs to a disc however small it is.
        allowed |= (distance < radius) | (distance <= distance.amin((1, 2), keepdim=True))
    return allowed


def feature_distances(
    queries: Sequence[Tensor], full: Tensor, reduced: Tensor, regions: Sequence[Region], editable: Tensor
) -> dict[str, float]:
    """Distances between targets and where the features of the source are found again, of one case.

    Args:
        queries: for each region its `region_queries` [2 + handles, C].
        full: [C, h, w], features of the edited image at its own size.
        reduced: [C, h', w'], features of the edited image resized to the model's size by nearest neighbour.
        regions: of the case.
        editable: bool [H, W].

    Returns:
        `md1`: pixels between the target of a region's centroid and its best match among the editable pixels, mean over
        regions (DragFlow). `md2`: the same in percent of the image's sides, with `reduced` and its nearest-neighbour
        resizing, searched in the discs around the centroid and its target (DragFlow). `mean_distance`: pixels between
        the target of a handle and its best match in the whole image, mean over handles (DragBench, which averages over
        the handles of all images); NaN without handles.
    """
    size = editable.shape[0], editable.shape[1]
    sides = torch.tensor([size[1], size[0]], dtype=torch.float64)
    centroids, nearby, anywhere = [], [], []
    for wanted, region in zip(queries, regions, strict=True):
        cosine = similarity(torch.cat([wanted[:1], wanted[2:]]), full, size)
        coarse = similarity(wanted[1:2], reduced, size, "nearest")
        (x, y), *_ = query_points(region)
        aim = torch.from_numpy(apply(region.affine, np.array([[x, y]])))
        allowed = editable[None] if editable.any() else None
        centroids.append((best_match(cosine[:1], allowed) - aim).norm(dim=1))
        discs = search_discs(torch.tensor([[x, y]], dtype=torch.float64), aim, size)
        nearby.append(((best_match(coarse, discs) - aim) / sides).norm(dim=1) * 100)
        if region.points:
            ends = torch.tensor(region.points, dtype=torch.float64)[:, 1]
            anywhere.append((best_match(cosine[1:]) - ends).norm(dim=1))
    parts = {"md1": centroids, "md2": nearby, "mean_distance": anywhere}
    return {name: float(torch.cat(values).mean()) if values else float("nan") for name, values in parts.items()}
