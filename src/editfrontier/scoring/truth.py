"""The part of the scoring pass that compares an edit with the true one, where it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.scoring.drags import Scores
from editfrontier.scoring.metrics import alignment, truth
from editfrontier.scoring.sources import Sources

UNKNOWN = "the true edit is not known"
_ALWAYS = ("l1_true", "l2_true", "mse_true")
_BY = {"lpips": "lpips_true", "clip": "clip_image_true", "dino": "dino_true"}
"""Kind of evaluator -> the metric that it computes here."""


def score_truth(
    ids: Sequence[str],
    edited: Tensor,
    true: Tensor,
    rows: Sequence[int],
    unread: Mapping[str, str],
    outputs: Mapping[str, npt.NDArray[Any]],
    sources: Sources,
    networks: Mapping[str, Any],
    scores: Scores,
) -> None:
    """Add the metrics of the true edit that the evaluators allow.

    Args:
        ids: cases of one image size.
        edited: their edits, uint8 [B, 3, H, W].
        true: the true edits that are known, uint8 [R, 3, H, W].
        rows: R places of `true` among the cases.
        unread: case -> why its true edit cannot be read, although it names one.
        outputs: what the networks gave for the edits, may hold `clip_image` [B, D].
        sources: holds `clip_true` where `outputs` has `clip_image`.
        networks: evaluators by kind.
        scores: gets a value or a reason for each case.
    """
    known = set(rows)
    for place, case_id in enumerate(ids):
        if place not in known:
            for metric in (*_ALWAYS, *(name for kind, name in _BY.items() if kind in networks)):
                scores.miss(metric, case_id, unread.get(case_id, UNKNOWN))
    if not rows:
        return
    chosen, found = [ids[place] for place in rows], edited[list(rows)]
    for metric, distance in (
        ("l1_true", truth.l1_distance), ("l2_true", truth.l2_distance), ("mse_true", truth.squared_distance)
    ):  # fmt: skip
        scores.add(metric, chosen, distance(found, true), "")
    if "lpips" in networks:
        scores.add("lpips_true", chosen, networks["lpips"].distance(found, true), "LPIPS is not finite")
    if "clip_image" in outputs:
        cosine = alignment.cosine(
            torch.from_numpy(outputs["clip_image"])[list(rows)], sources.by_true_edit("clip_true", chosen)
        )
        scores.add("clip_image_true", chosen, cosine, "the CLIP embedding of the true edit is missing")
    if "dino" in networks:
        cosine = alignment.cosine(*(networks["dino"].features(images) for images in (found, true)))
        scores.add("dino_true", chosen, cosine, "the features are not finite")
