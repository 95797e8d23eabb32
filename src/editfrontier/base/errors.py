"""The exception for users, and the words that its messages share."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

FETCH_WEIGHTS = "`editfrontier weights --pin --config <config file>`"
"""Command that messages name where weights are missing: it fetches those of a config, pinned or not."""


class UserError(Exception):
    """A problem that the user can solve.

    The message has one or two sentences: the file, key or case, the problem, the expectation, the fix. The command line
    prints it without a traceback; in an edit job it becomes the reason of a failed case.
    """


class EditorError(UserError):
    """An editor breaks the rules of `docs/adding_an_editor.md`: an error in its code, never in a case."""


KILLED = (
    "error: a job was killed (status 137), mostly because memory ran out. Run fewer jobs at a time (--cores), take a "
    "smaller batch_size, or a machine with more memory."
)
"""Message of a run about a job that ended by SIGKILL."""

TERMINAL = "EDITFRONTIER_TERMINAL"
"""Variable with the number of a file descriptor: the terminal of a job whose standard error goes to a log."""

DEBUG = "EDITFRONTIER_DEBUG"
"""Variable that leaves the errors of a program to a debugger, which stops where they are raised."""


def say_last(line: str) -> None:
    """Print a job's last line on standard error, and on the terminal behind it: on a full disk the log stays empty."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError, KeyError, ValueError):
        os.write(int(os.environ[TERMINAL]), f"{line}\n".encode())


def did_you_mean(name: str, known: Iterable[str], *, otherwise_all: bool = True) -> str:
    """Return " Did you mean 'x'?" with the known name nearest to `name`.

    If none is near, return the list of known names, or "" if not `otherwise_all`.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(names)}." if names and otherwise_all else ""


def file_that_is_meant(path: Path, *, exactly: bool = False) -> str:
    """Return " There is x ..." with the file or folder that a missing path probably means, "" if none is near.

    A name that differs only in its Unicode form, capitals or slashes is shown with escapes, because it looks equal.

    Args:
        path: absolute or relative.
        exactly: whether only such names count; otherwise similar names count too.
    """
    place = Path(path.anchor)
    parts = PurePosixPath(path.as_posix().replace("\\", "/")).parts[1 if path.anchor else 0 :]
    for number, part in enumerate(parts):
        if not os.path.lexists(place / part):
            names = _names_in(place)
            alike = sorted(name for name in names if _plain(name) == _plain(part))
            if not alike:
                near = (
                    difflib.get_close_matches(part, names, n=1, cutoff=0.8)
                    if number == len(parts) - 1 and not exactly
                    else []
                )
                return f" Did you mean '{place / near[0]}'?" if near else ""
            part = alike[0]
        place = place / part
    if str(place) == str(path):
        return ""
    named = f"'{place}'" if place.name.isascii() else f"'{place}' ({place.name!a}, where {path.name!a} is named)"
    return f" There is {named}, which differs in {_difference(str(path), str(place))} only."


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def composed(name: str) -> str:
    """Return a name as it is compared with others: disks differ in how they store letters with accents."""
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    return composed(unicodedata.normalize("NFD", name).casefold())


def _difference(named: str, there: str) -> str:
    if "\\" in named:
        return "its slashes"
    same_letters = composed(named) == composed(there)
    return "the Unicode form of its letters" if same_letters else "its capitals"
