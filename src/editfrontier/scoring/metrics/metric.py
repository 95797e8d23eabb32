"""The description of one metric. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "none"]
Group = Literal["fidelity", "controllability", "quality", "truth", "cost"]


@dataclass(frozen=True)
class Metric:
    """Description of one metric.

    name: key in score tables. label: short text for table heads and axes. unit: "" when there is none.
    direction: which way is better, "none" for descriptive quantities. range: least and greatest possible value
    (None = unbounded). group: what it speaks about. per_image: False for metrics of a set of images (FID, KID).
    binary: each image has 0 or 1, so that the mean is a rate. recorded: taken from the record of the edit job (its
    columns, and what the editor measured) instead of being computed from the image. needs: the kind of evaluator that
    computes it, "" = none. about: what a case has to have, in words after "no case has", "" = any case may be judged.
    """

    name: str
    label: str
    unit: str
    direction: Direction
    range: tuple[float | None, float | None]
    group: Group
    description: str
    source: str
    per_image: bool = True
    binary: bool = False
    recorded: bool = False
    needs: str = ""
    about: str = ""
