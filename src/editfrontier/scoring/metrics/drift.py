"""How far an edit is from its source, in pixels and in latents; in a chain, from the source of its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric
from editfrontier.scoring.metrics.truth import l2_distance

if TYPE_CHECKING:
    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Embeddings, Exact


def latent_distance(a: Embeddings, b: Embeddings) -> Exact:
    """Root mean squared difference of each pair of latents."""
    return (a.double() - b.double()).square().mean(dim=1).sqrt()


def _l2_latent(batch: Batch) -> Exact:
    return latent_distance(batch.sources.by_image("latents", batch.ids), batch.outputs["latents"])


METRICS = (
    Metric(
        name="l2_source",
        label="L2 to source",
        direction="lower",
        range=(0.0, 1.0),
        group="fidelity",
        description="Root mean squared difference to the source image over all pixels, pixel values in [0, 1]; the "
        "edit itself counts.",
        source="The norm of theorem 2 of the paper, over the root of the number of values; in a chain, to the "
        "original.",
        compute=lambda batch: l2_distance(batch.source, batch.edited),
    ),
    Metric(
        name="l2_latent",
        label="L2 to source (latents)",
        direction="lower",
        range=(0.0, None),
        group="fidelity",
        description="Root mean squared difference of the latents of edit and source by the diffusion model's "
        "autoencoder, scaled to about unit variance.",
        source="The mode of the posterior times the scaling factor (Rombach et al. 2022).",
        compute=_l2_latent,
        needs="autoencoder",
        about="a chain",
        undefined="the latents are not finite",
    ),
)
