"""The scoring pass on edits in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editfrontier.data.cases import Case
from editfrontier.scoring.batch import Batch
from editfrontier.scoring.collected import Collected
from editfrontier.scoring.score import score_batch
from editfrontier.scoring.source_features import SourceFeatures
from editfrontier.scoring.sources import image_networks

ON_FEATURES = ("clip", "identity", "attributes", "features", "autoencoder", "quality")


def scored(
    cases: Sequence[Case],
    source: Tensor,
    edited: Tensor,
    networks: Mapping[str, Any],
    folder: Path = Path(),
    arrays: Mapping[str, Any] | None = None,
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], str]]:
    """Return values and reasons by (metric, case) of edits uint8 [B, 3, H, W]; arrays: those of a file of sources."""
    outputs = image_networks({kind: network for kind, network in networks.items() if kind in ON_FEATURES}, edited)
    tensors = {name: torch.from_numpy(values) for name, values in outputs.items()}
    sources = SourceFeatures(dict(arrays or {}), {}, {case.case_id: row for row, case in enumerate(cases)})
    scores = Collected()
    score_batch(Batch(cases, folder, source, edited, tensors, sources, networks), scores)
    values = {(metric, case_id): value for case_id, metric, value in scores.rows}
    absent = {
        (metric, case_id): reason
        for metric, reasons in scores.absent.items()
        for reason, case_ids in reasons.items()
        for case_id in case_ids
    }
    return values, absent
