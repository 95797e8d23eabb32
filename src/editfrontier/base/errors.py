"""The one exception that is meant for users, and what its messages share."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

FETCH_WEIGHTS = "`editfrontier weights --pin --config <config file>`"
"""What messages say to run where weights are missing: it fetches those of a config, pinned or not."""


class UserError(Exception):
    """A problem that the user can mend.

    The message is one sentence or two: what it is about (file, key or case), what is wrong, what was expected, the fix.
    The command line prints it without a traceback; in an edit job it becomes the reason of a failed case.
    """


class EditorError(UserError):
    """An editor breaks the rules of `docs/adding_an_editor.md`: the fault of its code, never of a case."""


KILLED = (
    "error: a job was killed (status 137), mostly because memory ran out. Run fewer jobs at a time (--cores), take a "
    "smaller batch_size, or a machine with more memory."
)
"""What a run says of a job that ended by SIGKILL."""

TERMINAL = "EDITFRONTIER_TERMINAL"
"""Variable with the number of a file descriptor: the terminal of a job whose standard error goes to a log."""


def say_last(line: str) -> None:
    """Print a job's last words on standard error, and on the terminal behind it: on a full disk the log stays empty."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError, KeyError, ValueError):
        os.write(int(os.environ[TERMINAL]), f"{line}\n".encode())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or the list of known names if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(names)}." if names else ""


def file_that_is_meant(path: Path, *, exactly: bool = False) -> str:
    """Return " There is x ..." for the file or folder that a path means which is not there, "" if none is near.

    One that differs in its Unicode form, capitals or slashes alone is shown with escapes, for it looks alike.

    Args:
        path: absolute or relative.
        exactly: whether only such a one counts; else one of a similar name does too.
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


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _difference(named: str, there: str) -> str:
    if "\\" in named:
        return "its slashes"
    same_letters = unicodedata.normalize("NFC", named) == unicodedata.normalize("NFC", there)
    return "the Unicode form of its letters" if same_letters else "its capitals"
