"""The one exception that is meant for users, and what its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FETCH_WEIGHTS = "`editfrontier weights --pin --config <config file>`"
"""What messages say to run where weights are missing: it fetches those of a config, pinned or not."""

INSTALL_QUALITY = "`pip install --constraint requirements.lock --editable '.[quality]'`"
"""The same where the package that reads MUSIQ is missing, which is never installed by default."""


class UserError(Exception):
    """A problem that the user can mend.

    The message is one sentence or two: what it is about (file, key or case), what is wrong, what was expected, the fix.
    The command line prints it without a traceback; in an edit job it becomes the reason of a failed case.
    """


class EditorError(UserError):
    """An editor breaks the rules of `docs/adding_an_editor.md`: the fault of its code, never of a case."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or the list of known names if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(names)}." if names else ""
