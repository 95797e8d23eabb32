"""CSV files with texts of configs and data sets, which a spreadsheet must show and not compute.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula, even in quotes, and formulas may start programs.
Such a text gets an apostrophe before it, as people type it in a spreadsheet; `read_rows` removes it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

# Some programs also accept the wide forms of these signs, and any text after line breaks or tabs.
_FORMULA = re.compile("'*(?:[\t\r\n]|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?")  # or a sign alone


def as_text(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; numbers, also in texts, do not change."""
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def without_mark(cell: str) -> str:
    """Return the text before `as_text`."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def _quoting(values: Iterable[Any]) -> Literal[0, 2]:
    # Python writes a single carriage return without quotes, and readers take it for the end of the row.
    split = any(isinstance(value, str) and "\r" in value for value in values)
    return csv.QUOTE_NONNUMERIC if split else csv.QUOTE_MINIMAL


def frame_as_csv(frame: pd.DataFrame, float_format: str | None = None) -> bytes:
    """Return a table as CSV in UTF-8, its texts by `as_text`."""
    safe = frame.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "biufc":
            safe[name] = safe[name].map(as_text)
    quoting = _quoting(value for name in safe.columns for value in safe[name])
    return safe.to_csv(index=False, lineterminator="\n", float_format=float_format, quoting=quoting).encode()


def rows_as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows, mappings with the same keys, as CSV in UTF-8, their texts by `as_text`."""
    buffer = io.StringIO(newline="")
    quoting = _quoting(value for row in rows for value in row.values())
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows({key: as_text(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue().encode()


def read_rows(path: Path, columns: list[str] | None = None) -> list[dict[str, str]]:
    """Return the rows of a CSV file that this module wrote, with the original texts; "" for an empty cell.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        columns: a list that the names of the columns are added to.

    Raises:
        OSError, UnicodeDecodeError, csv.Error: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = [{key: without_mark(value or "") for key, value in row.items() if key} for row in reader]
        if columns is not None:
            columns += reader.fieldnames or []
    return rows
