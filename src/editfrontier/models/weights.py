"""Fetching pretrained models once, where the network can be reached, and listing the missing ones.

Jobs never fetch files: compute nodes often have no network, and many jobs would fetch the same files at once.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from editfrontier.base.errors import FETCH_WEIGHTS, UserError
from editfrontier.base.fetching.downloads import download
from editfrontier.base.files import write_bytes
from editfrontier.models import registry
from editfrontier.models.files import broken_file
from editfrontier.models.loading import PROVENANCE, file_sha256, missing_file, resolve_model, verify_provenance
from editfrontier.models.registry import (
    UNPINNED,
    FilesReference,
    HubReference,
    ModelEntry,
    entry_of,
    load_registry,
    parse_reference,
    read_lock,
    reference_of,
    segmenters_of,
    weights_root,
)

log = logging.getLogger(__name__)


def lock_file() -> Path:
    """Return the lock file, which lies beside the registry."""
    return registry.REGISTRY.with_name(registry.LOCK.name)


@dataclass(frozen=True)
class Model:
    """A model that a study uses.

    Attributes:
        reference: its reference in jobs.
        entry: its entry of the registry, None if there is none.
        users: keys of the config that name it.
        problem: why it cannot be loaded now, "" if it can.
        fetchable: whether `fetch_models` can solve the problem.
    """

    reference: str
    entry: ModelEntry | None
    users: tuple[str, ...]
    problem: str
    fetchable: bool


def models_of(config: Mapping[str, Any]) -> list[Model]:
    """Return the models of a complete config, under `models`, `evaluators` and as `sam` of a task's data set.

    A hub repository counts once for all of its folders. Nothing is downloaded, and the network is not used.
    """
    named = [
        (f"{section}.{name}", reference_of(entry))
        for section in ("models", "evaluators")
        for name, entry in config[section].items()
    ]
    named += [(f"tasks.{task}.options.sam", text) for task, text in segmenters_of(config).items()]
    users: dict[str, list[str]] = {}
    for user, text in named:
        parsed = parse_reference(text)
        whole = f"{parsed.id}@{parsed.revision}" if isinstance(parsed, HubReference) else text
        users.setdefault(whole, []).append(user)
    return [_model(reference, names) for reference, names in users.items()]


def _model(reference: str, users: Iterable[str]) -> Model:
    parsed, entry = parse_reference(reference), entry_of(reference)
    if isinstance(parsed, Path):
        problem = broken_file(parsed) if parsed.is_dir() else f"{parsed}: no such folder"
        return Model(reference, None, tuple(users), problem, False)
    if isinstance(parsed, FilesReference):
        missing = missing_file(parsed)
        problem = f"{missing}: is missing" if missing else broken_file(weights_root() / parsed.name)
        return Model(reference, entry, tuple(users), problem, True)
    if parsed.revision == UNPINNED:
        problem = f"its revision is not pinned: run {FETCH_WEIGHTS}, or set `revision` in the config"
        return Model(reference, entry, tuple(users), problem, False)
    here = _snapshot(parsed)
    whole = here is not None and _whole(here, entry)
    problem = broken_file(here) if here and whole else "is not in the cache of the hub, or not all of it"
    return Model(reference, entry, tuple(users), problem, True)


def broken_models(config: Mapping[str, Any]) -> list[str]:
    """Return, for each model of a config with a broken file, the file, its problem and the fix."""
    folders = (_folder(parse_reference(model.reference)) for model in models_of(config))
    return [problem for folder in folders if folder is not None and (problem := broken_file(folder))]


def _folder(reference: HubReference | FilesReference | Path) -> Path | None:
    """Return the folder of a model, None if the cache of the hub lacks this revision."""
    match reference:
        case HubReference():
            return _snapshot(reference)
        case FilesReference():
            return weights_root() / reference.name
    return reference


def _snapshot(hub: HubReference) -> Path | None:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{hub.id.replace('/', '--')}" / "snapshots" / hub.revision
    return folder if folder.is_dir() else None


def _whole(folder: Path, entry: ModelEntry | None) -> bool:
    """Return whether all files of a snapshot are there.

    An interrupted download leaves the same folder, so that only the lock file tells it, for models of the registry; of
    other models no file is known to be missing.
    """
    if entry is None:
        return True
    locked = read_lock(lock_file()).get(entry.name, {})
    return locked.get("revision") == folder.name and all((folder / name).is_file() for name in locked.get("files", {}))


def damaged_files(model: Model) -> list[str]:
    """Return a line for each file of a model that differs from the lock file, or from a folder's provenance.

    All files are read completely, which takes a while for large models.
    """
    parsed = parse_reference(model.reference)
    if isinstance(parsed, Path):
        try:
            if (parsed / PROVENANCE).exists():
                verify_provenance(parsed)
        except UserError as error:
            return [str(error)]
        return []
    folder = _folder(parsed)
    locked = read_lock(lock_file()).get(model.entry.name, {}) if model.entry else {}
    if folder is None or (isinstance(parsed, HubReference) and locked.get("revision") != parsed.revision):
        return []
    return [
        # The file behind the link: the hub would link a damaged file again.
        f"{(folder / name).resolve()}: {name} of {model.reference} differs from {lock_file().name}. Delete it and "
        f"run {FETCH_WEIGHTS}."
        for name, sha256 in sorted(locked.get("files", {}).items())
        if (folder / name).is_file() and file_sha256(folder / name) != sha256
    ]


# Fetching -------------------------------------------------------------------------------------------------------------


def fetch_models(config: Mapping[str, Any], pin: bool = False) -> list[str]:
    """Fetch missing models, verify their known checksums, and write checksums to the lock file.

    Args:
        config: complete config of a study.
        pin: whether to get the present revision of unpinned repositories from the hub, and write it too.

    Returns:
        The remaining problems, one line each; all other models are here.
    """
    problems, lock = [], lock_file()
    for model in models_of(config):
        name = model.entry.name if model.entry else model.reference
        if model.problem and model.entry:
            log.info("%s: %s, licence: %s", name, model.entry.title, model.entry.licence)
        try:
            if isinstance(parse_reference(model.reference), HubReference):
                _fetch_repository(model, pin, lock)
            elif model.problem and model.fetchable:
                _fetch_files(model, lock)
            elif model.problem:
                raise UserError(f"{model.problem}. Correct `path` of {', '.join(model.users)} in the config.")
            log.info("%s: is here", name)
        except UserError as error:
            problems.append(f"{name}: {error}")
    return problems


def _fetch_repository(model: Model, pin: bool, lock: Path) -> None:
    hub, entry = parse_reference(model.reference), model.entry
    assert isinstance(hub, HubReference)
    if hub.revision == UNPINNED and pin and entry:
        hub = HubReference(hub.id, _present_revision(hub.id))
        log.info("%s: pinned to revision %s", entry.name, hub.revision)
    folder = resolve_model(f"{hub.id}@{hub.revision}")
    if entry is not None:
        _note_repository(entry, hub, folder, lock)
    if problem := broken_file(folder):
        raise UserError(f"{problem}.")


def _note_repository(entry: ModelEntry, hub: HubReference, folder: Path, lock: Path) -> None:
    hashes = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".safetensors", ".json", ".txt", ".model")
    }
    if not any(name.endswith(".safetensors") for name in hashes):
        raise UserError(
            f"{hub.id} holds no safetensors at revision {hub.revision}, expected weights in this format: others may "
            "run code. Take another revision, or convert it and give `path`."
        )
    _note(lock, entry.name, {"revision": hub.revision, "files": hashes})


def _present_revision(identifier: str) -> str:
    from huggingface_hub import HfApi

    try:
        revision = HfApi().model_info(identifier).sha
    except Exception as error:  # of many unrelated types
        raise UserError(
            f"{identifier}: the hub did not return its revision ({type(error).__name__}). Check the network and, if "
            "it is gated, log in by `hf auth login`."
        ) from error
    if not revision:
        raise UserError(f"{identifier}: the hub named no revision. Set `revision` in the config.")
    return revision


def _fetch_files(model: Model, lock: Path) -> None:
    entry = model.entry
    assert entry is not None
    folder = weights_root() / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    known = read_lock(lock).get(entry.name, {}).get("files", {})
    hashes = {}
    for file in entry.files:
        path = folder / file.name
        by_hand = f"Put {file.name} ({entry.title}) there by hand."
        if not path.is_file() and file.url is None:
            raise UserError(f"{path}: is missing and cannot be downloaded by a program. {by_hand}")
        if not path.is_file() and (shared := _elsewhere(file.name, file.sha256)):
            shutil.copyfile(shared, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        elif not path.is_file():
            whole = file.sha256 if len(file.sha256) == 64 else ""
            download(str(file.url), path, sha256=whole, by_hand=by_hand)
        hashes[file.name] = file_sha256(path)
        expected = known.get(file.name) or file.sha256
        if not hashes[file.name].startswith(expected):
            path.unlink()
            raise UserError(
                f"{path}: its sha256 was {hashes[file.name]}, expected {expected}{'...' * (len(expected) < 64)}. "
                "It was removed: fetch it again, or from another place."
            )
    write_bytes(folder / "config.json", (json.dumps(dict(entry.config), indent=2) + "\n").encode())
    _note(lock, entry.name, {"files": hashes})


def _elsewhere(name: str, sha256: str) -> Path | None:
    """Return the same file of another model, by its known checksum."""
    for other in load_registry().values():
        path = weights_root() / other.name / name
        if sha256 and path.is_file() and any(file.name == name and file.sha256 == sha256 for file in other.files):
            return path
    return None


def _note(lock: Path, name: str, values: Mapping[str, Any]) -> None:
    """Write the fetched files of a model to the lock file; raise `UserError` if they differ from it."""
    content = read_lock(lock)
    old = content.get(name, {})
    if old.get("revision") == values.get("revision"):
        for file, digest in values["files"].items():
            if old.get("files", {}).get(file, digest) != digest:
                raise UserError(
                    f"{lock}: {name}: {file} has the sha256 {digest}, expected {old['files'][file]}. It was damaged or "
                    "exchanged: delete it from the cache and fetch it again."
                )
        values = {**values, "files": {**old.get("files", {}), **values["files"]}}
    if old == values:
        return
    head = (
        "# Written by `editfrontier weights`: revisions of repositories that models.yaml does not pin, and checksums.\n"
    )
    write_bytes(lock, (head + yaml.safe_dump({**content, name: dict(values)}, sort_keys=True)).encode())


def summary(models: Iterable[Model]) -> list[str]:
    """Return a line for each model, with its name, users, size, terms and problem, and a last line that counts them."""
    models, lines = list(models), []
    for model in models:
        entry = model.entry
        name = entry.name if entry else model.reference
        about = ""
        if entry:
            terms = [entry.licence]
            terms += ["non-commercial"] if entry.non_commercial is True else []
            terms += ["gated: accept its licence first"] if entry.gated is True else []
            about = f", {entry.download_gb:g} GB, {'; '.join(terms)}"
        lines.append(f"{name} ({', '.join(model.users)}){about}: {model.problem or 'is here'}")
    absent = [parse_reference(model.reference) for model in models if model.problem]
    if not absent:
        return [*lines, f"All {len(models)} models are here."]
    local = all(isinstance(reference, Path) for reference in absent)
    fix = "Correct `path` in the config." if local else f"Run {FETCH_WEIGHTS} where the network can be reached."
    return [*lines, f"{len(absent)} of {len(models)} models cannot be used yet. {fix}"]
