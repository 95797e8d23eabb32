"""Distance to the true edit, where it is known, and how much of the source changed. Images are uint8."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.alignment import cosine
from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Exact, Images, Values

CHANGED_LEVELS = 25
"""Grey levels of 255. A pixel counts as changed when one of its channels differs by more than this."""

_KNOWN = "possible only where the true edit is known."


def l1_distance(a: Images, b: Images) -> Exact:
    """Mean absolute difference of each pair of images, pixel values in [0, 1]."""
    return (a.double() - b.double()).abs().mean(dim=(1, 2, 3)) / 255


def squared_distance(a: Images, b: Images) -> Exact:
    """Mean squared difference of each pair of images, pixel values in [0, 1]."""
    return ((a.double() - b.double()) / 255).square().mean(dim=(1, 2, 3))


def l2_distance(a: Images, b: Images) -> Exact:
    """Root mean squared difference of each pair of images, pixel values in [0, 1]."""
    return squared_distance(a, b).sqrt()


def changed_area(source: Images, edited: Images, levels: int = CHANGED_LEVELS) -> Exact:
    """Share of pixels in which some channel differs by more than `levels` of 255; in [0, 1]."""
    return ((source.short() - edited.short()).abs().amax(dim=1) > levels).double().mean(dim=(1, 2))


def _lpips(batch: Batch) -> Values:
    distances: Tensor = batch.networks["lpips"].distance(batch.edited, batch.stacked("true_edit"))
    return distances


def _clip(batch: Batch) -> Exact:
    return cosine(batch.outputs["clip_image"], batch.sources.by_true_edit("clip_true", batch.ids))


def _dino(batch: Batch) -> Exact:
    edited, true = (batch.networks["dino"].features(images) for images in (batch.edited, batch.stacked("true_edit")))
    return cosine(edited, true)


_of_truth = partial(Metric, group="truth", inputs=("true_edit",))

METRICS = (
    _of_truth(
        name="l1_true",
        label="L1 to truth",
        direction="lower",
        range=(0.0, 1.0),
        description="Mean absolute difference to the true edited image over all pixels, pixel values in [0, 1].",
        source=f"L1 of MagicBrush, Zhang et al. 2023, arXiv 2306.10012; {_KNOWN}",
        compute=lambda batch: l1_distance(batch.edited, batch.stacked("true_edit")),
    ),
    _of_truth(
        name="l2_true",
        label="L2 to truth",
        direction="lower",
        range=(0.0, 1.0),
        description="Root mean squared difference to the true edited image over all pixels, pixel values in [0, 1].",
        source=_KNOWN.capitalize(),
        compute=lambda batch: l2_distance(batch.edited, batch.stacked("true_edit")),
    ),
    _of_truth(
        name="mse_true",
        label="MSE to truth",
        direction="lower",
        range=(0.0, 1.0),
        description="Mean squared difference to the true edited image over all pixels, pixel values in [0, 1].",
        source=f"Called L2 in MagicBrush, Zhang et al. 2023, arXiv 2306.10012; {_KNOWN}",
        compute=lambda batch: squared_distance(batch.edited, batch.stacked("true_edit")),
    ),
    _of_truth(
        name="lpips_true",
        label="LPIPS to truth",
        direction="lower",
        range=(0.0, None),
        description="LPIPS of the edited image and the true edited image.",
        source=f"LPIPS, Zhang et al. 2018; {_KNOWN}",
        compute=_lpips,
        needs="lpips",
        undefined="LPIPS is not finite",
    ),
    _of_truth(
        name="clip_image_true",
        label="CLIP-I",
        direction="higher",
        range=(-1.0, 1.0),
        description="Cosine of the CLIP embeddings of the edited image and the true edited image.",
        source=f"CLIP-I of MagicBrush, Zhang et al. 2023, arXiv 2306.10012; {_KNOWN}",
        compute=_clip,
        needs="clip",
        undefined="the CLIP embedding of the true edit is missing",
    ),
    _of_truth(
        name="dino_true",
        label="DINO-like",
        direction="higher",
        range=(-1.0, 1.0),
        description="Cosine of the features of the edited image and the true edited image by a network that knows "
        "neither captions nor edits: DINO ViT-S/16 at the paper scale, the network of FID at the micro scale.",
        source=f"DINO of MagicBrush, Zhang et al. 2023, arXiv 2306.10012; Caron et al. 2021; {_KNOWN}",
        compute=_dino,
        needs="dino",
        undefined="the features are not finite",
    ),
    Metric(
        name="changed_area",
        label="Changed area",
        direction="none",
        range=(0.0, 1.0),
        group="truth",
        description=f"Share of pixels in which a channel differs from the source by more than {CHANGED_LEVELS} of 255 "
        "grey levels.",
        source="Descriptive; the autoencoder round trip shows its floor.",
        compute=lambda batch: changed_area(batch.source, batch.edited),
    ),
)
