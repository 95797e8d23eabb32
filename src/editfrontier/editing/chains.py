"""Chains of edits: which cases belong together, in which order, and what a failed step means for the steps after it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from editfrontier.data.cases import Case
from editfrontier.editing.records import CaseRecord


@dataclass(frozen=True)
class Link:
    """One step of a chain: its case and the one whose edited image it takes, None for the first step."""

    case: Case
    before: Case | None


def links_by_step(chains: Sequence[Sequence[Case]]) -> list[list[Link]]:
    """Return the first steps of all chains, then their second steps, and so on."""
    columns = itertools.zip_longest(*[[Link(*pair) for pair in zip(c, [None, *c], strict=False)] for c in chains])
    return [[link for link in column if link is not None] for column in columns]


def not_run(link: Link, before: CaseRecord) -> CaseRecord:
    """Return the row of a step that has no image to start from, with the step that failed and why."""
    assert link.before is not None
    reason = before.reason
    if before.status == "failed":
        reason = f"not run, since step {link.before.step} of its chain failed: {before.reason}"
    return CaseRecord(link.case.case_id, "not run", reason=reason)
