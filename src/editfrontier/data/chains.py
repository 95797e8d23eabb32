"""Which cases are the steps of one chain."""

from __future__ import annotations

from collections.abc import Sequence

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case


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
