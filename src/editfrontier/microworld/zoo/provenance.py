"""What a shipped model says about itself: provenance.json beside its files, and saving in half precision."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.models.loading import verify_provenance

if TYPE_CHECKING:
    from torch import nn

    from editfrontier.microworld.zoo.loop import TrainResult

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "open_clip_torch",
    "timm",
    "lpips",
    "pyiqa",
    "safetensors",
    "numpy",
)
FILE_NAME = "provenance.json"


def sha256_of(path: Path) -> str:
    """Hex sha256 of one file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` except the provenance itself, by relative POSIX path, sorted."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE_NAME)
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in files}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a training run depends on; those not installed are left out."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def code_hash() -> str:
    """One sha256 over the sources of the zoo and of the micro world, which made the model."""
    root = Path(__file__).resolve().parents[1]  # of the micro world
    digest = hashlib.sha256()
    for folder in (root / "zoo", root):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def write_provenance(
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    data_seed: int,
    result: TrainResult,
    scores: Mapping[str, float],
    **extra: Any,
) -> Path:
    """Write provenance.json into the model's folder, after all its other files are in place.

    config: everything that decided the training. scores: held-out scores, {} if not yet computed (see `update_scores`).
    extra: further entries, for example the model that this one was fine-tuned from.
    """
    record = {
        "name": name,
        "config": dict(config),
        "data_seed": data_seed,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "device": result.device,
        "scores": dict(scores),
        "code": code_hash(),
        "versions": library_versions(),
        "final_loss": round(result.losses[-1][1], 6) if result.losses else None,
        **extra,
        "files": file_hashes(folder),
    }
    return _write(folder, record)


def update_scores(folder: Path, scores: Mapping[str, float], **extra: Any) -> Path:
    """Merge scores into an existing provenance.json; the hashes of the files are computed anew."""
    record = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    record["scores"] = {**record["scores"], **scores}
    record.update(extra)
    record["files"] = file_hashes(folder)
    return _write(folder, record)


def install(source: Path, target: Path, scores: Mapping[str, float]) -> None:
    """Replace the model folder `target` by a copy of `source`, with these scores merged into its provenance.

    Raises UserError if `source` does not match its own provenance.
    """
    verify_provenance(source)
    fresh, old = target.with_name(target.name + ".partial"), target.with_name(target.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, fresh, symlinks=True)  # a shared autoencoder stays shared
    if scores:
        update_scores(fresh, scores)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    shutil.rmtree(old, ignore_errors=True)


def _write(folder: Path, record: Mapping[str, Any]) -> Path:
    path = folder / FILE_NAME
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


@contextlib.contextmanager
def half_precision(model: nn.Module) -> Iterator[nn.Module]:
    """The model in fp16 within the block, and back in fp32 with its former weights afterwards."""
    import torch

    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.half()
    try:
        yield model
    finally:
        model.to(torch.float32)
        model.load_state_dict(kept)
