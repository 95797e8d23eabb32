"""The part of the scoring pass that concerns the border of the mask and the regions of a face."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.data.background import background_of
from editfrontier.data.cases import Case, read_image, read_mask
from editfrontier.scoring.drags import Scores
from editfrontier.scoring.metrics import regions
from editfrontier.scoring.metrics.region_registry import DRIFT_REGIONS, FACE, LEAST_PIXELS

Mask = npt.NDArray[np.bool_]


def score_regions(cases: Sequence[Case], folder: Path, images: tuple[Tensor, Tensor], scores: Scores) -> None:
    """Add the boundary of cases with a mask and the drift of cases with regions; others are not even mentioned.

    Args:
        cases: of one image size.
        folder: that their paths are relative to.
        images: sources and edits, uint8 [B, 3, H, W] each.
        scores: gets a value or a reason.
    """
    size = (images[0].shape[2], images[0].shape[3])
    _score_boundary(cases, folder, images, size, scores)
    rows, found, backgrounds = [], [], []
    for row, case in enumerate(cases):
        if not case.regions.strip():
            continue
        try:
            masks = _regions(case, folder, size)
            background = background_of(case, folder, size)
        except UserError as error:
            for name in ("face", *DRIFT_REGIONS):
                scores.miss(f"drift_{name}", case.case_id, str(error))
            continue
        backgrounds.append(np.ones(size, dtype=np.bool_) if background is None else background)
        rows.append(row)
        found.append(masks)
    if not rows:
        return
    source, edited = (kind[rows] for kind in images)
    area, ids = _stack(backgrounds), [cases[row].case_id for row in rows]
    for name in ("face", *DRIFT_REGIONS):
        region = _stack([masks.get(name, np.zeros(size, dtype=np.bool_)) for masks in found])
        reason = f"fewer than {LEAST_PIXELS} pixels of it are shown outside of the edit"
        scores.add(f"drift_{name}", ids, regions.drift(source, edited, region, area), reason)


def _score_boundary(
    cases: Sequence[Case], folder: Path, images: tuple[Tensor, Tensor], size: tuple[int, int], scores: Scores
) -> None:
    rows, masks, truths = [], [], []
    for row, case in enumerate(cases):
        if case.mask:
            try:
                masks.append(read_mask(folder / case.mask, size))
                rows.append(row)
                truths.append(_true_edit(case, folder, images[0][row]))
            except UserError as error:
                scores.miss("boundary", case.case_id, str(error))
    if rows:
        source, edited = (kind[rows] for kind in images)
        values = regions.boundary(source, edited, _stack(masks), torch.stack(truths))
        scores.add("boundary", [cases[row].case_id for row in rows], values, "the mask has no border or no inside")


def _true_edit(case: Case, folder: Path, source: Tensor) -> Tensor:
    """Read the true edit; the source, whose edges count anyway, if there is none that fits."""
    if not case.true_edit:
        return source
    try:
        found = torch.from_numpy(read_image(folder / case.true_edit).copy()).permute(2, 0, 1)
    except UserError:
        return source  # scoring says why
    return found if found.shape == source.shape else source


def _stack(masks: Sequence[Mask]) -> Tensor:
    return torch.from_numpy(np.stack(masks))[:, None]


def _regions(case: Case, folder: Path, size: tuple[int, int]) -> Mapping[str, Mask]:
    """Return the masks of a case's regions, with the face that some of them make up."""
    try:
        paths = {str(name): folder / str(path) for name, path in json.loads(case.regions).items()}
    except (ValueError, AttributeError):
        raise UserError(
            f"case {case.case_id}: regions are {case.regions[:60]!r}, expected JSON {{name: mask}}. Correct the column."
        ) from None
    found = {name: read_mask(path, size, allow_empty=True) for name, path in paths.items()}
    parts = [found[name] for name in FACE if name in found]
    return {**found, "face": np.logical_or.reduce(parts)} if parts and "face" not in found else found
