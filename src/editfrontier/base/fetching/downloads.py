"""Resumable downloads, which are checked before they get their names."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import PART, verify_file
from editfrontier.base.fetching.progress import reporter
from editfrontier.base.files import DISK_FULL, NOT_WRITABLE

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TRIES = 4


def download(
    url: str,
    path: Path,
    *,
    size: int = 0,
    md5: str = "",
    sha256: str = "",
    by_hand: str = "",
    tries: int = _TRIES,
    wait: float = 2.0,
) -> None:
    """Download a file to `<path>.part`, or resume this part, check it, and give it its name.

    Args:
        url: address (http, https or file).
        path: path of the whole file; if it exists, nothing is done.
        size: bytes, 0 = not known.
        md5, sha256: expected checksums, "" = not known.
        by_hand: what a person can do instead, for messages.
        tries: number of tries after broken connections.
        wait: seconds before the second try; each further try waits twice as long.

    Raises:
        UserError: no network, a refusal or an address that is gone, a full disk, or a file with another checksum. The
            part is kept unless its content is wrong.
    """
    if path.is_file():
        return
    part = path.with_name(path.name + PART)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: this folder cannot be made ({error.strerror}). Correct the option or environment variable "
            "that names it."
        ) from None
    help_text = f"{by_hand} The file goes to {path}.".strip()
    for attempt in range(1, tries + 1):
        try:
            _continue(url, part, size)
            break
        except (OSError, http.client.HTTPException) as error:
            if problem := _lasting_problem(error, url, part, help_text):
                raise UserError(problem) from None
            if attempt == tries:
                kept = f" {part} is kept, a further run continues it." if part.is_file() else ""
                raise UserError(f"{url}: cannot be downloaded ({error}).{kept} {help_text}") from None
            log.info("%s: %s, trying again", url, error)
            time.sleep(wait * 2 ** (attempt - 1))
    try:
        verify_file(part, size=size, md5=md5, sha256=sha256)
    except UserError as error:
        part.unlink()
        _tag_file(part).unlink(missing_ok=True)
        raise UserError(f"{url}: what was downloaded is not what was expected: {error} {help_text}") from None
    os.replace(part, path)
    _tag_file(part).unlink(missing_ok=True)


def _lasting_problem(error: Exception, url: str, part: Path, help_text: str) -> str:
    """Return the message for an error that another try would meet again, "" for any other."""
    if isinstance(error, urllib.error.HTTPError):
        return (
            f"{url}: {_refusal(error.code)}. {help_text}" if error.code < 500 and error.code not in (408, 429) else ""
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"{part}: the disk is full. Free some space and run again: the download continues where it stopped."
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
        fix = f"Correct the permissions of {part.parent}, or name another folder."
        return f"{part}: cannot be written ({error.strerror}). {fix}"
    return ""


def _refusal(code: int) -> str:
    match code:
        case 401 | 403:
            return f"access was refused (HTTP {code}); terms must be accepted or a login is needed"
        case 404 | 410:
            return f"there is nothing any more (HTTP {code}); the file has moved"
    return f"the server refused (HTTP {code})"


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _continue(url: str, part: Path, size: int) -> None:
    """Append what is missing to a part; raise `OSError` if the connection ends before the end of the file."""
    done = part.stat().st_size if part.is_file() else 0
    if size and done == size:
        return
    tag = _tag_file(part).read_text(encoding="utf-8") if done and _tag_file(part).is_file() else ""
    request = urllib.request.Request(url, headers={"User-Agent": "editfrontier"})
    if done and (tag or size > done):
        request.add_header("Range", f"bytes={done}-")
        if tag:
            # Otherwise the rest of a changed file would follow the start of the old one.
            request.add_header("If-Range", tag)
    elif done:
        done = 0  # the rest may belong to another version
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()
        raise ConnectionError("the part does not fit to the file of the server, it is downloaded anew") from None
    with response:
        if getattr(response, "status", None) != 206:
            done = 0
        length = int(response.headers.get("Content-Length") or 0)
        total = done + length if length else size
        if total:
            free = shutil.disk_usage(part.parent).free
            if total - done > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        _tag_file(part).write_text("" if tag.startswith("W/") else tag, encoding="utf-8")
        report = reporter(f"downloading {part.name.removesuffix(PART)}")
        with part.open("ab" if done else "wb") as file:
            while block := response.read(_CHUNK):
                file.write(block)
                done += len(block)
                report(done, total)
        if total and done < total:
            raise ConnectionError(f"the connection ended after {done} of {total} bytes")
