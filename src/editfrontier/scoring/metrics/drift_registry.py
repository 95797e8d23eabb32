"""What the metrics of deviation from the original are. Imports nothing heavy; `registry` takes them up."""

from __future__ import annotations

from editfrontier.scoring.metrics.metric import Metric

DRIFT_METRICS = (
    Metric(
        "l2_source",
        "L2 to source",
        "",
        "lower",
        (0.0, 1.0),
        "fidelity",
        "Root mean squared difference to the source image over all pixels, pixel values in [0, 1]; the edit itself "
        "counts.",
        "The norm of theorem 2 of the paper, over the root of the number of values; in a chain, to the original.",
    ),
    Metric(
        "l2_latent",
        "L2 to source (latents)",
        "",
        "lower",
        (0.0, None),
        "fidelity",
        "Root mean squared difference of the latents of edit and source by the diffusion model's autoencoder, scaled "
        "to about unit variance.",
        "The mode of the posterior times the scaling factor (Rombach et al. 2022).",
        needs="autoencoder",
        about="a chain",
    ),
)
