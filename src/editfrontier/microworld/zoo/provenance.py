"""Folders of shipped models: their provenance.json, and saving in half precision and in the layout of diffusers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from editfrontier.base.files import write_bytes
from editfrontier.base.places import LIBRARY
from editfrontier.microworld.zoo.tokenizer import save_tokenizer
from editfrontier.models.files import PROVENANCE
from editfrontier.models.loading import file_hashes, verify_provenance

if TYPE_CHECKING:
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


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a training run depends on, as far as they are installed."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def code_hash() -> str:
    """Return one sha256 over the sources of the zoo and of the micro world."""
    root = LIBRARY / "microworld"
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
    """Write provenance.json into the model's folder, after all its other files.

    Args:
        folder: folder of the model.
        name: name of the model.
        config: all settings of the training.
        data_seed: seed of the training data.
        result: result of the training.
        scores: held-out scores, {} if not yet computed (see `update_scores`).
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
    """Merge scores into an existing provenance.json, and hash the files again."""
    record = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    record["scores"] = {**record["scores"], **scores}
    record.update(extra)
    record["files"] = file_hashes(folder)
    return _write(folder, record)


def install(source: Path, target: Path, scores: Mapping[str, float]) -> None:
    """Replace the model folder `target` by a copy of `source`, with these scores merged into its provenance.

    Raises:
        UserError: `source` does not match its own provenance.
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
    path = folder / PROVENANCE
    write_bytes(path, (json.dumps(record, indent=2) + "\n").encode())
    return path


@contextlib.contextmanager
def half_precision(model: nn.Module) -> Iterator[nn.Module]:
    """Give the model fp16 weights within the block, and its former fp32 weights afterwards."""
    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.half()
    try:
        yield model
    finally:
        model.to(torch.float32)
        model.load_state_dict(kept)


def save_pipeline_folder(
    folder: Path, pipeline: str, parts: Mapping[str, Any], absent: Sequence[str] = (), **entries: Any
) -> None:
    """Write a folder that diffusers' `from_pretrained` loads: one folder a part, fp16 safetensors, model_index.json.

    Args:
        folder: the folder.
        pipeline: class of the pipeline, as the index names it.
        parts: networks, tokenizers and scheduler by name.
        absent: parts that the pipeline does without.
        entries: further entries of the index.
    """
    from diffusers import __version__

    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {**{name: [None, None] for name in absent}, **entries}
    for name, part in parts.items():
        kind = type(part).__name__.replace("T5Tokenizer", "T5TokenizerFast")  # the name in published indices
        index[name] = [type(part).__module__.split(".")[0], kind]
        if isinstance(part, nn.Module):
            with half_precision(part):
                part.save_pretrained(str(folder / name), safe_serialization=True)  # type: ignore[operator]
        elif kind == "CLIPTokenizer":
            save_tokenizer(part, folder / name)
        else:
            part.save_pretrained(str(folder / name))
    head = {"_class_name": pipeline, "_diffusers_version": __version__}
    content = json.dumps(head | dict(sorted(index.items())), indent=2) + "\n"
    (folder / "model_index.json").write_text(content, encoding="utf-8")
