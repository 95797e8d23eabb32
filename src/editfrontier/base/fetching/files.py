"""The raw files of data sets: their places, and checks that they are whole.

Uses the standard library alone, so that a plan of a run can check for missing files without heavy imports.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from editfrontier.base.errors import UserError, file_that_is_meant
from editfrontier.base.fetching.archives import unpack
from editfrontier.base.fetching.progress import Progress, reporter

log = logging.getLogger(__name__)

VARIABLE = "EDITFRONTIER_DATA"
PART = ".part"
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ExpectedFile:
    """A raw file or folder that a data set is read from.

    Attributes:
        path: its path, relative to the folder of raw files; a folder ends with "/".
        what: its content in a few words.
        archive: name of its archive, beside which it is unpacked; "" = it is published as it is.
        inside: folder of the archive that corresponds to the folder of raw files, "" = its root.
        url: address where a program can download the archive, or the file; "" = only by hand.
        size: bytes of the archive, or of the file; 0 = not known.
        md5, sha256: checksums of the archive, or of the file, lower-case hexadecimal digits; "" = not known.
        optional: whether cases can be built without it.
    """

    path: str
    what: str
    archive: str = ""
    inside: str = ""
    url: str = ""
    size: int = 0
    md5: str = ""
    sha256: str = ""
    optional: bool = False

    @property
    def download(self) -> str:
        """Name of the downloaded file in the folder of raw files."""
        return self.archive or self.path


def data_folder(name: str, root: str = "") -> Path:
    """Return the folder of the raw files of a data set.

    Args:
        name: name of the data set.
        root: the option `root`; "" = `$EDITFRONTIER_DATA/<name>`, or `data/<name>` if the variable is not set.
    """
    return Path(root).expanduser() if root else Path(os.environ.get(VARIABLE) or "data").expanduser() / name


# --- finding ---------------------------------------------------------------------------------------------------------


def present(folder: Path, file: ExpectedFile) -> bool:
    """Return whether a file is there, unpacked or in its archive, without opening it."""
    return _is_there(folder, file) or bool(file.archive and (folder / file.archive).is_file())


def missing(folder: Path, files: Sequence[ExpectedFile]) -> list[ExpectedFile]:
    """Return the required files that are not there, unpacked or in an archive."""
    return [file for file in files if not file.optional and not present(folder, file)]


def complete(folder: Path, files: Sequence[ExpectedFile]) -> bool:
    """Return whether cases can be built: no file is missing; if all are optional, the folder is not empty."""
    if all(file.optional for file in files):
        return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())
    return not missing(folder, files)


def find_file(name: str, folder: Path, file: ExpectedFile, by_hand: str) -> Path:
    """Return the path of a raw file or folder; unpack its archive if only that is there.

    Args:
        name: name of the data set in messages.
        folder: folder of the raw files.
        file: the file.
        by_hand: what a person must do to get it.

    Raises:
        UserError: it is not there (the message names the right place, and a copy one folder too deep), or its archive
            is damaged.
    """
    if _is_there(folder, file):
        return _checked(folder / file.path, file)
    archive = folder / file.archive
    if file.archive and archive.is_file():
        verify_file(archive, size=file.size, md5=file.md5, sha256=file.sha256)
        unpack(archive, folder, inside=file.inside)
        if _is_there(folder, file):
            return _checked(folder / file.path, file)
        raise UserError(
            f"{archive}: holds no '{file.path}', expected {file.what}. It is another archive than the one of '{name}': "
            f"get that one. {by_hand}"
        )
    raise UserError(_missing_message(name, folder, file, by_hand))


def _is_there(folder: Path, file: ExpectedFile) -> bool:
    """Return whether it is there; an empty folder, which a user may have prepared, does not count."""
    place = folder / file.path
    if not file.path.endswith("/"):
        return place.is_file()
    if not place.is_dir():
        return False
    with os.scandir(place) as entries:
        return next(entries, None) is not None


def _checked(place: Path, file: ExpectedFile) -> Path:
    """Return a raw file or folder; warn of a file with another checksum, refuse a folder one level too deep."""
    inner = place / place.name
    if inner.is_dir() and all(entry == inner or entry.name.startswith(".") for entry in place.iterdir()):
        raise UserError(f"{inner}: lies one folder too deep. Move the content of {inner} to {place}.")
    if not file.archive and place.is_file():
        try:
            verify_file(place, size=file.size, md5=file.md5, sha256=file.sha256)
        except UserError as error:
            log.warning("warning: %s It is read all the same.", error)
    return place


def _missing_message(name: str, folder: Path, file: ExpectedFile, by_hand: str) -> str:
    place = folder / file.path
    if folder.is_dir():
        # Hidden folders hold the files of a job that unpacks, or was killed.
        for inner in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
            if present(inner, file):
                if (again := inner / inner.name).is_dir():
                    return f"{place}: is not there, but in {again}. Move the content of {again} to {inner}."
                return (
                    f"{place}: is not there, but {inner / file.path} lies one folder too deep. Move the content of "
                    f"{inner} to {folder}, or give the option `root: {inner}`."
                )
        part = folder / (file.download + PART)
        if part.is_file():
            return (
                f"{part}: the download of '{name}' is not finished ({part.stat().st_size} bytes are there). Continue "
                f"it with `editfrontier datasets {name} --fetch`."
            )
    paths = (place, folder / file.download)
    meant = next((hint for path in paths if (hint := file_that_is_meant(path, exactly=True))), "")
    expected = (
        f"{place} ({file.what})" if not file.archive else f"{folder / file.archive}, or unpacked {place} ({file.what})"
    )
    fetch = f" `editfrontier datasets {name} --fetch` downloads it." if file.url else ""
    return (
        f"dataset '{name}': there is no {expected}.{meant}{fetch} {by_hand} The option `root` or the "
        f"environment variable {VARIABLE} names another folder."
    )


# --- checking --------------------------------------------------------------------------------------------------------


def digest(path: Path, algorithm: str, progress: Progress | None = None) -> str:
    """Return the checksum of a file as lower-case hexadecimal digits; algorithm "md5" or "sha256"."""
    state, done, total = hashlib.new(algorithm, usedforsecurity=False), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            state.update(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
    return state.hexdigest()


def verify_file(path: Path, *, size: int = 0, md5: str = "", sha256: str = "") -> None:
    """Raise `UserError` unless a file has the expected size in bytes and checksums; 0 and "" are not checked."""
    actual_size = path.stat().st_size
    if size and actual_size != size:
        state = "truncated" if actual_size < size else "too long"
        raise UserError(
            f"{path}: is {state}, it has {actual_size} bytes and {size} were expected. Delete it and download it again."
        )
    for algorithm, expected in (("md5", md5), ("sha256", sha256)):
        if expected and (actual := digest(path, algorithm, reporter(f"checking {path.name}"))) != expected:
            raise UserError(
                f"{path}: has the {algorithm} {actual}, expected {expected}. It is damaged or another version: delete "
                "it and download it again."
            )
