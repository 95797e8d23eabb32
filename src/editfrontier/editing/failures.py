"""What failed and why, by the records of edits: for edit jobs, the end of a run, `where`, tables and the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_table

MOST = 5
"""Reasons shown of one variant, the most frequent first."""
LONGEST = 400
"""Letters of a reason that are shown."""


class Outcome(NamedTuple):
    """What became of a case, as it stands in a record."""

    case_id: str
    status: str  # "ok" | "failed" | "not run"
    reason: str


def by_reason(failed: Iterable[tuple[str, str]], numbers: bool = True) -> dict[str, list[str]]:
    """Group failed cases: reason, with "<case>" for the id of the case, -> ids, in the order of the first of each.

    Args:
        failed: (case id, reason) of each case.
        numbers: whether reasons that differ in numbers are different; otherwise "#" stands for each number.
    """
    groups: dict[str, list[str]] = {}
    for case_id, reason in failed:
        kind = re.sub(rf"(?<![^\W_]){re.escape(case_id)}(?![^\W_])", "<case>", reason)
        groups.setdefault(kind if numbers else re.sub(r"\d+", "#", kind), []).append(case_id)
    return groups


def reasons(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each reason of failed cases: how many have it, and how it reads for the first of them.

    Reasons that differ in the name of the case or in numbers only are one reason. Of a chain only the step that
    failed is counted under its reason; the steps that were not run after it have one line together.
    """
    failed = [outcome for outcome in outcomes if outcome.status != "ok"]
    reason_of = {outcome.case_id: outcome.reason for outcome in failed if outcome.status != "not run"}
    groups = sorted(by_reason(reason_of.items(), numbers=False).values(), key=len, reverse=True)
    lines = [f"{len(cases)} x {_printable(reason_of[cases[0]])}" for cases in groups[:MOST]]
    if others := groups[MOST:]:
        lines.append(f"{sum(map(len, others))} x {len(others)} other reasons")
    if not_run := sum(outcome.status == "not run" for outcome in failed):
        lines.append(f"{not_run} x not run, since a step before it in its chain failed")
    return lines


def _printable(text: str) -> str:
    """Return a text on one line, without what would steer a terminal, since it may come from a data set."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def failures(results: Path, variants: Mapping[str, Iterable[str]]) -> list[str]:
    """Return what failed in a study, from its records.

    Args:
        variants: of each task; those without records yet are passed over.

    Returns:
        lines to print, none if every case was edited; variants without any edited case stand first.
    """
    whole: list[str] = []
    part: list[str] = []
    for task, names in variants.items():
        for name in names:
            outcomes, problems = _read(results / "edits" / task / name)
            failed = sum(outcome.status != "ok" for outcome in outcomes)
            if not failed and not problems:
                continue
            none = failed == len(outcomes) and bool(outcomes)
            head = f"  {task}, {name}: {failed} of {len(outcomes)} cases failed{', NO CASE WAS EDITED' if none else ''}"
            (whole if none else part).extend([head, *(f"    {line}" for line in [*reasons(outcomes), *problems])])
    return [f"Edits that failed, by the records in {results / 'edits'}:", *whole, *part] if whole or part else []


def _read(folder: Path) -> tuple[list[Outcome], list[str]]:
    """Return what stands in the records of a variant, and what is wrong with those that cannot be read."""
    outcomes, problems = [], []
    for path in sorted(folder.glob("shard-*.parquet")):
        try:
            table = read_table(path, "Run again.", Outcome._fields)
        except UserError as error:
            problems.append(_printable(str(error)))
            continue
        outcomes += [Outcome(**row) for row in table.to_pylist()]
    return outcomes, problems
