"""Whether the edit keeps the person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Embeddings, Exact


def identity_similarity(source: Embeddings, edited: Embeddings) -> Exact:
    """Cosine of identity embeddings of unit length, in [-1, 1]; raw, not rescaled to [0, 1]."""
    return (source.double() * edited.double()).sum(dim=1).clamp(-1, 1)


def _id_sim(batch: Batch) -> Exact:
    return identity_similarity(batch.sources.by_image("identity", batch.ids), batch.outputs["identity"])


METRICS = (
    Metric(
        name="id_sim",
        label="ID sim",
        direction="higher",
        range=(-1.0, 1.0),
        group="fidelity",
        description="Cosine of the identity embeddings of the source and the edited image.",
        source="ArcFace, Deng et al. 2019; raw cosine, not rescaled.",
        compute=_id_sim,
        needs="identity",
        inputs=("identity",),
        undefined="no face is found in the source",
        paper="id_sim",
    ),
)
