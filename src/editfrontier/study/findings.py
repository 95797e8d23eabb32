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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number that an analysis found; a row of its table.

    Attributes:
        quantity: what it is, a word such as "slope".
        variant: the variant that it speaks of, "" = all of them or none.
        metric: the metric that it is made of, "" = none.
        level: which part of the design it speaks of, for example the name of a region or of a mask, "" = the whole.
        x: place on a numeric axis, for example k or w; NaN = none.
        value: in the unit of the quantity; NaN where it cannot be computed, and `note` says why.
        ci_low, ci_high: bounds of its interval; NaN = none.
        n: cases behind it.
        note: a remark for readers.
    """

    quantity: str
    variant: str = ""
    metric: str = ""
    level: str = ""
    x: float = math.nan
    value: float
    ci_low: float = math.nan
    ci_high: float = math.nan
    n: int = 0
    note: str = ""


COLUMNS = tuple(field.name for field in fields(Finding))


@dataclass(frozen=True)
class Findings:
    """What an analysis found, with the provenance of the file that it was read from."""

    rows: tuple[Finding, ...]
    provenance: Mapping[str, Any]

    def select(self, quantity: str | None = None, **values: Any) -> list[Finding]:
        """Return the findings with these values, in order; for example `select("slope", metric="id_sim")`."""
        wanted = values if quantity is None else {"quantity": quantity, **values}
        return [row for row in self.rows if all(getattr(row, key) == value for key, value in wanted.items())]

    def one(self, quantity: str, **values: Any) -> Finding | None:
        """Return the only finding with these values, None if there is none or its value is not finite.

        Raises:
            ValueError: there are several.
        """
        found = self.select(quantity, **values)
        if len(found) > 1:
            raise ValueError(f"{quantity} with {values} stands for {len(found)} findings, expected at most one")
        return found[0] if found and math.isfinite(found[0].value) else None


def write_findings(path: Path, rows: Sequence[Finding], provenance: Mapping[str, Any]) -> None:
    """Write findings as parquet, and beside it as CSV for readers, atomically."""
    import pandas as pd

    frame = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
    texts, numbers = ("quantity", "variant", "metric", "level", "note"), ("x", "value", "ci_low", "ci_high")
    frame = frame.astype({**dict.fromkeys(texts, "str"), **dict.fromkeys(numbers, "float64"), "n": "int64"})
    write_bytes(path.with_suffix(".csv"), frame_as_csv(frame))
    write_parquet(path, frame, provenance)


def read_findings(path: Path) -> Findings:
    """Read findings; raise `UserError` that names the file if it is missing or unreadable."""
    frame, provenance = read_parquet(path, "Make it with `snakemake analyses`.")
    rows = (Finding(**{str(key): value for key, value in row.items()}) for row in frame.to_dict(orient="records"))
    return Findings(tuple(rows), provenance)
