"""The choice of images of a data set, by a salted hash of their ids, and its manifest.

A hash needs neither the data nor a random generator: the choice is the same on every machine, and more cases do not
change the earlier ones.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from editfrontier.base.csv_files import read_rows, rows_as_csv
from editfrontier.base.errors import UserError, file_that_is_meant
from editfrontier.base.files import write_bytes


def salted(ids: Iterable[str | int], salt: str) -> list[str]:
    """Return the ids as texts in the order of sha256("<salt>:<id>")."""
    return sorted((str(name) for name in ids), key=lambda name: hashlib.sha256(f"{salt}:{name}".encode()).digest())


def write_manifest(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the images of cases to a CSV file; rows have the same keys, "id" names the image in its data set."""
    write_bytes(path, rows_as_csv(list(rows[0]) if rows else ["id"], rows))


def read_manifest(path: Path) -> list[dict[str, str]]:
    """Read a manifest; raise `UserError` if it is missing or no manifest."""
    columns: list[str] = []
    try:
        rows = read_rows(path, columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        meant = file_that_is_meant(path)
        raise UserError(f"{path}: cannot be read ({error}), expected a manifest.{meant} Correct the option.") from None
    if "id" not in columns:
        raise UserError(f"{path}: has no column 'id', expected a manifest of chosen images. Correct the option.")
    return rows


def check_manifest(path: Path, wanted: Sequence[Mapping[str, str]], rows: Sequence[Mapping[str, str]]) -> None:
    """Raise `UserError` unless `rows` are the first rows of a manifest, in its columns.

    Args:
        path: path of the manifest, which messages name.
        wanted: rows of the manifest.
        rows: rows as for `write_manifest`.
    """
    if len(rows) > len(wanted):
        raise UserError(
            f"{path}: names {len(wanted)} images, {len(rows)} were chosen. Ask for fewer cases, or replace the "
            "manifest by the file manifest.csv beside the case table."
        )
    for number, (row, expected) in enumerate(zip(rows, wanted, strict=False), start=1):
        for key, value in expected.items():
            if str(row.get(key, "")) != value:
                raise UserError(
                    f"{path}: row {number} has {key} {value!r} but the data give {row.get(key, '')!r}. The raw files "
                    "or options differ from those of the manifest: compare them, or write it again."
                )
