"""Unreadable files of a model folder: truncated, a pointer of Git LFS, without all shards.

Libraries report such files as "header too large", or name no file. Of weights only the first bytes and the sizes are
read, so that a folder of many gigabytes takes a moment.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from editfrontier.base.errors import FETCH_WEIGHTS, UserError
from editfrontier.models.registry import weights_root

LFS = b"version https://git-lfs.github.com/spec/"
REMEDY = "Restore it with `git checkout -- {folder}`, or train it again with `snakemake zoo`"
"""The fix for a folder of the repository."""

PROVENANCE = "provenance.json"
_INDEX = ".safetensors.index.json"
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")
_LARGEST_HEADER = 100_000_000
"""Bytes of the header of safetensors; the format allows no more."""


@contextmanager
def named_if_broken(folder: Path) -> Iterator[None]:
    """Name a broken file of a model folder if the block, which reads it, fails.

    Raises:
        UserError: the block failed and a file is broken; otherwise the original exception.
    """
    try:
        yield
    except Exception as error:  # libraries raise many unrelated types
        if problem := broken_file(folder):
            raise UserError(f"{problem}.") from error
        raise


def broken_file(folder: Path) -> str:
    """Return the first broken file of a model folder, its problem and the fix, or "" if none is broken.

    A missing folder and missing files do not count, except shards that an index names.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        if problem := file_problem(path) or _shard_problem(path):
            return f"{path}: {problem}. {_remedy(path, folder)}"
    return ""


def file_problem(path: Path) -> str:
    """Return the problem of a file, from its first bytes and its size; "" if there is none."""
    if not path.exists():
        return "is a link to a file that is gone"
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(LFS))
    if head == LFS:
        return "is a pointer of Git LFS, expected the file that it stands for"
    match path.suffix:
        case ".safetensors":
            return _safetensors_problem(path, size)
        case ".json":
            return _json_problem(path)
        case ".pth" | ".pt" | ".bin" | ".ckpt" if not size:
            return "is empty, expected weights"
        case ".pth" | ".pt" | ".bin" | ".ckpt" if head.startswith(b"PK") and not zipfile.is_zipfile(path):
            return f"is cut off after {size} bytes, expected weights"
    return ""


def _safetensors_problem(path: Path, size: int) -> str:
    """Check the format: 8 bytes with the length of a header, the header (JSON, the place of each tensor), tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > _LARGEST_HEADER:
            return f"holds no safetensors ({size} bytes), expected weights"
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            cut = size < 8 + length
            return f"is cut off after {size} bytes" if cut else "holds no safetensors: its header cannot be read"
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        return f"is {'cut off' if size < expected else 'too long'}: it has {size} bytes, expected {expected}"
    return ""


def _json_problem(path: Path) -> str:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "is cut off or damaged, expected JSON"
    return ""


def _shard_problem(path: Path) -> str:
    """Return the shards that an index lacks, or that a shard has no index."""
    if path.name.endswith(_INDEX):
        content = json.loads(path.read_bytes())
        names = set((content.get("weight_map") or {}).values()) if isinstance(content, dict) else set()
        absent = sorted(str(name) for name in names if not (path.parent / str(name)).exists())
        return f"{len(absent)} of its {len(names)} shards are missing: {', '.join(absent)}" if absent else ""
    if (shard := _SHARD.fullmatch(path.name)) and not any(path.parent.glob("*.safetensors.index*.json")):
        return f"is a shard without its index, expected {shard[1]}{_INDEX} beside it"
    return ""


def _remedy(path: Path, folder: Path) -> str:
    """Return how to get a file again, which depends on the origin of the folder."""
    if (folder / PROVENANCE).exists():
        return REMEDY.format(folder=folder)
    if "snapshots" in folder.parts:  # of the hub's cache, whose snapshots hold links to the kept files
        real = path.resolve()
        delete = f"Delete {real} and run" if real != path and real.exists() else "Run"
        return f"{delete} {FETCH_WEIGHTS} where the hub can be reached"
    if weights_root().resolve() in path.resolve().parents:
        return f"Delete it and run {FETCH_WEIGHTS} where the network can be reached"
    return f"Copy the whole model to {folder} again (`git lfs pull` fetches what pointers stand for)"
