"""The type of a metric: one entry with named fields, next to the formula that computes it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Values

Direction = Literal["higher", "lower", "none"]
Group = Literal["fidelity", "controllability", "quality", "truth", "cost"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: the scoring pass, tables, figures, the page and the docs read nothing else about it.

    Attributes:
        name: key in score tables.
        label: short text for table heads and axes.
        direction: which way is better, "none" for descriptive quantities.
        range: least and greatest possible value, None = unbounded.
        group: part of the tables that it belongs to.
        description: definition for readers.
        source: the paper that defines it, and in what ours differs.
        compute: values of a batch of edits, NaN where one is undefined. It is called with the cases that have all
            `inputs`, and only where the evaluator that it needs is there. None for metrics of sets and recorded ones.
        unit: "" when there is none.
        needs: kind of the evaluator that it needs, "" = none.
        inputs: data that a case must have in addition to its images, names of `batch.INPUTS`.
        about: subject of the metric, in words after "no case has". Cases without it are left out without a message;
            for "" they are listed with the reason.
        undefined: why a value is NaN.
        per_image: False for metrics of a set of images (FID, KID).
        binary: each image has 0 or 1, so that the mean is a rate.
        recorded: taken from the record of the edit job (its columns, and the measurements of the editor).
        percent: whether readers see it in percent.
        decimals: that readers see; 0 only where all values of a column are whole, None = three significant digits.
        paper: its name in the reported values of the paper, "" if it has none.
    """

    name: str
    label: str
    direction: Direction
    range: tuple[float | None, float | None]
    group: Group
    description: str
    source: str
    compute: Callable[[Batch], Values] | None = None
    unit: str = ""
    needs: str = ""
    inputs: tuple[str, ...] = ()
    about: str = ""
    undefined: str = "the value is not finite"
    per_image: bool = True
    binary: bool = False
    recorded: bool = False
    percent: bool = False
    decimals: int | None = None
    paper: str = ""

    @property
    def arrow(self) -> str:
        """An arrow to the better side, "" if there is none."""
        return {"higher": "↑", "lower": "↓"}.get(self.direction, "")

    @property
    def shown_unit(self) -> str:
        """The unit of values as readers see them."""
        return "%" if self.percent else self.unit
