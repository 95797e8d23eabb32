"""Chains of edits: which cases belong together, in which order, and what a failed step means for the steps after it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from editfrontier.cases import Case
from editfrontier.editing.records import Row
from editfrontier.errors import UserError


@dataclass(frozen=True)
class Link:
    """One step of a chain: its case and the one whose edited image it takes, None for the first step."""

    case: Case
    before: Case | None


def chains_of(cases: Sequence[Case]) -> list[list[Case]]:
    """Group cases into chains, in the order in which a table first names them; a case without a chain is one by itself.

    Args:
        cases: of one task.

    Returns:
        The cases of each chain, in the order of their steps.

    Raises:
        UserError: the steps of a chain are not 1, 2, ... each once.
    """
    groups: dict[tuple[bool, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((bool(case.chain), case.chain or case.case_id), []).append(case)
    chains = [sorted(group, key=lambda case: case.step) for group in groups.values()]
    for chain in chains:
        steps = [case.step for case in chain]
        if steps != list(range(1, len(chain) + 1)):
            name = chain[0].chain or chain[0].case_id
            raise UserError(
                f"chain {name}: its steps are {', '.join(map(str, steps))}, expected 1 to {len(chain)}, each once. "
                "Correct the columns `chain` and `step` of the case table."
            )
    return chains


def links_by_step(chains: Sequence[Sequence[Case]]) -> list[list[Link]]:
    """Return the first steps of all chains, then their second steps, and so on."""
    columns = itertools.zip_longest(*[[Link(*pair) for pair in zip(c, [None, *c], strict=False)] for c in chains])
    return [[link for link in column if link is not None] for column in columns]


def not_run(link: Link, before: Row) -> Row:
    """Return the row of a step that has no image to start from, with the step that failed and why."""
    assert link.before is not None
    reason = before.reason
    if before.status == "failed":
        reason = f"not run, since step {link.before.step} of its chain failed: {before.reason}"
    return Row(link.case.case_id, "not run", reason=reason)
