"""Pretrained models by name: their entries (config/models.yaml), and the references by which jobs name models.

A config names a model as `{ registry: name }`, `{ id: ..., revision: ... }` or `{ path: folder }`. Jobs get a
reference, one text that names the weights exactly and can be hashed without them:

    folder                      a local folder
    owner/name@revision         a repository of the hub at a commit, with ":folder" for one of its folders
    weights:name@digest         single files that `editfrontier weights` fetches to the folder `weights_root() / name`

An unknown revision is "unpinned"; then nothing can be fetched or loaded, but a config can be checked and planned. Light
at import: Snakemake builds its graph with this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from editfrontier.base.errors import FETCH_WEIGHTS, UserError, did_you_mean
from editfrontier.base.places import CONFIG
from editfrontier.base.yaml_files import read_yaml

REGISTRY, SCHEMA, LOCK = CONFIG / "models.yaml", CONFIG / "models.schema.yaml", CONFIG / "models.lock.yaml"
UNPINNED = "unpinned"
ALLOW = ("*.json", "*.txt", "*.safetensors", "*.model")
"""Fetched files of a repository: configs, tokenizers, safetensors; no code and no pickles."""

IGNORE = ("*.fp16.*", "*non_ema*", "safety_checker/*")
"""Copies in half precision, weights without averaging, and the safety checker, which would blacken images."""

SEGMENTER = "segmenter"
"""Kind of the models that make automatic masks (`datasets.sam`)."""

_HUB = re.compile(rf"(?P<id>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{{40}}|{UNPINNED})(:(?P<subfolder>[\w./-]+))?")
_FILES = re.compile(r"weights:(?P<name>[a-z][a-z0-9_]*)@(?P<digest>[0-9a-f]{12})")


@dataclass(frozen=True)
class ModelFile:
    """A single file. url: None = a person must fetch it. sha256: all or the first digits of its checksum."""

    name: str
    url: str | None
    sha256: str = ""


@dataclass(frozen=True)
class ModelEntry:
    """An entry of the registry; config/models.schema.yaml describes its fields."""

    name: str
    title: str
    kind: str
    licence: str
    non_commercial: bool | str
    gated: bool | str
    download_gb: float
    gpu_gb: float
    id: str = ""
    revision: str | None = None
    files: tuple[ModelFile, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    allow: tuple[str, ...] = ALLOW
    ignore: tuple[str, ...] = IGNORE
    alternates: tuple[str, ...] = ()
    size: int | None = None
    dtype: str = "float32"
    note: str = ""

    @property
    def reference(self) -> str:
        """The reference of the model in jobs."""
        if self.id:
            return f"{self.id}@{self.revision or UNPINNED}"
        content = [[file.name, file.sha256] for file in self.files]
        digest = hashlib.sha256(json.dumps([content, dict(self.config)], sort_keys=True).encode()).hexdigest()
        return f"weights:{self.name}@{digest[:12]}"


@dataclass(frozen=True)
class HubReference:
    """A repository of the hub. revision: 40 hex digits, or `UNPINNED`. subfolder: "" = all of it."""

    id: str
    revision: str
    subfolder: str = ""


@dataclass(frozen=True)
class FilesReference:
    """Single files, by the name of their entry and a digest of the entry."""

    name: str
    digest: str


def parse_reference(text: str | Path) -> HubReference | FilesReference | Path:
    """Parse the reference of a model; a text that names neither the hub nor single files is a folder."""
    if match := _HUB.fullmatch(str(text)):
        return HubReference(match["id"], match["revision"], match["subfolder"] or "")
    if match := _FILES.fullmatch(str(text)):
        return FilesReference(match["name"], match["digest"])
    return Path(text)


def weights_root() -> Path:
    """Return the folder of fetched single files: EDITFRONTIER_WEIGHTS, else `weights`."""
    return Path(os.environ.get("EDITFRONTIER_WEIGHTS") or "weights")


# The registry ---------------------------------------------------------------------------------------------------------


def load_registry(path: Path | None = None) -> dict[str, ModelEntry]:
    """Read the registry; missing revisions come from the lock file beside it, if there is one.

    Args:
        path: the registry; None = `REGISTRY`.

    Raises:
        UserError: a file is missing or malformed; the message names file, entry and key.
    """
    path = path or REGISTRY
    lock = path.with_name(LOCK.name)
    stamps = tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in (path, lock))
    return _read_registry(path, lock, stamps)


@cache
def _read_registry(path: Path, lock: Path, stamps: tuple[int, ...]) -> dict[str, ModelEntry]:
    """Read both files; `stamps` are their times, so that changed files are read again."""
    content = read_yaml(path, "file of models")
    _check(path, content)
    pins = read_lock(lock)
    for name in pins:
        if name not in content:
            raise UserError(f"{lock}: '{name}' is no model of {path}.{did_you_mean(name, content)} Remove it.")
    known = {item.name for item in fields(ModelEntry)}
    entries = {}
    for name, values in content.items():
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        if "files" in values:
            values["files"] = tuple(ModelFile(**file) for file in values["files"])
        if values.get("id") and not values.get("revision"):
            values["revision"] = pins.get(name, {}).get("revision")
        entries[name] = ModelEntry(name=name, **{key: value for key, value in values.items() if key in known})
    return entries


def _check(path: Path, content: Mapping[str, Any]) -> None:
    errors = sorted(Draft202012Validator(read_yaml(SCHEMA)).iter_errors(content), key=lambda e: -len(e.absolute_path))
    if errors:
        where = ".".join(str(part) for part in errors[0].absolute_path) or "(top level)"
        raise UserError(f"{path}: key '{where}': {errors[0].message}. Correct the entry.")


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Return the lock file: model -> {revision, files: {name: sha256}}; empty if there is no such file."""
    if not path.is_file():
        return {}
    content = read_yaml(path, "file of models")
    for name, values in content.items():
        revision = values.get("revision") if isinstance(values, dict) else None
        if not isinstance(values, dict) or (revision is not None and not re.fullmatch(r"[0-9a-f]{40}", str(revision))):
            raise UserError(
                f"{path}: key '{name}': {values!r}, expected `revision` of 40 hex digits and `files`. "
                f"Delete the entry and run {FETCH_WEIGHTS}."
            )
    return content


def get_entry(name: str) -> ModelEntry:
    """Return an entry of the registry; raise `UserError` for an unknown name."""
    registry = load_registry()
    if name not in registry:
        near = did_you_mean(name, registry)
        raise UserError(
            f"'{name}' is no model of {REGISTRY.name}.{near} Correct the name, or add it to config/models.yaml."
        )
    return registry[name]


def entry_of(reference: str | Path) -> ModelEntry | None:
    """Return the entry of the registry for a reference of any revision; None if there is none."""
    parsed = parse_reference(reference)
    if isinstance(parsed, FilesReference):
        return load_registry().get(parsed.name)
    if isinstance(parsed, HubReference):
        return next((entry for entry in load_registry().values() if entry.id == parsed.id), None)
    return None


# Entries of a config --------------------------------------------------------------------------------------------------


def entry_problem(entry: Mapping[str, Any], kinds: Iterable[str] | None = None) -> str:
    """Return the problem of an entry of a config's `models` or `evaluators`, "" if there is none.

    Args:
        entry: the mapping, whose keys and types the schema has checked.
        kinds: allowed kinds of the registry; None = all.
    """
    sources = [key for key in ("registry", "id", "path") if key in entry]
    if len(sources) != 1:
        keys = " and ".join(f"`{key}`" for key in sources) or "none of them"
        return f"has {keys}, expected one of `registry`, `id` with `revision`, and `path`. Give one of them."
    if "id" in entry and "revision" not in entry:
        return "has an `id` without a `revision`, expected the 40 hex digits of a commit. Add it."
    if "path" in entry and "revision" in entry:
        return "has a `revision`, but a folder has none. Remove it."
    if "registry" not in entry:
        return ""
    try:
        known = get_entry(entry["registry"])
    except UserError as error:
        return str(error)
    if "revision" in entry and not known.id:
        return f"has a `revision`, but the single files of '{known.name}' have none. Remove it."
    if kinds is not None and known.kind not in (allowed := list(kinds)):
        return f"'{known.name}' is of kind {known.kind}, expected {' or '.join(allowed)}. Name another model."
    return ""


def reference_of(entry: Mapping[str, Any]) -> str:
    """Return the reference of the model of a config's entry, which has no `entry_problem`."""
    if "path" in entry:
        folder = Path(entry["path"], entry.get("subfolder", ""))
        return folder.as_posix()
    if "id" in entry:
        text = f"{entry['id']}@{entry['revision']}"
    else:
        known = get_entry(entry["registry"])
        text = f"{known.id}@{entry['revision']}" if "revision" in entry else known.reference
    return f"{text}:{entry['subfolder']}" if entry.get("subfolder") else text


def segmenter_reference(text: str) -> str:
    """Return the reference of the segmenter of a data set's option `sam`: a name of the registry, a reference, or a
    folder; a name of the registry wins over a folder without a slash."""
    return load_registry()[text].reference if text in load_registry() else text


def segmenter_problem(text: str) -> str:
    """Return the problem of a data set's option `sam`, "" if there is none."""
    registry = load_registry()
    allowed = [name for name, entry in registry.items() if entry.kind == SEGMENTER]
    if text in registry and text not in allowed:
        return f"'{text}' is of kind {registry[text].kind}, expected one of {', '.join(allowed)}. Name another model."
    if text not in registry and re.fullmatch(r"[a-z][a-z0-9_]*", text) and not Path(text).is_dir():
        near = did_you_mean(text, allowed)
        return f"'{text}' is neither a folder nor a model of {REGISTRY.name}.{near} Correct the name."
    return ""


def segmenters_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return task -> reference of its segmenter, of the tasks whose options name one."""
    named = {task: entry.get("options", {}).get("sam") for task, entry in config.get("tasks", {}).items()}
    return {task: segmenter_reference(str(text)) for task, text in named.items() if text}


def size_of(entry: Mapping[str, Any]) -> int | None:
    """Return the side in pixels of the training images of the model of a config's entry, None if it is unknown."""
    if "size" in entry:
        return int(entry["size"])
    return get_entry(entry["registry"]).size if "registry" in entry else None


def reference_hash(reference: HubReference | FilesReference) -> str:
    """Return a sha256 for exactly named weights, without reading them."""
    return hashlib.sha256(repr(reference).encode()).hexdigest()


def weights_hash(model: str | Path) -> str:
    """Return 12 hexadecimal digits for a model's weights.

    Args:
        model: a reference, whose weights need not be here; or a folder, hashed by its provenance.json, which holds
            checksums, or else by names, sizes and times of its files.

    Raises:
        UserError: the folder is empty.
    """
    reference = parse_reference(model)
    if not isinstance(reference, Path):
        return reference_hash(reference)[:12]
    file = reference / "provenance.json"
    if file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    files = sorted(path for path in reference.rglob("*.*") if path.is_file()) if reference.is_dir() else []
    if not files:
        raise UserError(
            f"{file}: no such file, expected a model with its provenance, or a folder with a model of your own. "
            f"Restore it with `git checkout -- {reference}`, train it with `snakemake zoo`, or correct `path`."
        )
    stats = [(path.relative_to(reference).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]
