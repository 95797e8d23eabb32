"""Edited images as the records of edit jobs describe them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.data.cases import read_image
from editfrontier.scoring import metrics


class DamagedEdit(UserError):
    """An edited image is not the one that its record describes: no failure of its case, but a broken result."""


@dataclass(frozen=True)
class RecordedEdit:
    """An edited image as its record describes it. sha256: "" = not recorded. reason: of the failure, "" = none.

    recorded: metric -> value, of those that are taken from the record.
    """

    path: Path
    sha256: str
    reason: str
    recorded: Mapping[str, float]
    record: Path = Path("record")


Edits = Mapping[str, RecordedEdit]
"""Case id -> what its record says."""


def read_edit(edit: RecordedEdit) -> npt.NDArray[np.uint8]:
    """Read an edited image [H, W, 3].

    Raises:
        DamagedEdit: it is missing, or its bytes are no longer those that its record describes.
        UserError: it cannot be read, and the record holds no checksum that says whether it ever could.
    """
    fix = f"Delete {edit.record} and run again: whole images are kept, the others are edited anew."
    try:
        content = edit.path.read_bytes()
    except OSError as error:
        raise DamagedEdit(f"{edit.path}: the edited image cannot be read ({error.strerror}). {fix}") from None
    if edit.sha256 and hashlib.sha256(content).hexdigest() != edit.sha256:
        raise DamagedEdit(f"{edit.path}: its bytes differ from its record. {fix}")
    return read_image(edit.path)


def _recorded(row: Mapping[str, Any]) -> dict[str, float]:
    """The recorded metrics of a row: its columns `forwards` and `seconds`, and what its editor measured."""
    values = {"forwards": row.get("forwards"), "seconds": row.get("seconds")} | json.loads(row.get("measures") or "{}")
    return {
        name: float(values[name])
        for name, metric in metrics.METRICS.items()
        if metric.recorded and values.get(name) is not None
    }


def read_records(
    records: Sequence[Path], case_ids: Sequence[str], variant: str | None
) -> tuple[dict[str, RecordedEdit], str]:
    """Edits of all shards by case, and the variant's name; every case at most once, and no foreign case."""
    known = set(case_ids)
    edits: dict[str, RecordedEdit] = {}
    names = {variant} if variant else set()
    fix = "Run the edit job again."
    for path in records:
        frame, provenance = read_parquet(path, fix)
        missing = {"case_id", "status", "reason", "image"} - set(frame.columns)
        if missing:
            raise UserError(
                f"{path}: has no column {', '.join(sorted(missing))}, expected a record of an edit job. {fix}"
            )
        if variant is None:
            names.add(str(provenance.get("variant") or provenance.get("spec", {}).get("variant", "")))
        rows: list[dict[str, Any]] = frame.to_dict(orient="records")  # type: ignore[assignment]
        for row in rows:
            case_id = row["case_id"]
            if case_id in edits or case_id not in known:
                problem = "is in two records" if case_id in edits else "is not in the case table"
                raise UserError(f"{path}: case {case_id} {problem}, expected the shards of one task. {fix}")
            reason = "" if row["status"] == "ok" else row["reason"] or "failed without a reason"
            edits[case_id] = RecordedEdit(
                path.parent / (row["image"] or ""), row.get("sha256") or "", reason, _recorded(row), path
            )
    if len(names) != 1 or "" in names:
        given = ", ".join(sorted(names - {""})) or "none"
        raise UserError(
            f"{records[0] if records else 'records'}: expected records of one named variant, found {given}. {fix}"
        )
    return edits, names.pop()
