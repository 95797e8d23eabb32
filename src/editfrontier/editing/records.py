"""What is known of an edit job: its spec, a row for each case, the journal that it resumes from, its provenance."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.files import write_bytes
from editfrontier.base.integrity.contents import SUFFIX, write_contents
from editfrontier.base.parquet import write_parquet
from editfrontier.base.places import LIBRARY
from editfrontier.data.cases import encode_png

CARRIES = ("png", "latents")


@dataclass(frozen=True)
class EditSpec:
    """Everything that decides the images of a variant, apart from the cases and the weights.

    Attributes:
        params: hyperparameters that differ from the editor's defaults.
        variant: name of the variant; it enters the seed of each case.
        model: folder of the pipeline or a text of `models.registry`, None if the editor needs no model.
        dtype: precision of the denoiser: float32, bfloat16 or float16.
        code: hash of the code that runs; it only makes the specs of changed code differ.
        carry: what a step of a chain hands to the next one: its image as "png", or the "latents" that it was decoded
            from.
        size: shorter side in pixels of the images that the editor gets, None for the images as they are.
    """

    editor: str
    variant: str
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    seed: int = 0
    dtype: str = "float32"
    code: str = ""
    carry: str = "png"
    size: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> EditSpec:
        """Make a spec from JSON values; raise `UserError` that names an unknown or a missing key."""
        known = {item.name for item in fields(cls)}
        for key in values:
            if key not in known:
                raise UserError(f"spec: there is no key '{key}'.{did_you_mean(key, known)} Correct the spec.")
        for key in ("editor", "variant"):
            if not isinstance(values.get(key), str):
                raise UserError(f"spec: key '{key}' is missing, expected a name. Add it to the spec.")
        if values.get("carry", "png") not in CARRIES:
            near = did_you_mean(str(values["carry"]), CARRIES)
            raise UserError(f"spec: carry is {values['carry']!r}, expected png or latents.{near} Correct the spec.")
        return cls(**values)


def key(spec: EditSpec, weights: str) -> str:
    """Return 16 hexadecimal digits that name what a spec makes with these weights (a sha256)."""
    # Fields at their defaults are left out, so that a new field changes no name.
    values = {name: value for name, value in asdict(spec).items() if (name, value) != ("size", None)}
    return hashlib.sha256(json.dumps([values, weights], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CaseRecord:
    """What became of a case; a row of the record."""

    case_id: str
    status: str  # "ok" | "failed" | "not run", of a step whose chain has no image to go on from
    reason: str = ""
    image: str = ""  # relative to the folder of the record
    sha256: str = ""  # of the PNG file
    seconds: float = 0.0  # of its batch, shared out among the places of the batch
    forwards: int = 0  # samples that went through the denoiser for this case
    seed: int = 0
    measures: str = ""  # JSON object of what the editor measured, "" for nothing


def write_image(path: Path, pixels: npt.NDArray[np.uint8], record: Path) -> tuple[str, str]:
    """Write an image [H, W, 3] as PNG, atomically; return its path relative to the record, and the file's sha256."""
    content = encode_png(pixels)
    write_bytes(path, content)
    return _relative(path, record), hashlib.sha256(content).hexdigest()


def journal_line(row: CaseRecord, inputs: str, latents: str = "") -> str:
    """Return the line by which a later run knows that a case is finished.

    Args:
        latents: sha256 of the latents next to its image, "" for none.
    """
    return json.dumps({"inputs": inputs, **asdict(row)} | ({"latents": latents} if latents else {})) + "\n"


def open_journal(path: Path) -> IO[str]:
    """Open a journal to add lines, on a line of their own even where a kill cut the last one short."""
    lines = path.open("a", encoding="utf-8")
    if lines.tell() and not path.read_bytes().endswith(b"\n"):
        lines.write("\n")
    return lines


def latents_path(folder: Path, case_id: str) -> Path:
    """Return the file of a case's latents, which lies next to its image."""
    return folder / f"{case_id}.latents.safetensors"


def _relative(path: Path, record: Path) -> str:
    return Path(os.path.relpath(path, record.parent)).as_posix()


def read_journals(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what earlier runs finished, of any number of shards; a line that a kill cut short is passed over."""
    finished: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("finished-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                finished[entry["case_id"]] = entry
            except (ValueError, TypeError, KeyError):
                continue
    return finished


def taken_over(
    entry: Mapping[str, Any] | None, case_id: str, inputs: str, folder: Path, record: Path
) -> CaseRecord | None:
    """Return the row of a finished case if its inputs and its file are still the same."""
    if entry is None or entry.get("inputs") != inputs:
        return None
    path = folder / f"{case_id}.png"
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            return None
        latents = latents_path(folder, case_id)
        if "latents" in entry and hashlib.sha256(latents.read_bytes()).hexdigest() != entry["latents"]:
            return None
        values = {item.name: entry[item.name] for item in fields(CaseRecord)}
    except (OSError, KeyError):
        return None
    return CaseRecord(**{**values, "image": _relative(path, record)})


def write_record(path: Path, rows: Sequence[CaseRecord], about: Mapping[str, Any]) -> None:
    """Write the record of a shard, atomically, with its provenance in the metadata, and the list of its files."""
    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    schema = pa.schema([(item.name, types[str(item.type)]) for item in fields(CaseRecord)])
    images = [path.parent / row.image for row in rows if row.image]
    latents = [latents_path(image.parent, image.stem) for image in images]
    write_contents(path, (*images, *latents))
    write_parquet(path, pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), about)


def remove_other_shards(record: Path, shards: int) -> None:
    """Remove the other records of more shards than there are now: their cases would count twice."""
    for other in record.parent.glob("shard-*.parquet"):
        if other != record and int(other.stem.removeprefix("shard-")) >= shards:
            other.unlink()
            other.with_suffix(SUFFIX).unlink(missing_ok=True)


def provenance(
    spec: EditSpec,
    params: Any,
    weights: str,
    device: torch.device,
    batch_size: int,
    shard: int,
    shards: int,
    cases_path: Path,
) -> dict[str, Any]:
    """Return what made the images: spec, all hyperparameters, versions, revision, weights and device."""
    return {
        "spec": asdict(spec),
        "params": asdict(params),
        "weights_sha256": weights,
        "cases_sha256": hashlib.sha256(cases_path.read_bytes()).hexdigest(),
        "shard": shard,
        "shards": shards,
        "batch_size": batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy", "pillow")},
        "git": _git_revision(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git_revision() -> str:
    """Return the commit of the repository that this code lies in, with "-dirty" if it was changed, "" if unknown."""
    command = ["git", "-C", str(LIBRARY), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
