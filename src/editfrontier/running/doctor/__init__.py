"""Check whether a machine or a cluster is ready for a run, before anything is submitted; each check names its fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, one or two words.
        state: "ok"; "note", which stops no run; "wrong", with which a run would fail or spoil something.
        text: the result and, if it is wrong, the fix.
    """

    name: str
    state: State
    text: str


def doctor_text(checks: Iterable[Check]) -> str:
    """Return the checks as text, one line each, and a last line that counts."""
    every = list(checks)
    width = max((len(check.name) for check in every), default=0)
    lines = [f"{check.state:5}  {check.name:{width}}  {check.text}" for check in every]
    wrong = sum(check.state == "wrong" for check in every)
    last = "Ready." if not wrong else f"Not ready: {wrong} of {len(every)} checks failed."
    return "\n".join([*lines, last])
