"""Outputs of networks for the drags of cases: where the object is, how regions look, where points are found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_image
from editfrontier.data.regions import Region, parse_drags
from editfrontier.scoring.metrics import background, drag

DISTANCES = ("md1", "md2", "mean_distance")

Values = Mapping[str, Tensor]
"""Metric -> one value a case, float64 [B], NaN where it cannot speak."""


def prepare_drags(
    cases: Sequence[Case], folder: Path, networks: Mapping[str, Any], batch_size: int
) -> dict[str, npt.NDArray[Any]]:
    """Read the features of the sources that the distances ask for, once for a task.

    Args:
        cases: of the task; those without drags, and those whose drags or image cannot be read, are left out.
        folder: that their paths are relative to.
        networks: evaluators by kind.
        batch_size: cases at a time.

    Returns:
        drag_cases [D] (case ids), drag_offsets [D + 1] and drag_queries [offsets[D], C], where row offsets[i] and those
        after it belong to case i; empty without the evaluator `dift` or without drags.
    """
    if "dift" not in networks:
        return {}
    readable: dict[tuple[int, ...], list[tuple[Case, npt.NDArray[np.uint8], list[Region]]]] = {}
    for case in cases:
        if case.drags.strip():
            try:
                image = read_image(folder / case.image)
                regions = parse_drags(case.drags, folder, image.shape[:2], case.case_id)
            except UserError:
                continue  # scoring says why
            readable.setdefault(image.shape, []).append((case, image, regions))
    names, parts = [], []
    for group in readable.values():
        for start in range(0, len(group), batch_size):
            chosen, images, drags = zip(*group[start : start + batch_size], strict=True)
            source = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
            captions = [case.source_caption for case in chosen]
            names += [case.case_id for case in chosen]
            parts += [features.numpy() for features in query_features(networks["dift"], source, captions, drags)]
    if not parts:
        return {}
    offsets = np.cumsum([0, *map(len, parts)])
    return {"drag_cases": np.array(names), "drag_offsets": offsets, "drag_queries": np.concatenate(parts)}


def queries_of(prepared: Mapping[str, npt.NDArray[Any]], case_ids: Sequence[str]) -> list[Tensor]:
    """Return the features [points, C] of each case's source that `prepare_drags` read."""
    place = {str(name): i for i, name in enumerate(prepared.get("drag_cases", ()))}
    for case_id in case_ids:
        if case_id not in place:
            raise UserError(
                f"case {case_id}: the source features lack its drags, expected the features of the evaluator "
                "'dift'. Make them again with the rule `sources`."
            )
    bounds, queries = prepared["drag_offsets"], torch.from_numpy(prepared["drag_queries"])
    return [queries[bounds[place[case_id]] : bounds[place[case_id] + 1]] for case_id in case_ids]


# Values of a batch of cases -------------------------------------------------------------------------------------------


def found_values(judge: Any, source: Tensor, edited: Tensor, drags: Sequence[Sequence[Region]]) -> Values:
    """Segment the dragged objects of the cases; source, edited uint8 [B, 3, H, W], at least one region a case."""
    rows, sources, targets = _flat(drags)
    before = judge.find_object(source[rows], sources, source[rows])
    found = judge.find_object(source[rows], sources, edited[rows])
    towards = drag.moved_towards(before, found, targets)
    cases = [rows == row for row in range(len(drags))]

    def worst(values: Tensor) -> Tensor:
        """Return the least finite value of each case: a case succeeds when all of its regions do."""
        known = [values[case & values.isfinite()] for case in cases]
        return torch.stack([part.min() if len(part) else part.new_tensor(torch.nan) for part in known])

    overlaps, shifts = drag.iou(found, targets), drag.centroid_shift(found, targets)
    return {
        "iou_target": torch.stack([overlaps[case].mean() for case in cases]),
        "centroid_shift": torch.stack([shifts[case].mean() for case in cases]),
        "moved_towards": worst(towards),
        "object_found": worst(found.any(2).any(1).to(torch.float64)),
    }


def _flat(drags: Sequence[Sequence[Region]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return case, source mask and target mask [N, H, W] of every region."""
    regions = [region for listed in drags for region in listed]
    rows = torch.tensor([row for row, listed in enumerate(drags) for _ in listed])
    sources, targets = (np.stack([getattr(region, name) for region in regions]) for name in ("source", "target"))
    return rows, torch.from_numpy(sources), torch.from_numpy(targets)


def look_values(
    lpips: Any, source: Tensor, edited: Tensor, drags: Sequence[Sequence[Region]], backgrounds: Tensor
) -> Values:
    """Compare background and regions as DragFlow does: 1 - LPIPS of images that are mid grey elsewhere.

    Each region of a case is compared by itself; the case has the mean.

    backgrounds: bool [B, 1, H, W], True = must not change.
    """
    rows, starts, ends = _flat(drags)
    moved = torch.stack(
        [drag.moved_source(image, [region]) for image, regions in zip(source, drags, strict=True) for region in regions]
    )

    def fidelity(first: Tensor, second: Tensor, area: Tensor) -> Tensor:
        filled = (background.fill_outside(images, area) for images in (first, second))
        value: Tensor = 1 - lpips.distance(*filled).to(torch.float64)
        return torch.where(area.flatten(1).any(dim=1), value, torch.full_like(value, torch.nan))

    def by_case(values: Tensor) -> Tensor:
        return torch.stack([values[rows == row].mean() for row in range(len(drags))])

    return {
        "if_bg": fidelity(source, edited, backgrounds),
        "if_s2t": by_case(fidelity(moved, edited[rows], ends[:, None])),
        "if_s2s": by_case(fidelity(source[rows], edited[rows], starts[:, None])),
    }


def query_features(
    judge: Any, source: Tensor, captions: Sequence[str], drags: Sequence[Sequence[Region]]
) -> list[Tensor]:
    """Read the sources' features at the points that the distances ask about: one [points, C] a case."""
    size = (source.shape[2], source.shape[3])
    full, reduced = _features(judge, source, captions, "source")
    return [
        torch.cat([drag.region_queries(fine, coarse, region, size) for region in regions])
        for fine, coarse, regions in zip(full, reduced, drags, strict=True)
    ]


def _features(judge: Any, images: Tensor, captions: Sequence[str], role: str) -> tuple[Tensor, Tensor]:
    """Features [B, C, h, w] of images at their own size, and of images at the model's size (nearest neighbour)."""
    full = judge.features(images, captions, role, "none")
    same = images.shape[2:] == (judge.side, judge.side)
    return full, full if same else judge.features(images, captions, role, "nearest")


def distance_values(
    judge: Any,
    queries: Sequence[Tensor],
    edited: Tensor,
    captions: Sequence[str],
    drags: Sequence[Sequence[Region]],
    backgrounds: Tensor,
) -> Values:
    """Find the points of the sources again in the edited images; queries: of `query_features`."""
    full, reduced = _features(judge, edited, captions, "edited")
    rows = []
    for wanted, fine, coarse, regions, held in zip(queries, full, reduced, drags, backgrounds, strict=True):
        sizes = [2 + len(region.points) for region in regions]
        rows.append(drag.feature_distances(wanted.split(sizes), fine, coarse, regions, ~held[0]))
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in DISTANCES}
