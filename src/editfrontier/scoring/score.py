"""Score edited images: every network loaded once, every metric in one pass, source-side networks once per task.

A case that failed, at editing or here, has no row in the scores; the table's provenance lists it with its reason. A
metric that is undefined for a case (no mask, captions equal, ...) has no row for it either, for a reason given there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image
from editfrontier.scoring.batch import Batch
from editfrontier.scoring.collected import Collected, write_scores
from editfrontier.scoring.edits import DamagedEdit, Edits, read_edit, read_records
from editfrontier.scoring.metrics import METRICS
from editfrontier.scoring.source_features import SourceFeatures, read_sources
from editfrontier.scoring.sources import (
    by_shape,
    chunks,
    evaluators_for,
    image_networks,
    load_evaluators,
    prepare_sources,
    stack,
    write_npz,
)

__all__ = ["prepare_sources", "score_variant"]

log = logging.getLogger(__name__)

UintArray = npt.NDArray[np.uint8]

KEPT = ("features", "clip_image", "identity", "attributes")
"""Outputs of networks that go to the file of features."""
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
        for batch in _load_batches(chunk, folder, edited, source_data, networks, scores):
            score_batch(batch, scores)
            for case_id in batch.ids:
                for name, value in edited[case_id].recorded.items():
                    scores.add(name, [case_id], torch.tensor([value], dtype=torch.float64), NOT_RECORDED)
            kept["case_ids"].append(np.array(batch.ids))
            for key in KEPT:
                if key in batch.outputs:
                    kept.setdefault(key, []).append(batch.outputs[key].numpy())
        log.info("%s: scored up to %s", variant, chunk[-1].case_id)
    write_scores(cases, variant, scores, evaluators, records, source_data, out)
    content = {key: np.concatenate(parts) if parts else np.array([], dtype=str) for key, parts in kept.items()}
    write_npz(features_out, content | {"variant": np.array(variant)})


def score_batch(batch: Batch, scores: Collected) -> None:
    """Compute every metric that is computed from images, for the cases of a batch that have its inputs.

    Raises:
        UserError: a metric does not return one value a case.
    """
    for name, metric in METRICS.items():
        if metric.compute is None or (metric.needs and metric.needs not in batch.networks):
            continue
        lacking = batch.lacking(metric.inputs)
        for row, reason in lacking.items():
            if reason:
                scores.miss(name, batch.cases[row].case_id, reason)
        rows = [row for row in range(len(batch.cases)) if row not in lacking]
        if not rows:
            continue
        part = batch.part(rows)
        values = metric.compute(part)
        if values.shape != (len(rows),):
            raise UserError(
                f"metric '{name}': returned values of shape {list(values.shape)} for {len(rows)} cases, expected "
                f"[{len(rows)}]. Correct its `compute`."
            )
        scores.add(name, part.ids, values, metric.undefined)


def _load_batches(
    chunk: Sequence[Case],
    folder: Path,
    edited: Edits,
    sources: SourceFeatures,
    networks: Mapping[str, Any],
    scores: Collected,
) -> Iterator[Batch]:
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
        cases, originals, images = zip(*(loaded[name] for name in names), strict=True)
        batch = stack(images)
        outputs = image_networks(networks, batch, sources.landmarks(names))
        tensors = {name: torch.from_numpy(values) for name, values in outputs.items()}
        yield Batch(cases, folder, stack(originals), batch, tensors, sources, networks)
