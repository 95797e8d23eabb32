"""The design that participants answered: a copy lies next to their answers and is used while there are any.

Answers belong to one design and its images. So a design is never made anew below them: what the config and the edits
say now is compared with it, and what differs is said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.study.userstudy.materials import Design, changed_editors, editors_of, read_design, write_design
from editfrontier.study.userstudy.responses import answered_designs
from editfrontier.study.userstudy.settings import StudySettings

log = logging.getLogger(__name__)

FOLDER = "design"
"""Folder next to the files of responses, with each design that was made (<hash>.json) and its page (<hash>.html)."""

RESTORE = "Restore it from a copy: people have answered a design, and without it their answers cannot be read."


def keep_design(responses: Path, design: Design, page: bytes) -> None:
    """Keep a design and its page next to the responses to it."""
    stem = responses / FOLDER / design.hash
    write_bytes(stem.with_suffix(".html"), page)
    write_design(stem.with_suffix(".json"), design)


def answered_design(responses: Path, design: Path, page: Path) -> tuple[Design, bytes, int] | None:
    """Return the design that most files of responses answer, its page, and how many do; None while there are none.

    Args:
        responses: folder of the files; the designs kept next to them are searched.
        design, page: of the last run, which may have been made before designs were kept.
    """
    counts = answered_designs(sorted(responses.glob("*.json")))
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        stem = responses / FOLDER / name
        for file, shown in ((stem.with_suffix(".json"), stem.with_suffix(".html")), (design, page)):
            if file.is_file() and shown.is_file() and (kept := read_design(file, RESTORE)).hash == name:
                return kept, shown.read_bytes(), count
    return None


def present_state(root: Path, table: Mapping[str, Any], settings: StudySettings, design: Design, count: int) -> Design:
    """Compare a design that was answered with what the config and the results say now; what differs is logged.

    Args:
        root: results folder of the scale.
        table: the experiment's resolved entry.

    Returns:
        The design, with editors that differ noted.

    Raises:
        UserError: the config names another experiment or task than people judged.
    """
    stated = settings.stated()
    new_study = "give `user_study.responses` another folder for the new study"
    kept = f"The design, its page and its answers stay in {settings.responses}, and count whenever it is named"
    for key, asked, judged in (
        ("experiment", stated["experiment"], design.experiment),
        ("task of the experiment", table["task"], design.task),
    ):
        if asked != judged:
            raise UserError(
                f"user_study: people have answered a design whose {key} is '{judged}' (files in {settings.responses}: "
                f"{count}), but the config says '{asked}'. Correct it, or {new_study}. {kept}."
            )
    unjudged = tuple(editor for editor in editors_of(table) if editor not in design.editors)
    changed = tuple(changed_editors(root, table, design))
    now = replace(design, responses=settings.responses, unjudged=unjudged, changed=changed)
    if lines := list(_differences(now, stated)):
        log.warning(
            "The design %s is fixed, since people have answered it (files in %s: %d).", now.hash, now.responses, count
        )
        for line in (*lines, f"To ask people about what differs, {new_study}. {kept}."):
            log.warning("%s", line)
    return now


def _differences(design: Design, stated: Mapping[str, Any]) -> Iterator[str]:
    if design.unjudged:
        yield f"Not judged, since they came later: {', '.join(design.unjudged)}."
    if design.changed:
        yield (
            "People saw other images than the present ones, or rows that are gone, so that no metric is compared with "
            f"their answers: {', '.join(design.changed)}."
        )
    for key, value in stated.items():
        if design.settings.get(key) != value:
            yield f"The config says {key}: {value}, the design {key}: {design.settings.get(key)}, which counts."
