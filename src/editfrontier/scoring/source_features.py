"""Outputs of the networks for the source images, captions and true edits of a task, as `sources` wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.base.integrity.arrays import read_npz
from editfrontier.data.cases import Case
from editfrontier.scoring.shapes import Embeddings


@dataclass(frozen=True)
class SourceFeatures:
    """Content of a file of `sources.prepare_sources`.

    Attributes:
        arrays: what is described there.
        failures: case -> why its source image cannot be read.
        row: case -> its row in the arrays by case.
        captions: "source" or "target" -> case -> why CLIP cannot read its caption.
    """

    arrays: dict[str, npt.NDArray[Any]]
    failures: dict[str, str]
    row: dict[str, int]
    captions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def artifact_threshold(self) -> float | None:
        """Threshold of the artifact score, None without a quality model."""
        return float(self.arrays["artifact_threshold"]) if "artifact_threshold" in self.arrays else None

    @property
    def attribute_names(self) -> list[str]:
        """Names of the classifier's columns."""
        return [str(name) for name in self.arrays.get("attribute_names", ())]

    def by_image(self, key: str, case_ids: Sequence[str]) -> Float[Tensor, "batch ..."]:
        """Rows of a by-image array for these cases."""
        rows = self.arrays["image_row"][[self.row[case_id] for case_id in case_ids]]
        return torch.from_numpy(self.arrays[key][rows])

    def by_true_edit(self, key: str, case_ids: Sequence[str]) -> Embeddings:
        """Rows of a by-true-edit array for these cases; NaN where a case has none that could be read."""
        rows = self.arrays["true_edit_row"][[self.row[case_id] for case_id in case_ids]]
        values = torch.from_numpy(self.arrays[key][rows])
        values[torch.from_numpy(rows) < 0] = torch.nan
        return values

    def landmarks(self, case_ids: Sequence[str]) -> Float[Tensor, "batch 5 2"] | None:
        """Faces of the sources of these cases [B, 5, 2], which their edits are aligned by; None if nothing is."""
        return self.by_image("landmarks", case_ids) if "landmarks" in self.arrays else None

    def text(self, key: str, case_ids: Sequence[str]) -> Embeddings:
        """CLIP embeddings of `source_text_row` or `target_text_row`; NaN where a case has none that could be read."""
        if "clip_text" not in self.arrays:  # no case of the task has a caption that could be read
            return torch.full((len(case_ids), self.arrays["clip_image"].shape[1]), torch.nan)
        rows = self.arrays[key][[self.row[case_id] for case_id in case_ids]]
        values = torch.from_numpy(self.arrays["clip_text"])[rows].clone()
        values[torch.from_numpy(rows) < 0] = torch.nan
        return values


def read_sources(path: Path, cases: Sequence[Case] | None = None) -> SourceFeatures:
    """Read a file of `sources.prepare_sources`; raise `UserError` if it is unreadable or belongs to other cases."""
    fix = "Make it again with the rule `sources`."
    arrays = read_npz(path, fix)
    try:
        provenance = json.loads(str(arrays["provenance"]))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not a file of source features ({error}). Delete it. {fix}") from None
    ids = [str(case_id) for case_id in arrays["case_ids"]]
    if cases is not None and ids != [case.case_id for case in cases]:
        raise UserError(f"{path}: belongs to other cases than the case table. {fix}")
    row = {case_id: i for i, case_id in enumerate(ids)}
    return SourceFeatures(arrays, provenance["failures"], row, provenance.get("captions", {}))
