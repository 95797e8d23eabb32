"""Findings as a table: written by analyses; read by figures, claims and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from editfrontier.base.csv_files import frame_as_csv
from editfrontier.base.files import write_bytes
from editfrontier.base.parquet import read_parquet, write_parquet
from editfrontier.statistics.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class Finding(Estimate):
    """One number that an analysis found; a row of its table.

    Attributes:
        quantity: what it is, a word such as "slope".
        variant: the variant that it speaks of, "" = all of them or none.
        metric: the metric that it is made of, "" = none.
        level: which part of the design it speaks of, for example the name of a region or of a mask, "" = the whole.
        x: place on a numeric axis, for example k or w; NaN = none.
        note: a remark for readers; where the value is NaN, why it cannot be computed.
    """

    quantity: str
    variant: str = ""
    metric: str = ""
    level: str = ""
    x: float = math.nan
    note: str = ""


COLUMNS = ("quantity", "variant", "metric", "level", "x", "value", "ci_low", "ci_high", "n", "note")
_BOUNDS = {"low": "ci_low", "high": "ci_high"}
"""Attribute of a finding -> column, where the two differ."""


@dataclass(frozen=True)
class Findings:
    """What an analysis found, with the provenance of the file that it was read from."""

    rows: tuple[Finding, ...]
    provenance: Mapping[str, Any]

    def select(self, quantity: str | None = None, **values: Any) -> list[Finding]:
        """Return the findings with these values, in order; for example `select("slope", metric="id_sim")`."""
        conditions = values if quantity is None else {"quantity": quantity, **values}
        return [row for row in self.rows if all(getattr(row, key) == value for key, value in conditions.items())]

    def one(self, quantity: str, **values: Any) -> Finding | None:
        """Return the only finding with these values, None if there is none or its value is not finite.

        Raises:
            ValueError: there are several.
        """
        selected = self.select(quantity, **values)
        if len(selected) > 1:
            raise ValueError(f"{quantity} with {values} stands for {len(selected)} findings, expected at most one")
        return selected[0] if selected and math.isfinite(selected[0].value) else None


def write_findings(path: Path, rows: Sequence[Finding], provenance: Mapping[str, Any]) -> None:
    """Write findings as parquet, and beside it as CSV for readers, atomically."""
    import pandas as pd

    frame = pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(Finding)])
    frame = frame.rename(columns=_BOUNDS)[list(COLUMNS)]
    texts, numbers = ("quantity", "variant", "metric", "level", "note"), ("x", "value", "ci_low", "ci_high")
    frame = frame.astype({**dict.fromkeys(texts, "str"), **dict.fromkeys(numbers, "float64"), "n": "int64"})
    write_bytes(path.with_suffix(".csv"), frame_as_csv(frame))
    write_parquet(path, frame, provenance)


def read_findings(path: Path) -> Findings:
    """Read findings; raise `UserError` that names the file if it is missing or unreadable."""
    frame, provenance = read_parquet(path, "Make it with `snakemake analyses`.")
    frame = frame.rename(columns={column: name for name, column in _BOUNDS.items()})
    rows = (Finding(**{str(key): value for key, value in row.items()}) for row in frame.to_dict(orient="records"))
    return Findings(tuple(rows), provenance)
