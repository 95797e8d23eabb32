"""From the raw files of a data set to the cases of a task: the steps that all data sets share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import find_file, present
from editfrontier.data.cases import Case, write_cases
from editfrontier.data.dataset import Dataset, MaskOptions, Request, dataset_options, get_dataset, raw_folder
from editfrontier.data.language import load_language
from editfrontier.data.reading.automatic import edits_behind, with_masks
from editfrontier.data.reading.choice import check_manifest, read_manifest, write_manifest
from editfrontier.data.reading.twins import joined
from editfrontier.data.repeats import repeated
from editfrontier.models.registry import segmenter_reference

log = logging.getLogger(__name__)

MANIFEST = "manifest.csv"


def build_task(
    task: str,
    n: int,
    seed: int,
    out_dir: Path,
    *,
    dataset: str | None = None,
    language: Path | None = None,
    repeats: int = 1,
    **options: Any,
) -> list[Case]:
    """Build the cases of a task from the raw files of a data set: PNG files, `manifest.csv` and, last, `cases.parquet`.

    Args:
        task: name of the task, the start of its case ids.
        n: number of cases, at least 1. If the data give fewer, the log says so.
        seed: seed of the data.
        out_dir: folder of the table and the images.
        dataset: name of a data set, None = the name of the task.
        language: language file, None = the default one.
        repeats: number of seeds that every case is edited with, at least 1 (see `repeats.repeated`).
        options: options of the data set.

    Returns:
        The cases as written.

    Raises:
        UserError: unknown data set or option, a value out of range, raw files that are missing or damaged, or no case.
    """
    adapter = get_dataset(dataset if dataset is not None else task)
    chosen = dataset_options(adapter, options)
    for name, value in (("cases", n), ("repeats", repeats)):
        if value < 1:
            raise UserError(f"task '{task}': {name} is {value}, expected at least 1. Raise it.")
    raw = raw_folder(adapter, chosen)
    request = Request(
        task=task, cases=n, seed=seed, folder=out_dir, raw=raw, language=load_language(language), options=chosen
    )
    # Read before building, which writes the manifest beside the case table again: it may be this file.
    wanted = read_manifest(Path(chosen.manifest)) if chosen.manifest else None
    cases = _cases(adapter, request)
    if len(cases) < n:
        log.warning("task '%s': dataset '%s' gives %d cases, %d were asked for", task, adapter.name, len(cases), n)
    rows = manifest_rows(cases)
    if wanted is not None:
        check_manifest(Path(chosen.manifest), wanted, rows)
    write_manifest(out_dir / MANIFEST, rows)
    cases = repeated(joined(cases, out_dir, request.sources), repeats)  # the manifest keeps the names of the data set
    write_cases(out_dir / "cases.parquet", cases)
    return cases


def _cases(dataset: Dataset, request: Request) -> list[Case]:
    if not isinstance(request.options, MaskOptions) or not request.options.sam:
        cases = dataset.build(request)
        _check_cases(dataset, request, cases)
        return cases
    from editfrontier.data.reading.sam import load_segmenter
    from editfrontier.models.loading import resolve_model

    options = request.options
    segment = load_segmenter(resolve_model(segmenter_reference(options.sam)), options.sam_device)
    edits = dataset.build(replace(request, cases=edits_behind(request.cases, options)))
    _check_cases(dataset, request, edits)
    return with_masks(edits, request.folder, options, segment)[: request.cases]


def manifest_rows(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return the rows of a manifest: the image of each case, its licence and its edit."""
    return [
        {
            "id": case.cluster,
            "edit_type": case.edit_type,
            "attribute": case.attribute,
            "desired": str(case.desired).lower(),
            "step": str(case.step),
            "licence": case.licence,
        }
        for case in cases
    ]


def _check_cases(dataset: Dataset, request: Request, cases: list[Case]) -> None:
    if not cases:
        raise UserError(
            f"task '{request.task}': dataset '{dataset.name}' in {request.raw} gives no case for these options. "
            "Loosen the options."
        )
    twice = [name for name, count in Counter(case.case_id for case in cases).items() if count > 1]
    if twice:
        raise UserError(
            f"{request.raw}: dataset '{dataset.name}' gives the case '{twice[0]}' twice (and {len(twice) - 1} others). "
            "Its raw files name an image twice: remove one of them."
        )


def raw_file(dataset: Dataset, folder: Path, path: str) -> Path:
    """Return the path of an expected file in the folder of raw files; unpack its archive if only that is there.

    Raises:
        UserError: the file is missing, or its archive is damaged; the message says what to do.
    """
    (file,) = (file for file in dataset.files if file.path == path)
    return find_file(dataset.name, folder, file, dataset.by_hand)


def optional_file(dataset: Dataset, folder: Path, path: str) -> Path | None:
    """Return the path of a raw file as `raw_file` does, None if it is not there."""
    (file,) = (file for file in dataset.files if file.path == path)
    return find_file(dataset.name, folder, file, dataset.by_hand) if present(folder, file) else None
