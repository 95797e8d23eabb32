"""The part of the scoring pass that asks a visual question answering model whether an edit shows its caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editfrontier.data.cases import Case
from editfrontier.scoring.drags import Scores

NO_TARGET = "the case has no target caption"
NO_CHOICE = "source and target caption are equal or missing"


def score_vqa(cases: Sequence[Case], edited: Tensor, judge: Any, scores: Scores) -> None:
    """Add `vqa_score` and `vqa_choice`; without the evaluator they are not even mentioned.

    Args:
        cases: of one image size.
        edited: their edits, uint8 [B, 3, H, W].
        judge: the evaluator `vqa`, None = not there.
        scores: gets a value or a reason for each case.
    """
    if judge is None:
        return
    asked = [row for row, case in enumerate(cases) if case.target_caption]
    fits = torch.full((len(cases), 2), torch.nan, dtype=torch.float64)
    if asked:
        targets = [cases[row].target_caption for row in asked]
        # Asked for both at once the image is read once; without a source caption the second answer is not used.
        sources = [cases[row].source_caption or cases[row].target_caption for row in asked]
        fits[asked] = judge.probability(edited[asked], targets, sources).to(torch.float64)
    ids = [case.case_id for case in cases]
    scores.add("vqa_score", ids, fits[:, 0], NO_TARGET)
    choosing = torch.tensor([case.source_caption not in ("", case.target_caption) for case in cases])
    scores.add("vqa_choice", ids, vqa_choice(fits[:, 0], fits[:, 1], choosing), NO_CHOICE)


def vqa_choice(target: Tensor, source: Tensor, choosing: Tensor) -> Tensor:
    """1 where the target caption is the more probable one, else 0, a tie included; NaN where nothing is to be chosen.

    Args:
        target, source: probabilities of the captions [B], NaN = not asked for.
        choosing: bool [B], whether the captions differ and are there.
    """
    value = (target > source).to(torch.float64)
    return torch.where(choosing & target.isfinite() & source.isfinite(), value, torch.nan)
