"""Chains of edits: the designs that tasks can have, and the cases that are the steps of one chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case

ORDERS: Mapping[str, Sequence[tuple[int, ...]]] = {"two": ((0, 1), (1, 0)), "three": ((0, 1, 2), (2, 1, 0))}
"""Length of a composed sequence -> the orders of a portrait's three edits that are tried, forward and reversed."""

COMPOSED_CASES = sum(len(order) for orders in ORDERS.values() for order in orders)
"""Cases of one portrait of the design "composed": 2 + 2 + 3 + 3."""


def count_units(task: str, cases: int, design: str, steps: int) -> int:
    """Return the number of chains ("repeated"), of portraits ("composed") or else of cases that make up `cases` cases.

    Raises:
        UserError: `cases` is no multiple of the cases of one; the message names the task.
    """
    size = {"repeated": steps, "composed": COMPOSED_CASES}.get(design, 1)
    if cases % size:
        raise UserError(
            f"task '{task}': cases is {cases}, expected a multiple of {size}, the cases of one "
            f"{'chain' if design == 'repeated' else 'portrait'}. Take {max(cases // size, 1) * size}."
        )
    return cases // size


def chains_of(cases: Sequence[Case]) -> list[list[Case]]:
    """Group the cases of one task into chains, in the order in which the table first names them.

    Returns:
        The cases of each chain, in the order of their steps; a case without a chain is a chain of one step.

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
