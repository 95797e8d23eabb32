"""What the study can say about a claim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["supported", "not supported", "inconclusive", "not testable at this scale"]


VERDICTS: tuple[Outcome, ...] = ("supported", "not supported", "inconclusive", "not testable at this scale")


class Absent(Exception):
    """What a claim needs was not run; the message names it and becomes the reason of "not testable at this scale"."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the study says about a claim.

    Attributes:
        verdict: one of `VERDICTS`.
        reason: one sentence: what decided.
        what: the quantity whose effect is given, for example "InstructPix2Pix minus DragFlow, ID sim". Where a claim
            has several parts, this is the one that decided, or the weakest.
        effect, ci_low, ci_high: its value and interval in `unit`; NaN = none.
        direction: where the claim puts the effect, for example "above 0".
        n: cases behind it.
        p: of the paired test, Holm-corrected over the parts of the claim; NaN = no test.
        unit: of the effect, "" = none.
        paper: the same effect by the paper's numbers; NaN = it gives none.
    """

    verdict: Outcome
    reason: str
    what: str = ""
    effect: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    direction: str = ""
    n: int = 0
    p: float = math.nan
    unit: str = ""
    paper: float = math.nan
