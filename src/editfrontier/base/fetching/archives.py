"""Unpacking the archives of data sets: files appear only when all are whole, and only inside their folder.

Uses the standard library alone, so that a plan of a run can check for missing files without heavy imports.
"""

from __future__ import annotations

import errno
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
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.progress import reporter
from editfrontier.base.files import DISK_FULL, NOT_WRITABLE

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error)
_UNPACKING = re.compile(r"\.unpacking-(?P<pid>\d+)@(?P<host>.+)-\w+")


@dataclass(frozen=True)
class _Member:
    """One file of an archive: its path, its bytes, and how it is opened."""

    path: PurePosixPath
    size: int
    source: zipfile.ZipInfo | tarfile.TarInfo


def unpack(archive: Path, folder: Path, *, inside: str = "") -> None:
    """Unpack a zip or tar archive so that its files appear only when all of them are whole.

    Args:
        archive: the archive.
        folder: folder of its files; existing files do not change.
        inside: folder of the archive that is unpacked as `folder`; "" = the whole archive.

    Raises:
        UserError: the file is no archive, truncated or damaged, has a path outside the folder or a link, is encrypted,
            or the disk is full, or the folder cannot be written. Then no file is left. A job that is killed meanwhile
            leaves a hidden folder, which the next job on the same machine removes.
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
                _write_member(opened, member, Path(temporary))
                done += member.size
                report(done, total)
            _move_all(Path(temporary), folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove the files of killed jobs of this machine, which may be gigabytes."""
    for entry in folder.glob(".unpacking-*"):
        job = _UNPACKING.fullmatch(entry.name)
        if job is None or job["host"] != socket.gethostname():
            log.warning("%s: belongs to a job on another machine; delete it if that job has ended", entry)
        elif not _runs(int(job["pid"])):
            shutil.rmtree(entry, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH  # another error: a process of somebody else
    return True


@contextmanager
def _damage_explained(archive: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # zipfile's exceptions for encryption and unknown compression
        raise UserError(f"{archive}: cannot be unpacked ({error}). Unpack it by hand into {folder}.") from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise UserError(
                f"{archive}: the disk is full. Free some space and run again; nothing was unpacked."
            ) from None
        if error.errno in NOT_WRITABLE:
            raise UserError(
                f"{archive}: cannot be unpacked, since {folder} cannot be written ({error.strerror}). Ask its owner "
                "to unpack it, or link to it in another folder and name that by the option `root`."
            ) from None
        raise _damaged(archive, error) from None  # an error of gzip or bz2, or a wrong offset in the file
    except _DAMAGES as error:
        raise _damaged(archive, error) from None


def _damaged(archive: Path, error: Exception) -> UserError:
    return UserError(
        f"{archive}: is truncated or damaged ({error}). Delete it and download it again; nothing was unpacked."
    )


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield opened
        return
    if archive.suffix == ".zip":
        raise zipfile.BadZipFile("it has no directory of a zip file at its end")
    with tarfile.open(archive) as tar:
        # Python 3.11 has it from 3.11.4 on.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        yield tar


def _members(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile, inside: str) -> list[_Member]:
    # Whole archives are refused here; tarfile's filter would strip a leading slash and pass links inside of the folder.
    members = []
    top = PurePosixPath(inside)
    for entry in opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened.getmembers():
        name = entry.filename if isinstance(entry, zipfile.ZipInfo) else entry.name
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
            raise UserError(
                f"{archive}: the path {name!r} leads outside the folder of its files. It was not made by the "
                "authors of the data set: delete it and download it from the address that its page names."
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
            members.append(_Member(path.relative_to(top), size, entry))
    return members


def _write_member(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member, folder: Path) -> None:
    target = folder / member.path
    if isinstance(opened, tarfile.TarFile):
        assert isinstance(member.source, tarfile.TarInfo)
        renamed = member.source.replace(name=str(member.path), deep=False)
        opened.extract(renamed, folder, set_attrs=False)
    else:
        assert isinstance(member.source, zipfile.ZipInfo)
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member.source) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.path} ends early")


def _move_all(source: Path, folder: Path) -> None:
    """Move files into a folder; new folders by one rename, so that another job never sees half of one.

    Existing folders are filled first: if the job is killed meanwhile, the next job sees a missing folder and unpacks
    again.
    """
    for entry in sorted(source.iterdir(), key=lambda entry: (not (folder / entry.name).is_dir(), entry.name)):
        target = folder / entry.name
        if entry.is_dir() and target.is_dir():
            _move_all(entry, target)
        elif not target.exists():
            try:
                os.rename(entry, target)
            except OSError:
                # Another job that unpacks the same archive was faster; its files are equal.
                if not target.exists():
                    raise
                if entry.is_dir():
                    _move_all(entry, target)
