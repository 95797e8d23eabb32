"""A number with its interval: what statistics hand to findings, tables, claims, figures and the page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class Estimate:
    """A number, the bounds of its interval, and the cases behind it; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def fields(self) -> dict[str, Any]:
        """Return the four fields, for a record that holds more."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    def __neg__(self) -> Self:
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class Effect(Estimate):
    """An estimate with the p value of the test that it is zero; NaN = no test."""

    p: float = math.nan
