"""Score edited images: every network loaded once, every metric in one pass, source-side networks once per task.

A case that failed, at editing or here, has no row in the scores; the table's provenance lists it with its reason. A
metric that cannot speak about a case (no mask, captions equal, ...) has no row for it either, for a reason given there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.data.background import background_of
from editfrontier.data.cases import Case, read_cases, read_image
from editfrontier.scoring.collected import Collected, write_scores
from editfrontier.scoring.drags import score_drags
from editfrontier.scoring.drift import score_drift
from editfrontier.scoring.edits import DamagedEdit, Edits, read_edit, read_records
from editfrontier.scoring.metrics import alignment, attributes, background, identity, quality, truth
from editfrontier.scoring.regions import score_regions
from editfrontier.scoring.sources import (
    Sources,
    by_shape,
    chunks,
    evaluators_for,
    image_networks,
    load_evaluators,
    prepare_sources,
    read_sources,
    stack,
    write_npz,
)
from editfrontier.scoring.truth import score_truth
from editfrontier.scoring.vqa import score_vqa

__all__ = ["prepare_sources", "score_variant"]

log = logging.getLogger(__name__)

UintArray = npt.NDArray[np.uint8]

NOT_RECORDED = "the record of the edit holds no finite value"


def score_variant(
    cases_path: Path,
    records: Sequence[Path],
    sources: Path,
    evaluators: Mapping[str, Any],
    out: Path,
    features_out: Path,
    *,
    variant: str | None = None,
    device: str = "cpu",
    batch_size: int = 64,
) -> None:
    """Score one variant from the records of its shards. Command line: `score`.

    Args:
        cases_path: case table of the task.
        records: the shards' records (parquet; case_id, status, reason, image, sha256), images relative to each.
        sources: file of `prepare_sources` for the same cases.
        evaluators: as for `prepare_sources`.
        out: long table case_id, variant, metric, value (parquet). Its provenance holds `counts` (cases, ok, failed),
            `failures` (case -> reason), `absent` (metric -> reason -> cases) and `silent` (metric -> why it speaks of
            no case).
        features_out: .npz with case_ids and, of the edited images, features, clip_image, identity, attributes.
        variant: name of the variant; the records' metadata say it when it is None.
    """
    cases, folder = read_cases(cases_path), cases_path.parent
    source_data = read_sources(sources, cases)
    edited, variant = read_records(records, [case.case_id for case in cases], variant)
    networks = load_evaluators(evaluators_for(cases, evaluators), device)
    scores = Collected(failures={case_id: edit.reason for case_id, edit in edited.items() if edit.reason})
    for case in cases:
        if case.case_id not in edited:
            scores.failures[case.case_id] = "in no record of this variant"
        elif case.case_id in source_data.failures:
            scores.failures.setdefault(case.case_id, source_data.failures[case.case_id])
    kept: dict[str, list[npt.NDArray[Any]]] = {"case_ids": []}
    pending = [case for case in cases if case.case_id not in scores.failures]
    for chunk in chunks(pending, batch_size):
        for batch in _load_batches(chunk, folder, edited, scores):
            outputs = image_networks(networks, batch.edited, source_data.landmarks(batch.ids))
            _score_batch(batch, outputs, source_data, networks, scores)
            score_drags(batch.cases, folder, (batch.source, batch.edited), source_data.arrays, networks, scores)
            score_regions(batch.cases, folder, (batch.source, batch.edited), scores)
            score_drift(batch.cases, (batch.source, batch.edited), outputs, source_data, scores)
            score_vqa(batch.cases, batch.edited, networks.get("vqa"), scores)
            for case_id in batch.ids:
                for name, value in edited[case_id].recorded.items():
                    scores.add(name, [case_id], torch.tensor([value], dtype=torch.float64), NOT_RECORDED)
            kept["case_ids"].append(np.array(batch.ids))
            for key in ("features", "clip_image", "identity", "attributes"):
                if key in outputs:
                    kept.setdefault(key, []).append(outputs[key])
        log.info("%s: scored up to %s", variant, chunk[-1].case_id)
    write_scores(cases, variant, scores, evaluators, records, source_data, out)
    content = {key: np.concatenate(parts) if parts else np.array([], dtype=str) for key, parts in kept.items()}
    write_npz(features_out, content | {"variant": np.array(variant)})


@dataclass(frozen=True)
class _Batch:
    """Cases of one image size. background, true: with the rows of the cases that have one. unread: ("mask" or "true
    edit", case) -> why the case has none although it names one."""

    cases: list[Case]
    source: Tensor
    edited: Tensor
    background: Tensor
    background_rows: list[int]
    true: Tensor
    true_rows: list[int]
    unread: Mapping[tuple[str, str], str]

    @property
    def ids(self) -> list[str]:
        return [case.case_id for case in self.cases]


def _score_batch(
    batch: _Batch,
    outputs: Mapping[str, npt.NDArray[Any]],
    sources: Sources,
    networks: Mapping[str, Any],
    scores: Collected,
) -> None:
    ids, lpips = batch.ids, networks.get("lpips")
    edit = {key: torch.from_numpy(values) for key, values in outputs.items()}
    if "identity" in edit:
        people = [i for i, case in enumerate(batch.cases) if case.identity]
        chosen = [ids[i] for i in people]
        scores.add(
            "id_sim",
            chosen,
            identity.identity_similarity(sources.by_image("identity", chosen), edit["identity"][people]),
            "no face is found in the source",
        )
        for case in batch.cases:
            if not case.identity:
                scores.miss("id_sim", case.case_id, "the case depicts no identity")
    distance_map = _score_whole(batch, lpips, scores)
    _score_background(batch, lpips, distance_map, scores)
    if "clip_image" in edit:
        source_text, target_text = (sources.text(key, ids) for key in ("source_text_row", "target_text_row"))
        cosine = alignment.clip_cosine(edit["clip_image"], target_text)
        unread = sources.captions.get("target", {})
        scores.add("clip_cos", ids, cosine, "the case has no target caption", unread)
        scores.add("clip_score", ids, alignment.clip_score(cosine), "the case has no target caption", unread)
        direction = alignment.clip_directional(
            sources.by_image("clip_image", ids), edit["clip_image"], source_text, target_text
        )
        unread = {**sources.captions.get("source", {}), **unread}
        scores.add("clip_directional", ids, direction, "source and target caption are equal or missing", unread)
    if "attributes" in edit:
        names = sources.attribute_names
        columns = torch.tensor([names.index(case.attribute) if case.attribute in names else -1 for case in batch.cases])
        desired = torch.tensor([case.desired for case in batch.cases])
        verdict = attributes.success(edit["attributes"], columns, desired)
        scores.add("success", ids, verdict, "the case edits no attribute that the classifier knows")
    if "quality" in edit:
        scores.add("quality", ids, edit["quality"], "the quality model gave no finite value")
        threshold = sources.artifact_threshold
        assert threshold is not None
        scores.add("artifact", ids, quality.artifact(edit["artifact"], threshold), "")
    unread = {case_id: why for (kind, case_id), why in batch.unread.items() if kind == "true edit"}
    score_truth(ids, batch.edited, batch.true, batch.true_rows, unread, outputs, sources, networks, scores)
    scores.add("changed_area", ids, truth.changed_area(batch.source, batch.edited), "")


def _score_whole(batch: _Batch, lpips: Any, scores: Collected) -> Tensor | None:
    """Compare the whole images with their sources; return the LPIPS map [B, H, W], None without LPIPS."""
    everything = torch.ones_like(batch.source[:, :1], dtype=torch.bool)
    scores.add("psnr_source", batch.ids, background.psnr_background(batch.source, batch.edited, everything), "")
    scores.add("ssim_source", batch.ids, background.ssim_background(batch.source, batch.edited, everything), "")
    if lpips is None:
        return None
    distance_map: Tensor = lpips.distance_map(batch.source, batch.edited)
    scores.add("lpips_source", batch.ids, distance_map.mean((1, 2)), "LPIPS is not finite")
    return distance_map


def _score_background(batch: _Batch, lpips: Any, distance_map: Tensor | None, scores: Collected) -> None:
    names = ("psnr_bg", "ssim_bg") + (("lpips_bg_masked", "lpips_bg_spatial") if lpips is not None else ())
    for i, case_id in enumerate(batch.ids):
        if i not in batch.background_rows:
            for metric in names:
                scores.miss(metric, case_id, batch.unread.get(("mask", case_id), "the case has no mask"))
    if not batch.background_rows:
        return
    ids = [batch.ids[i] for i in batch.background_rows]
    source, edited, area = batch.source[batch.background_rows], batch.edited[batch.background_rows], batch.background
    empty = "the background is empty"
    scores.add("psnr_bg", ids, background.psnr_background(source, edited, area), empty)
    scores.add("ssim_bg", ids, background.ssim_background(source, edited, area), empty)
    if distance_map is None:
        return
    filled = [background.fill_outside(images, area) for images in (source, edited)]
    masked = lpips.distance(*filled)
    masked = torch.where(area.flatten(1).any(dim=1), masked, torch.full_like(masked, torch.nan))
    scores.add("lpips_bg_masked", ids, masked, empty)
    radius = background.erosion_radius(source.shape[2])
    spatial = background.lpips_spatial(distance_map[batch.background_rows], area, radius)
    scores.add("lpips_bg_spatial", ids, spatial, f"the background eroded by {radius} px is empty")


def _load_batches(chunk: Sequence[Case], folder: Path, edited: Edits, scores: Collected) -> Iterator[_Batch]:
    loaded: dict[str, tuple[Case, UintArray, UintArray]] = {}
    for case in chunk:
        path = edited[case.case_id].path
        try:
            image = read_edit(edited[case.case_id])
            source = read_image(folder / case.image)
            if image.shape != source.shape:
                raise UserError(
                    f"{path}: the edit is {image.shape[1]}x{image.shape[0]} but its source is "
                    f"{source.shape[1]}x{source.shape[0]} pixels. Edit the case again."
                )
        except DamagedEdit:
            raise  # else a broken file would pass for an editor's failure
        except UserError as error:
            scores.failures[case.case_id] = str(error)
            continue
        loaded[case.case_id] = (case, source, image)
    for names in by_shape({name: image for name, (_, _, image) in loaded.items()}):
        batch = [loaded[name] for name in names]
        size = batch[0][2].shape[:2]
        cases = [case for case, _, _ in batch]
        unread: dict[tuple[str, str], str] = {}
        masks = _read_each(cases, partial(background_of, folder=folder, size=size), "mask", unread)
        truths = _read_each(cases, partial(_true_edit, folder=folder, size=size), "true edit", unread)
        yield _Batch(
            cases,
            stack([s for _, s, _ in batch]),
            stack([e for _, _, e in batch]),
            torch.from_numpy(np.stack(list(masks.values())))[:, None] if masks else torch.empty(0),
            list(masks),
            stack(list(truths.values())) if truths else torch.empty(0),
            list(truths),
            unread,
        )


def _read_each(
    cases: Sequence[Case],
    read: Callable[[Case], npt.NDArray[Any] | None],
    kind: str,
    unread: dict[tuple[str, str], str],
) -> dict[int, npt.NDArray[Any]]:
    """Masks or true edits by row; one that cannot be read takes away the metrics that need it, not the case."""
    found = {}
    for row, case in enumerate(cases):
        try:
            array = read(case)
        except UserError as error:
            log.warning("case %s: %s", case.case_id, error)
            unread[kind, case.case_id] = str(error)
            continue
        if array is not None:
            found[row] = array
    return found


def _true_edit(case: Case, folder: Path, size: tuple[int, int]) -> UintArray | None:
    if not case.true_edit:
        return None
    image = read_image(folder / case.true_edit)
    if image.shape[:2] != size:
        raise UserError(
            f"{folder / case.true_edit}: the true edit is {image.shape[1]}x{image.shape[0]} but its source is "
            f"{size[1]}x{size[0]} pixels. Make the data again."
        )
    return image
