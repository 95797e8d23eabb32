"""Check a results folder against itself: every file is readable, every image is as its record describes it."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.integrity.contents import Listing, damage, ends_whole
from editfrontier.base.parquet import read_parquet


@dataclass(frozen=True)
class Verified:
    """What was looked at, kind -> number of files, and a line for each file that is missing or not as described."""

    counts: Counter[str]
    problems: tuple[str, ...]


def verify_results(root: Path) -> Verified:
    """Read every file of a results folder and compare it with the checksums that others hold of it.

    The record of a shard holds the sha256 of its images and of the case table, the scores hold the sha256 of the
    records, an inversion its own, tables and archives some of their parts. Of other files only the end is checked.

    Raises:
        UserError: there is no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder, expected the results of a study. Correct the path, or run the study.")
    counts: Counter[str] = Counter()
    problems: list[str] = []
    listed: Listing = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")):
        kind, faults = _verify(path, root, listed)
        if kind:
            counts[kind] += 1
        problems += [f"{path}: {problem}" for problem in faults]
    return Verified(counts, tuple(problems))


def _verify(path: Path, root: Path, listed: Listing) -> tuple[str, list[str]]:
    """Return the kind of a file, "" for none, and its problem."""
    place = path.relative_to(root).parts[0]
    if place in ("logs", "benchmarks") or "images" in path.relative_to(root).parts[:-1]:
        return "", []  # images are looked at with the table that they belong to
    match path.suffix:
        case ".parquet":
            return "tables", list(_table(path, root, listed))
        case ".npz" | ".zip":
            return "archives", _archive(path)
        case ".safetensors" if place == "inversions":
            from editfrontier.inversion.cache import is_whole

            return "inversions", [] if is_whole(path) else ["does not match its checksum. Delete it and run again."]
        case ".json" | ".png" | ".svg" | ".pdf" | ".html" | ".csv" | ".md" | ".tex" | ".yaml":
            return "other files", [] if ends_whole(path) else ["is cut short or damaged. Delete it and run again."]
    return "", []


def _archive(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        return [f"cannot be read ({error}). Delete it and run again."]
    return [f"{broken} does not match its checksum. Delete the file and run again."] if broken else []


def _table(path: Path, root: Path, listed: Listing) -> Iterator[str]:
    try:
        frame, provenance = read_parquet(path, "Run again.")
    except UserError as error:
        yield str(error).removeprefix(f"{path}: ")
        return
    if problem := damage(path, listed):
        yield f"{problem}. Run again: it is made anew."
    match path.relative_to(root).parts[:-1]:
        case ("edits", task, _):
            yield from _record(path, frame)
            yield from _described(root / "data" / task / "cases.parquet", provenance.get("cases_sha256"))
        case ("scores", task):
            for name, sha256 in provenance.get("records", {}).items():
                yield from _described(root / "edits" / task / path.stem / name, sha256)


def _record(path: Path, frame: Any) -> Iterator[str]:
    for image, sha256 in zip(frame["image"], frame["sha256"], strict=True):
        if image and sha256 and _sha256(path.parent / image) != sha256:
            yield f"{path.parent / image} is missing or differs from its record. Delete {path} and run again."


def _described(file: Path, sha256: str | None) -> Iterator[str]:
    if sha256 and _sha256(file) != sha256:
        yield f"was made from another {file} than the present one. Delete it and run again."


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def summary(root: Path, verified: Verified) -> str:
    """Return what `verify-results` prints."""
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(verified.counts.items())) or "nothing"
    end = f"{len(verified.problems)} problems" if verified.problems else "all as described"
    return "\n".join([*verified.problems, f"{root}: {counts}: {end}."])
