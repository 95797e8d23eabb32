"""Cases that are edited with several seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from editfrontier.data.cases import Case, compact_json


def repeated(cases: Sequence[Case], repeats: int) -> list[Case]:
    """Return the cases with further ones for other seeds: the same edit of the same cluster with noise of its own.

    The first of `repeats` keeps its name, so that more repeats leave the edits that are there; number r of the others
    has "-r<r>" behind its id and that of its chain, and says so in its design.
    """
    return [_repeat(case, number) for number in range(repeats) for case in cases]


def _repeat(case: Case, number: int) -> Case:
    if number == 0:
        return case
    design = json.loads(case.design or "{}") | {"repeat": number}
    if "noise" in design:
        design["noise"] = f"{design['noise']}-r{number}"
    return replace(
        case,
        case_id=f"{case.case_id}-r{number}",
        chain=f"{case.chain}-r{number}" if case.chain else "",
        design=compact_json(design),
    )
