"""Quality without a reference, and the artifact rate: a threshold on a network's score, calibrated on the sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Exact, Values

FALSE_POSITIVE_RATE = 0.05


def artifact_threshold(source_scores: Float[Tensor, " sources"], rate: float = FALSE_POSITIVE_RATE) -> float:
    """Threshold that an unedited source exceeds with probability at most `rate`.

    Split-conformal: the ceil((n + 1)(1 - rate))-th smallest of the n source scores bounds the rate on exchangeable
    new sources, not only on these (Vovk et al. 2005). Below n = 1/rate - 1 no score bounds it; the
    greatest is taken then.
    """
    if source_scores.numel() == 0:
        raise ValueError("source_scores is empty")
    ordered = source_scores.double().sort().values
    rank = math.ceil((len(ordered) + 1) * (1 - rate))
    return float(ordered[min(rank, len(ordered)) - 1])


def artifact(scores: Values, threshold: float) -> Exact:
    """1.0 where the artifact score exceeds the threshold, else 0.0."""
    return (scores.double() > threshold).double()


def _artifact(batch: Batch) -> Exact:
    threshold = batch.sources.artifact_threshold
    assert threshold is not None  # there is one wherever there is a quality model
    return artifact(batch.outputs["artifact"], threshold)


METRICS = (
    Metric(
        name="quality",
        label="MUSIQ",
        direction="higher",
        range=(0.0, 100.0),
        group="quality",
        description="No-reference quality score of the edited image.",
        source="MUSIQ (Ke et al. 2021) by pyiqa: trained on KonIQ-10k at the paper scale, a small one on known "
        "corruptions at the micro scale.",
        compute=lambda batch: batch.outputs["quality"],
        needs="quality",
        undefined="the quality model gave no finite value",
    ),
    Metric(
        name="artifact",
        label="Artifacts",
        direction="lower",
        range=(0.0, 1.0),
        group="quality",
        description="1 when the artifact score exceeds the threshold that flags 5% of unedited sources, else 0.",
        source="Threshold by split-conformal calibration on the task's sources.",
        compute=_artifact,
        needs="quality",
        binary=True,
        percent=True,
        decimals=1,
    ),
)
