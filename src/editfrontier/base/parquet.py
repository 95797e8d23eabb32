"""Parquet tables that carry their provenance: a JSON object under the key `editfrontier` of the file's metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

METADATA_KEY = b"editfrontier"


def write_parquet(path: Path, frame: pd.DataFrame | pa.Table, provenance: Mapping[str, Any]) -> None:
    """Write a table, of pandas or of Arrow, with its provenance, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    metadata = dict(table.schema.metadata or {}) | {METADATA_KEY: json.dumps(provenance, sort_keys=True).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, write_page_checksum=True)
    write_bytes(path, buffer.getvalue())


def read_table(path: Path, fix: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or some columns of it, without pandas, whose import is slow; `fix`: remedy for the `UserError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=list(columns) if columns else None, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such table. {fix}") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet table ({error}). Delete it. {fix}") from None


def read_parquet(path: Path, fix: str, columns: Sequence[str] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a table as `read_table`, with its provenance ({} if it has none)."""
    table = read_table(path, fix, columns)
    return table.to_pandas(), json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
