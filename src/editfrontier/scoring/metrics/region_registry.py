"""What the metrics of boundaries and of regions are. Imports nothing heavy; `registry` takes them up."""

from __future__ import annotations

from editfrontier.scoring.metrics.metric import Metric

FACE = ("skin", "eyes", "brows", "nose", "mouth", "ears")
"""Regions that make up a face, as a case's `regions` names them."""

DRIFT_REGIONS = ("eyes", "brows", "nose", "mouth", "ears", "skin", "hair", "clothes", "background")

LEAST_PIXELS = 4
"""Of a region that is judged; fewer say nothing of it."""


def _drift(name: str, label: str, what: str) -> Metric:
    return Metric(
        f"drift_{name}",
        f"Drift {label}",
        "",
        "lower",
        (0.0, 1.0),
        "fidelity",
        f"Mean absolute difference of source and edit over {what} outside of the edit mask and a rim of one pixel, "
        "pixel values in [0, 1].",
        "Section 7 of the paper: deviation in semantically meaningful regions. The autoencoder is its floor.",
        about="regions",
    )


REGION_METRICS = (
    Metric(
        "boundary",
        "Boundary",
        "",
        "lower",
        (-1.0, 1.0),
        "quality",
        "Seam along the border of the mask that the editor was given: mean step between pixels on its two sides (or "
        "on those of the strongest contour 1 px inside to 2 px outside) beyond the edges of source and true edit, less "
        "the same inside the mask; pixel values in [0, 1].",
        "Boundary artifacts, section 5.4 of the paper. Source and true edit have 0; the autoencoder round trip is its "
        "floor. Without a true edit the edges that are asked for count as well.",
        about="a mask",
    ),
    _drift("face", "face", "the face (skin, eyes, brows, nose, mouth, ears)"),
    *(_drift(name, name, f"the {name}") for name in DRIFT_REGIONS),
)
