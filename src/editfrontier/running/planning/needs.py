"""What a run needs from outside: weights, raw data, tokens; how large it is, and whether it is there.

Nothing is opened, hashed or fetched: that is for `weights` and for the jobs. So it takes a moment, without a network.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editfrontier.base.errors import FETCH_WEIGHTS
from editfrontier.base.fetching.files import complete, missing
from editfrontier.data.dataset import RENDERED, dataset_options, get_dataset, raw_folder
from editfrontier.editing.editor import make_params
from editfrontier.editing.editors import ready_made
from editfrontier.models.registry import (
    UNPINNED,
    FilesReference,
    HubReference,
    entry_of,
    parse_reference,
    reference_of,
    segmenters_of,
    weights_root,
)
from editfrontier.running.planning.graph import PlannedJob
from editfrontier.study.config.models import ON_REQUEST
from editfrontier.study.config.study import Study, evaluators_of

_PLURALS = {"weights": "models", "data": "data sets", "package": "packages", "token": "tokens"}
SCORING = frozenset({"sources", "score", "validation", "analyse"})
_GB = 1e9

PACKAGES = {"musiq": ("pyiqa", "PolyForm Noncommercial 1.0.0")}
"""Architecture of single files -> the package that reads them and its licence, which not everybody can accept."""


@dataclass(frozen=True)
class Need:
    """Something that jobs read and this repository does not hold.

    Attributes:
        kind: "weights", "data", "token" or "package".
        name: of the model, of the data set, of the package, or "Hugging Face".
        size: bytes to download, 0 = not known or not there to download.
        fix: what to do if it is not there, a sentence.
        problem: the problem if it is not there.
    """

    kind: str
    name: str
    present: bool
    size: float = 0.0
    licence: str = ""
    fix: str = ""
    problem: str = "missing"


def absences(needs: Iterable[Need]) -> list[tuple[str, str]]:
    """Return (kind, what is absent and its fix), grouped by fix, so that each fix is said once."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for need in needs:
        if not need.present:
            groups.setdefault((need.kind, need.problem, need.fix), []).append(need.name)
    return [(kind, f"{_listed(kind, problem, names)}. {fix}") for (kind, problem, fix), names in groups.items()]


def _listed(kind: str, problem: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is {problem}"
    return f"{len(names)} {_PLURALS.get(kind, kind)} are {problem}: {'; '.join(names)}"


def needs(study: Study, jobs: Iterable[PlannedJob]) -> list[Need]:
    """Return what the jobs need: data for those that make cases, weights for those that edit or score, and what reads
    and fetches these."""
    jobs = list(jobs)
    weights = list(_weights(study, jobs))
    inputs = [*_data(study, jobs), *_ready_made(study, jobs)]
    return [*inputs, *weights, *_token(study, jobs, weights), *_packages(study, jobs)]


def _references(study: Study, jobs: Iterable[PlannedJob]) -> list[str]:
    """Return the references of the models that jobs load, each once, without their subfolders."""
    loaded: dict[str, None] = {}
    segmenters = segmenters_of(study.config)
    for job in jobs:
        if job.rule == "segmented_cases":
            loaded[segmenters[job.wildcards["task"]]] = None
        if job.rule == "edit":
            model = study.variants[job.wildcards["task"]][job.wildcards["variant"]].model
            if model:
                loaded[reference_of(study.config["models"][model])] = None
        if job.rule in SCORING:
            loaded |= {reference_of(entry): None for entry in _evaluators(study, job).values()}
        if job.rule == "analyse":
            loaded |= dict.fromkeys(study.analyses[job.wildcards["analysis"]]["models"].values())
    return list(dict.fromkeys(_whole(text) for text in loaded))


def _evaluators(study: Study, job: PlannedJob) -> dict[str, Any]:
    """Return the evaluators that a job loads, by kind; some are loaded only where they are asked for."""
    if job.rule == "score":
        return evaluators_of(study, job.wildcards["task"])
    every: dict[str, Any] = study.config["evaluators"]
    return {kind: entry for kind, entry in every.items() if job.rule != "sources" or kind not in ON_REQUEST}


def _whole(text: str) -> str:
    reference = parse_reference(text)
    return f"{reference.id}@{reference.revision}" if isinstance(reference, HubReference) else text


def _weights(study: Study, jobs: Iterable[PlannedJob]) -> Iterator[Need]:
    for text in _references(study, jobs):
        reference, entry = parse_reference(text), entry_of(text)
        title, size, licence = (entry.title, entry.download_gb * _GB, entry.licence) if entry else (text, 0.0, "")
        fix = f"Run {FETCH_WEIGHTS} where the network can be reached."
        match reference:
            case HubReference() if reference.revision == UNPINNED:
                yield Need("weights", title, False, size, licence, fix, "not pinned to a revision")
            case HubReference():
                yield Need("weights", title, _in_cache(reference), size, licence, fix)
            case FilesReference():
                folder = weights_root() / reference.name
                files = [file.name for file in entry.files] if entry else ["config.json"]
                by_hand = [file.name for file in entry.files if not file.url] if entry else []
                if by_hand:
                    fix += f" {', '.join(by_hand)} must be fetched by hand and put into {folder}."
                yield Need("weights", title, all((folder / name).is_file() for name in files), size, licence, fix)
            case _:
                fix = f"Put the model into {reference}, or correct `path` in the config."
                yield Need("weights", title, reference.is_dir(), 0.0, licence, fix)


def _in_cache(reference: HubReference) -> bool:
    """Return whether the hub's cache holds a revision, with no file of the repository half fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE, f"models--{reference.id.replace('/', '--')}")
    snapshot = folder / "snapshots" / reference.revision
    return snapshot.is_dir() and any(snapshot.iterdir()) and not list((folder / "blobs").glob("*.incomplete"))


def _data(study: Study, jobs: Iterable[PlannedJob]) -> Iterator[Need]:
    seen: set[tuple[str, Path]] = set()
    for job in jobs:
        if job.rule == "reference" and "statistics" in study.config["reference"]:
            file = Path(study.config["reference"]["statistics"])
            fix = f"Put the published statistics into {file}, or correct `reference.statistics` in the config."
            yield Need("data", f"Statistics of the reference, {file.name}", file.is_file(), fix=fix)
            continue
        match job.rule:
            case "cases" | "segmented_cases":
                entry = study.config["tasks"][job.wildcards["task"]]
            case "reference":
                entry = study.config["reference"]
            case _:
                continue
        if entry.get("dataset", "portraits") in RENDERED:
            continue
        dataset = get_dataset(entry["dataset"])
        folder = raw_folder(dataset, dataset_options(dataset, entry.get("options", {})))
        if (dataset.name, folder) in seen:
            continue
        seen.add((dataset.name, folder))
        absent = missing(folder, dataset.files)
        size = {file.download: file.size for file in (absent or dataset.files) if not file.optional}
        names = ", ".join(dict.fromkeys(file.download for file in absent))
        put = f"Put {names} into {folder}." if absent else f"The folder {folder} is empty or does not exist."
        there, fix = complete(folder, dataset.files), f"{put} {dataset.by_hand}"
        yield Need("data", dataset.title, there, float(sum(size.values())), dataset.licence, fix)


def _ready_made(study: Study, jobs: Iterable[PlannedJob]) -> Iterator[Need]:
    """Folders of edits that were made elsewhere; which cases they hold is known to the jobs, which have the cases."""
    folders: dict[Path, None] = {}
    for job in jobs:
        if job.rule == "edit":
            variant = study.variants[job.wildcards["task"]][job.wildcards["variant"]]
            if variant.editor == ready_made.EDITOR.name:
                params = make_params(ready_made.EDITOR, variant.params)
                folders[ready_made.home() / params.folder] = None
    for folder in folders:
        present = folder.is_dir() and bool(ready_made.edits_in(folder))
        fix = f"Make the cases by `snakemake data`, and put an edit of each, called by its id, into {folder}."
        yield Need("data", f"Ready-made edits, {folder}", present, licence="as the user states", fix=fix)


def _token(study: Study, jobs: Iterable[PlannedJob], weights: Iterable[Need]) -> Iterator[Need]:
    """A token is needed to fetch what is gated; once fetched, weights are read without."""
    gated = [entry for text in _references(study, jobs) if (entry := entry_of(text)) and entry.gated is True]
    absent = {need.name for need in weights if not need.present}
    wanted = [entry.id for entry in gated if entry.title in absent]
    if wanted:
        from huggingface_hub import get_token

        fix = f"Accept the licence of {', '.join(wanted)} on the hub, then run `hf auth login` or set HF_TOKEN."
        yield Need("token", "Hugging Face", get_token() is not None, fix=fix)


def _packages(study: Study, jobs: Iterable[PlannedJob]) -> Iterator[Need]:
    """Packages that may have been removed for their licence; without them a job fails after all before it has run."""
    entries = [entry_of(text) for text in _references(study, jobs)]
    for architecture, (package, licence) in PACKAGES.items():
        if any(entry and entry.config.get("architecture") == architecture for entry in entries):
            fix = "Run `make setup`, or leave what needs it out of the config."
            yield Need("package", package, importlib.util.find_spec(package) is not None, 0.0, licence, fix)
