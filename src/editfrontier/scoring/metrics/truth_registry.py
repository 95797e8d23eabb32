"""What the metrics of the true edit and of the changed area are. Imports nothing heavy; `registry` takes them up."""

from __future__ import annotations

from editfrontier.scoring.metrics.metric import Metric

CHANGED_LEVELS = 25
"""Grey levels of 255. A pixel counts as changed when one of its channels differs by more than this."""

_KNOWN = "possible only where the true edit is known."

TRUTH_METRICS = (
    Metric(
        "l1_true",
        "L1 to truth",
        "",
        "lower",
        (0.0, 1.0),
        "truth",
        "Mean absolute difference to the true edited image over all pixels, pixel values in [0, 1].",
        f"L1 of MagicBrush, Zhang et al. 2023, arXiv 2306.10012; {_KNOWN}",
    ),
    Metric(
        "l2_true",
        "L2 to truth",
        "",
        "lower",
        (0.0, 1.0),
        "truth",
        "Root mean squared difference to the true edited image over all pixels, pixel values in [0, 1].",
        "Possible only where the true edit is known.",
    ),
    Metric(
        "mse_true",
        "MSE to truth",
        "",
        "lower",
        (0.0, 1.0),
        "truth",
        "Mean squared difference to the true edited image over all pixels, pixel values in [0, 1].",
        f"Called L2 in MagicBrush, Zhang et al. 2023, arXiv 2306.10012; {_KNOWN}",
    ),
    Metric(
        "lpips_true",
        "LPIPS to truth",
        "",
        "lower",
        (0.0, None),
        "truth",
        "LPIPS of the edited image and the true edited image.",
        "LPIPS, Zhang et al. 2018; possible only where the true edit is known.",
        needs="lpips",
    ),
    Metric(
        "clip_image_true",
        "CLIP-I",
        "",
        "higher",
        (-1.0, 1.0),
        "truth",
        "Cosine of the CLIP embeddings of the edited image and the true edited image.",
        f"CLIP-I of MagicBrush, Zhang et al. 2023, arXiv 2306.10012; {_KNOWN}",
        needs="clip",
    ),
    Metric(
        "dino_true",
        "DINO-like",
        "",
        "higher",
        (-1.0, 1.0),
        "truth",
        "Cosine of the features of the edited image and the true edited image by a network that knows neither captions "
        "nor edits: DINO ViT-S/16 at the paper scale, the network of FID at the micro scale.",
        f"DINO of MagicBrush, Zhang et al. 2023, arXiv 2306.10012; Caron et al. 2021; {_KNOWN}",
        needs="dino",
    ),
    Metric(
        "changed_area",
        "Changed area",
        "",
        "none",
        (0.0, 1.0),
        "truth",
        f"Share of pixels in which a channel differs from the source by more than {CHANGED_LEVELS} of 255 grey levels.",
        "Descriptive; the autoencoder round trip shows its floor.",
    ),
)
