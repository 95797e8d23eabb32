"""Missing or truncated files of a results folder, found by names, sizes and last bytes.

Snakemake knows its declared outputs by name and time. Images are content of a table (the cases of a task, the record of
a shard), and a list beside the table, `<table>.contents`, names them with their sizes. Snakemake reads these lists
while it builds its graph, so that this module reads no image and imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from editfrontier.base.files import write_bytes

SUFFIX = ".contents"
_TAIL = 64  # bytes at the end of a file that are compared
_ENDS = {
    ".parquet": b"PAR1",
    ".png": b"IEND\xaeB`\x82",
    ".svg": b"</svg>",
    ".pdf": b"%%EOF",
    ".html": b"</html>",
    ".json": b"}",
    ".yaml": b"\n...",
}
"""Ending -> last bytes of a whole file, before white space."""

_LINES = {".csv", ".md", ".tex"}
_ZIP_END, _ZIP_END_SIZE = b"PK\x05\x06", 22

Listing = dict[str, dict[str, int]]
"""Folder -> file name -> size in bytes; a listed folder is not read again."""


def write_contents(table: Path, files: Iterable[Path]) -> None:
    """Write the list of the files of a table, with their sizes, beside it; missing files are left out."""
    lines = [
        f"{file.stat().st_size}\t{Path(os.path.relpath(file, table.parent)).as_posix()}\n"
        for file in dict.fromkeys(files)
        if file.is_file()
    ]
    write_bytes(table.with_suffix(SUFFIX), "".join(lines).encode())


def damage(output: Path, listed: Listing) -> str:
    """Return the damage of a file of results or of the files in its list, "" if none is visible.

    Args:
        output: a declared output; a missing one is not damaged.
        listed: folders that were read before; new ones are added.
    """
    try:
        if not ends_whole(output):
            return "it is cut short or damaged"
        lines = output.with_suffix(SUFFIX).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"it, or the list of its files, cannot be read ({error})"
    for line in lines:
        size, _, name = line.partition("\t")
        folder, _, file = str(output.parent / name).rpartition("/")
        actual = _sizes(folder, listed).get(file)
        if actual is None:
            return f"{name} is missing"
        if str(actual) != size:
            return f"{name} has {actual} bytes, expected {size}"
    return ""


def ends_whole(path: Path) -> bool:
    """Return whether a file ends like whole files of its kind."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    if path.suffix in (".npz", ".zip"):
        return tail[-_ZIP_END_SIZE:].startswith(_ZIP_END)
    if path.suffix in _LINES:
        return tail.endswith(b"\n")
    end = _ENDS.get(path.suffix, b"")
    return bool(tail) and (tail if path.suffix in (".parquet", ".png") else tail.rstrip()).endswith(end)


def _sizes(folder: str, listed: Listing) -> dict[str, int]:
    folder = os.path.normpath(folder)
    if folder not in listed:
        try:
            with os.scandir(folder) as entries:
                listed[folder] = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except OSError:
            listed[folder] = {}
    return listed[folder]
