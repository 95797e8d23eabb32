"""The part of the scoring pass that measures how far an edit is from its source, in pixels and in latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.data.cases import Case
from editfrontier.scoring.drags import Scores
from editfrontier.scoring.metrics.truth import l2_distance
from editfrontier.scoring.sources import Sources


def score_drift(
    cases: Sequence[Case],
    images: tuple[Tensor, Tensor],
    outputs: Mapping[str, npt.NDArray[Any]],
    sources: Sources,
    scores: Scores,
) -> None:
    """Add `l2_source` and, where the autoencoder is among the evaluators, `l2_latent`.

    Args:
        cases: of one image size. In a chain the source is that of its first step.
        images: sources and edits, uint8 [B, 3, H, W] each.
        outputs: what the networks gave for the edits, may hold `latents` [B, D].
        sources: may hold `latents` too.
        scores: gets a value for each case.
    """
    ids = [case.case_id for case in cases]
    scores.add("l2_source", ids, l2_distance(*images), "")
    if "latents" in outputs:
        distance = latent_distance(sources.by_image("latents", ids), torch.from_numpy(outputs["latents"]))
        scores.add("l2_latent", ids, distance, "the latents are not finite")


def latent_distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean squared difference of each pair of latents [B, D]; float64 [B]."""
    return (a.to(torch.float64) - b.to(torch.float64)).square().mean(dim=1).sqrt()
