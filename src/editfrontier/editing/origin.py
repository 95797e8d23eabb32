"""Where a case comes from: the names that people may call it by, and the part of their picture that its image shows.

Files that are made outside of this project (`editors/ready_made.py`) are found and cut to size by these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from editfrontier.base.errors import composed
from editfrontier.data.cases import Case
from editfrontier.data.framing import Frame


@dataclass(frozen=True)
class Origin:
    """Where a case comes from.

    Attributes:
        names: what a file of the case may be called, without its ending; the first is the id of the case.
        frame: the part of the user's picture that is the image of the case, None if the data set does not say.
    """

    names: tuple[str, ...]
    frame: Frame | None


def origins(cases: Sequence[Case]) -> dict[str, Origin]:
    """Return the origin of each case by its id.

    A case is called by its id, by its id without the task before it (the user's own id), and by the name of its
    picture where no other case of the task has that name.
    """
    short = {case.case_id: case.case_id.removeprefix(f"{case.task}-") for case in cases}
    framed = {case.case_id: Frame.parse(case.frame) if case.frame else (None, "") for case in cases}
    stems = {name: PurePosixPath(file).stem for name, (_, file) in framed.items()}
    shared = Counter(map(composed, stems.values()))
    taken = {composed(name) for name in (*short, *short.values())}
    origin = {}
    for name, (frame, _) in framed.items():
        stem = stems[name]
        free = bool(stem) and shared[composed(stem)] == 1 and composed(stem) not in taken
        origin[name] = Origin(tuple(dict.fromkeys([name, short[name], *([stem] if free else [])])), frame)
    return origin
