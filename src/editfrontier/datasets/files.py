"""The raw files of data sets: where they lie, whether they are whole, and unpacking them.

Only the standard library is used, so that a plan of a run can ask what is missing without loading anything heavy.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import lzma
import os
import re
import shutil
import socket
import stat
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from editfrontier.errors import UserError

log = logging.getLogger(__name__)

VARIABLE = "EDITFRONTIER_DATA"
PART = ".part"
_CHUNK = 1 << 20
_PERIOD = 10.0  # seconds between two lines of progress
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_UNPACKING = re.compile(r"\.unpacking-(?P<pid>\d+)@(?P<host>.+)-\w+")

Progress = Callable[[int, int], None]
"""(bytes done, bytes in total or 0 if that is not known)"""


@dataclass(frozen=True, kw_only=True)
class ExpectedFile:
    """A raw file or folder that a data set is read from.

    Attributes:
        path: where it is read, relative to the folder of raw files; a folder ends with "/".
        what: what it holds, in a few words.
        archive: name of the archive that holds it, beside which it is unpacked; "" = it is published as it is.
        inside: folder inside of the archive that corresponds to the folder of raw files, "" = its root.
        url: where the archive, or the file, can be downloaded by a program; "" = only by hand.
        size: bytes of the archive, or of the file; 0 = not known.
        md5, sha256: of the archive, or of the file, lower-case hexadecimal digits; "" = not known.
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
        """The name under which what is downloaded lies in the folder of raw files."""
        return self.archive or self.path


def data_folder(name: str, root: str = "") -> Path:
    """Return the folder of the raw files of a data set.

    Args:
        name: of the data set.
        root: the option `root`; "" = `$EDITFRONTIER_DATA/<name>`, or `data/<name>` if the variable is not set.
    """
    return Path(root).expanduser() if root else Path(os.environ.get(VARIABLE) or "data").expanduser() / name


# --- finding ---------------------------------------------------------------------------------------------------------


def present(folder: Path, file: ExpectedFile) -> bool:
    """Return whether a file is there, unpacked or in its archive; nothing is opened."""
    return _is_there(folder, file) or bool(file.archive and (folder / file.archive).is_file())


def missing(folder: Path, files: Sequence[ExpectedFile]) -> list[ExpectedFile]:
    """Return the files, optional ones aside, that are neither there nor in an archive that is."""
    return [file for file in files if not file.optional and not present(folder, file)]


def find_file(name: str, folder: Path, file: ExpectedFile, by_hand: str, password: bytes | None = None) -> Path:
    """Return where a raw file or folder is, after unpacking its archive where only that is there.

    Args:
        name: of the data set, for messages.
        folder: of the raw files.
        file: what is wanted.
        by_hand: what a person must do to get it.
        password: of an encrypted archive.

    Raises:
        UserError: it is not there (the message says what goes where, and whether it lies one folder too deep), or its
            archive is damaged.
    """
    if _is_there(folder, file):
        return _checked(folder / file.path, file)
    archive = folder / file.archive
    if file.archive and archive.is_file():
        verify_file(archive, size=file.size, md5=file.md5, sha256=file.sha256)
        unpack(archive, folder, inside=file.inside, password=password)
        if _is_there(folder, file):
            return _checked(folder / file.path, file)
        raise UserError(
            f"{archive}: holds no '{file.path}', expected {file.what}. It is another archive than the one of '{name}': "
            f"get that one. {by_hand}"
        )
    raise UserError(_missing_message(name, folder, file, by_hand))


def _is_there(folder: Path, file: ExpectedFile) -> bool:
    """Whether it is there; an empty folder is none, so that somebody who made it beforehand is not told it is."""
    place = folder / file.path
    if not file.path.endswith("/"):
        return place.is_file()
    if not place.is_dir():
        return False
    with os.scandir(place) as entries:
        return next(entries, None) is not None


def _checked(place: Path, file: ExpectedFile) -> Path:
    """Return a raw file or folder; warn of a file with another checksum, refuse a folder that holds just itself."""
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
        # Hidden folders hold what a job unpacks, or one that was killed has left.
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
    wanted = (
        f"{place} ({file.what})" if not file.archive else f"{folder / file.archive}, or unpacked {place} ({file.what})"
    )
    fetch = f" `editfrontier datasets {name} --fetch` downloads it." if file.url else ""
    return (
        f"dataset '{name}': there is no {wanted}.{fetch} {by_hand} Another folder is given by the option `root` or the "
        f"environment variable {VARIABLE}."
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
    """Raise `UserError` unless a file has the expected size in bytes and the expected checksums; what is not known
    (0 or "") is not checked."""
    found = path.stat().st_size
    if size and found != size:
        state = "truncated" if found < size else "too long"
        raise UserError(
            f"{path}: is {state}, it has {found} bytes and {size} were expected. Delete it and download it again."
        )
    for algorithm, expected in (("md5", md5), ("sha256", sha256)):
        if expected and (actual := digest(path, algorithm, reporter(f"checking {path.name}"))) != expected:
            raise UserError(
                f"{path}: has the {algorithm} {actual}, expected {expected}. It is damaged or another version: delete "
                "it and download it again."
            )


# --- unpacking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    """One file of an archive: its path, its bytes, and how it is opened."""

    path: PurePosixPath
    size: int
    source: zipfile.ZipInfo | tarfile.TarInfo


def unpack(archive: Path, folder: Path, *, inside: str = "", password: bytes | None = None) -> None:
    """Unpack a zip or tar archive so that its files appear only when all of them are whole.

    Args:
        archive: the archive.
        folder: where its files go; files that are there already stay as they are.
        inside: only this folder of the archive is unpacked, as `folder` itself; "" = all of it.
        password: of an encrypted zip.

    Raises:
        UserError: it is no archive, truncated or damaged, has a path outside of the folder or a link, is encrypted, or
            the disk is full, or the folder cannot be written. Nothing of it is left then; what a job leaves that is
            killed meanwhile is no folder of data, and the next one on the same machine removes it.
    """
    with _damage_explained(archive, folder), _opened(archive) as opened:
        folder.mkdir(parents=True, exist_ok=True)
        members = _members(archive, opened, inside)
        if not members:
            raise UserError(
                f"{archive}: holds no file{f' in the folder {inside!r}' if inside else ''}. It is another archive than "
                "expected: download it again."
            )
        _remove_leftovers(folder)
        total, free = sum(member.size for member in members), shutil.disk_usage(folder).free
        if total > free:
            raise UserError(
                f"{archive}: its files need {total} bytes but the disk of {folder} has {free} left. Free some space, "
                "or move the data to another disk and give its folder by the option `root`."
            )
        report = reporter(f"unpacking {archive.name}")
        prefix = f".unpacking-{os.getpid()}@{socket.gethostname()}-"
        with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as temporary:
            done = 0
            for member in members:
                _write_member(opened, member, Path(temporary) / member.path, password)
                done += member.size
                report(done, total)
            _move_all(Path(temporary), folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove what jobs of this machine that were killed had unpacked, which may be gigabytes."""
    for entry in folder.glob(".unpacking-*"):
        found = _UNPACKING.fullmatch(entry.name)
        if found is None or found["host"] != socket.gethostname():
            log.warning("%s: is of a job on another machine; delete it if none unpacks there any more", entry)
        elif not _runs(int(found["pid"])):
            shutil.rmtree(entry, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH  # another error is that of a process of somebody else
    return True


@contextmanager
def _damage_explained(archive: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # zipfile's words for encryption and unknown compression
        raise UserError(f"{archive}: cannot be unpacked ({error}). Unpack it by hand into {folder}.") from None
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"{archive}: the disk is full. Free some space and run again; nothing was unpacked."
            ) from None
        if error.errno in _REFUSED:
            raise UserError(
                f"{archive}: cannot be unpacked, for {folder} cannot be written ({error.strerror}). Let somebody "
                "unpack it who may, or link to it in another folder and give that one by the option `root`."
            ) from None
        raise _damaged(archive, error) from None  # of gzip and bz2, or a place in the file that is none
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        struct.error,
    ) as err:
        raise _damaged(archive, err) from None


def _damaged(archive: Path, error: Exception) -> UserError:
    return UserError(
        f"{archive}: is truncated or damaged ({error}). Delete it and download it again; nothing was unpacked."
    )


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as found:
            yield found
        return
    if archive.suffix == ".zip":
        raise zipfile.BadZipFile("it has no directory of a zip file at its end")
    with tarfile.open(archive) as tar:
        yield tar


def _members(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile, inside: str) -> list[_Member]:
    found = []
    top = PurePosixPath(inside)
    for entry in opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened.getmembers():
        name = entry.filename if isinstance(entry, zipfile.ZipInfo) else entry.name
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
            raise UserError(
                f"{archive}: the path {name!r} leads outside of the folder that it is unpacked into. It was not made "
                "by the authors of the data set: delete it and download it from the address that its page names."
            )
        if isinstance(entry, zipfile.ZipInfo):
            plain, is_folder, size = not stat.S_ISLNK(entry.external_attr >> 16), entry.is_dir(), entry.file_size
        else:
            plain, is_folder, size = entry.isfile() or entry.isdir(), entry.isdir(), entry.size
        if not plain:
            raise UserError(
                f"{archive}: {name!r} is a link or a device, expected files and folders only. It was not made by the "
                "authors of the data set: delete it and download it from the address that its page names."
            )
        if not is_folder and path.is_relative_to(top) and "__MACOSX" not in path.parts:
            found.append(_Member(path.relative_to(top), size, entry))
    return found


def _write_member(
    opened: zipfile.ZipFile | tarfile.TarFile, member: _Member, target: Path, password: bytes | None
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(opened, zipfile.ZipFile):
        assert isinstance(member.source, zipfile.ZipInfo)
        source = opened.open(member.source, pwd=password)
    else:
        assert isinstance(member.source, tarfile.TarInfo)
        extracted = opened.extractfile(member.source)
        assert extracted is not None  # only links and folders give None
        source = extracted
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.path} ends early")


def _move_all(source: Path, folder: Path) -> None:
    """Move files into a folder; whole new folders by one rename, so that another job never sees half of one.

    Folders that are there already are filled first: a job that is killed meanwhile leaves something missing by which
    the next one sees that it has to unpack again.
    """
    for entry in sorted(source.iterdir(), key=lambda entry: (not (folder / entry.name).is_dir(), entry.name)):
        target = folder / entry.name
        if entry.is_dir() and target.is_dir():
            _move_all(entry, target)
        elif not target.exists():
            try:
                os.rename(entry, target)
            except OSError:
                # Another job that unpacks the same archive was faster; its files are the same.
                if not target.exists():
                    raise
                if entry.is_dir():
                    _move_all(entry, target)


# --- progress --------------------------------------------------------------------------------------------------------


def reporter(what: str, period: float = _PERIOD, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Return a function that logs how far something is, at most once in `period` seconds."""
    started = last = clock()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last < period:
            return
        last = now
        speed = done / (now - started) / 1e6
        share = f"{100 * done / total:.0f} % of {total / 1e9:.2f} GB" if total else f"{done / 1e9:.2f} GB"
        log.info("%s: %s, %.1f MB/s", what, share, speed)

    return report
