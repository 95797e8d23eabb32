"""Verdicts on claims."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from editfrontier.statistics.estimate import Effect

Outcome = Literal["supported", "not supported", "inconclusive", "not testable at this scale"]


VERDICTS: tuple[Outcome, ...] = ("supported", "not supported", "inconclusive", "not testable at this scale")


class Absent(Exception):
    """Results that a claim needs are missing; the message becomes the reason of "not testable at this scale"."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of the study on a claim.

    Attributes:
        verdict: one of `VERDICTS`.
        reason: one sentence: what decided.
        what: the quantity whose effect is given, for example "InstructPix2Pix minus DragFlow, ID sim". Where a claim
            has several parts, this is the one that decided, or the weakest.
        effect: in `unit`, NaN = none; its p belongs to the paired test, Holm-corrected over the parts of the claim.
        direction: where the claim puts the effect, for example "above 0".
        unit: of the effect, "" = none.
        paper: the same effect by the paper's numbers; NaN = it gives none.
    """

    verdict: Outcome
    reason: str
    what: str = ""
    effect: Effect = field(default_factory=lambda: Effect(math.nan))
    direction: str = ""
    unit: str = ""
    paper: float = math.nan
