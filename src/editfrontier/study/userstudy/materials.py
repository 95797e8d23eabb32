"""The design of the study with its cases and images: made from an experiment's edits, written and read as JSON.

The file states, before anybody answers, what every participant is shown and whose answers will count. Its hash stands
in every file of responses, so that answers to another design, or about other images, are never counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.fingerprints import spec_hash
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, read_image
from editfrontier.study.results.gallery import TaskResults, edited_image, read_task, readable, source_image
from editfrontier.study.results.naming import parse_table
from editfrontier.study.userstudy.design import choose_items, editor_pairs, make_judgements, trial_order
from editfrontier.study.userstudy.settings import StudySettings

FORMAT, VERSION = "editfrontier-user-study-design", 1
NOT_HASHED = ("hash", "responses", "unjudged", "changed")
"""Fields of a design that its hash does not depend on."""
TRUE_EDIT = "true edit"
OTHER = "another image"
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Trial:
    """One question to one participant: which of two edits of a case is better.

    Attributes:
        kind: "pair" (counts), "catch" (has a known answer) or "repeat" (an earlier pair, sides exchanged).
        left, right: variants; in a catch trial the true edit, and the source of another case.
        left_image, right_image: ids of the images.
        item: number of the comparison, -1 in a catch trial.
        answer: the known answer of a catch trial, "left" or "right", else "".
        repeats: number of the trial, from 1, that a repeat shows again, else 0.
    """

    kind: str
    case: str
    left: str
    right: str
    left_image: str
    right_image: str
    item: int = -1
    answer: str = ""
    repeats: int = 0


@dataclass(frozen=True)
class Design:
    """What every participant is shown.

    Attributes:
        hash: of everything from `experiment` to `trials`, 16 hexadecimal digits.
        settings: as stated (`StudySettings.stated`).
        editors: variants that are compared.
        sources: case id -> (id of the image of its source, instruction).
        trials: of every participant, in order; participant and trial are counted from 1 elsewhere.
        responses: folder of the files that participants send back.
        unjudged: variants that the experiment got after people had begun to answer.
        changed: editors of which people saw other images than the present ones, or that the experiment has no more.
    """

    hash: str
    experiment: str
    task: str
    settings: Mapping[str, Any]
    editors: tuple[str, ...]
    sources: Mapping[str, tuple[str, str]]
    trials: tuple[tuple[Trial, ...], ...]
    responses: str
    unjudged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pool:
    """Cases with their images. edits: variant -> case id -> image."""

    cases: tuple[Case, ...]
    sources: Mapping[str, Image]
    edits: Mapping[str, Mapping[str, Image]]
    true_edits: Mapping[str, Image]


def make_design(root: Path, table: Mapping[str, Any], settings: StudySettings) -> tuple[Design, dict[str, Image]]:
    """Make the design of a study and collect its images.

    Args:
        root: results folder of the scale, with the experiment's cases and edits.
        table: the experiment's resolved entry.

    Returns:
        The design, and the images by id.

    Raises:
        UserError: the edits give too few comparisons, or no case gives a catch trial.
    """
    spec, editors = parse_table(table), editors_of(table)
    pool = _read_pool(read_task(root, spec.task, editors), editors)
    rng = np.random.default_rng(stable_seed("user-study", settings.seed))
    pairs = editor_pairs(len(editors))
    available = np.array(
        [
            [all(case.case_id in pool.edits[editors[e]] for e in pair) for case in pool.cases]
            for pair in pairs
        ],
        dtype=bool,
    )  # fmt: skip
    count = -(-settings.participants * settings.pairs // settings.raters)
    items = choose_items(available.reshape(len(pairs), len(pool.cases)), count, rng)
    judgements = make_judgements(items, len(editors), settings.participants, settings.pairs, settings.raters, rng)
    catch = _catch_cases(pool, settings.participants * settings.catch_trials, rng)

    images: dict[str, Image] = {}
    trials = []
    for participant in range(settings.participants):
        shown = []
        for index in np.flatnonzero(judgements.participant == participant):
            item = int(judgements.item[index])
            pair, case = items[item]
            names = [editors[e] for e in pairs[pair]]
            left, right = names if judgements.first_left[index] else reversed(names)
            case_id = pool.cases[case].case_id
            ids = [_keep(images, pool.edits[name][case_id]) for name in (left, right)]
            shown.append(Trial("pair", case_id, left, right, ids[0], ids[1], item))
        mine = catch[participant * settings.catch_trials : (participant + 1) * settings.catch_trials]
        trials.append(tuple(_ordered(shown, [_catch_trial(pool, pick, images, rng) for pick in mine], settings, rng)))

    shown_cases = {trial.case for session in trials for trial in session}
    sources = {
        case.case_id: (_keep(images, pool.sources[case.case_id]), case.instruction)
        for case in pool.cases
        if case.case_id in shown_cases
    }
    design = Design(
        "", spec.name, spec.task, settings.stated(), tuple(editors), sources, tuple(trials), settings.responses
    )
    return replace(design, hash=design_hash(design)), images


def editors_of(table: Mapping[str, Any]) -> list[str]:
    """Return the variants of an experiment's resolved entry that are no controls."""
    return list(dict.fromkeys(row.variant for row in parse_table(table).rows if not row.control))


def changed_editors(root: Path, table: Mapping[str, Any], design: Design) -> list[str]:
    """Return the editors of a design of which people saw other images than there are now, or whose rows are gone."""
    kept = [editor for editor in design.editors if editor in editors_of(table)]
    pool = _read_pool(read_task(root, design.task, kept), kept)
    sources = {case: _image_id(image) for case, image in pool.sources.items()}
    changed = set(design.editors) - set(kept)
    for trial in (trial for session in design.trials for trial in session if trial.kind == "pair"):
        for editor, shown in ((trial.left, trial.left_image), (trial.right, trial.right_image)):
            image = pool.edits.get(editor, {}).get(trial.case)
            same = sources.get(trial.case) == design.sources[trial.case][0]
            if image is None or not same or _image_id(image) != shown:
                changed.add(editor)
    return [editor for editor in design.editors if editor in changed]


def _read_pool(results: TaskResults, editors: Sequence[str]) -> _Pool:
    """Read the images of a task; cases whose source cannot be read, and edits that failed, are not there."""
    cases = tuple(case for case in results.cases if readable(results, case))
    edits: dict[str, dict[str, Image]] = {}
    for editor in editors:
        images = {case.case_id: edited_image(results, editor, case) for case in cases}
        edits[editor] = {case_id: image for case_id, image in images.items() if image is not None}
    return _Pool(
        cases,
        {case.case_id: source_image(results, case) for case in cases},
        edits,
        {case.case_id: read_image(results.folder / case.true_edit) for case in cases if case.true_edit},
    )


def _catch_cases(pool: _Pool, count: int, rng: np.random.Generator) -> list[tuple[Case, Case]]:
    """Return (case, case whose source is the wrong answer): of the others one with another source image."""
    right = [case for case in pool.cases if case.case_id in pool.true_edits]
    usable = [(case, [other for other in pool.cases if other.cluster != case.cluster]) for case in right]
    usable = [(case, others) for case, others in usable if others]
    if count and not usable:
        raise UserError(
            "user_study: a catch trial sets the true edit of a case against the source of another, and no case has a "
            "true edit. Set 'catch_trials' to 0 in the config's section 'user_study'."
        )
    picks: list[tuple[Case, Case]] = []
    while len(picks) < count:
        for index in rng.permutation(len(usable)):
            case, others = usable[index]
            picks.append((case, others[rng.integers(len(others))]))
    return picks[:count]


def _catch_trial(pool: _Pool, pick: tuple[Case, Case], images: dict[str, Image], rng: np.random.Generator) -> Trial:
    case, other = pick
    right = _keep(images, pool.true_edits[case.case_id])
    wrong = _keep(images, pool.sources[other.case_id])
    if rng.random() < 0.5:
        return Trial("catch", case.case_id, TRUE_EDIT, OTHER, right, wrong, answer="left")
    return Trial("catch", case.case_id, OTHER, TRUE_EDIT, wrong, right, answer="right")


def _ordered(
    shown: Sequence[Trial], catch: Sequence[Trial], settings: StudySettings, rng: np.random.Generator
) -> Iterator[Trial]:
    order = trial_order(len(shown), len(catch), settings.repeats, rng)
    place = {index: number for number, (kind, index) in enumerate(order, start=1) if kind == "pair"}
    for kind, index in order:
        match kind:
            case "pair":
                yield shown[index]
            case "catch":
                yield catch[index]
            case _:
                t = shown[index]
                yield Trial(
                    "repeat", t.case, t.right, t.left, t.right_image, t.left_image, t.item, repeats=place[index]
                )


def _keep(images: dict[str, Image], image: Image) -> str:
    """Add an image under its id, 12 hexadecimal digits of the hash of its pixels, and return that."""
    name = _image_id(image)
    images[name] = image
    return name


def _image_id(image: Image) -> str:
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:12]


def _content(design: Design) -> dict[str, Any]:
    """Return the part of a design that its hash names, as JSON values."""
    content = {"format": FORMAT, "version": VERSION, **asdict(design)}
    return {name: value for name, value in content.items() if name not in NOT_HASHED}


def design_hash(design: Design) -> str:
    """Return 16 hexadecimal digits that name a design with its images and instructions."""
    return spec_hash(_content(design))


def write_design(path: Path, design: Design) -> None:
    """Write a design as JSON, one trial a line, atomically."""
    content = {name: getattr(design, name) for name in NOT_HASHED} | _content(design)
    trials = content.pop("trials")
    lines = ",\n".join(
        " [\n" + ",\n".join(f"  {json.dumps(trial, ensure_ascii=False)}" for trial in shown) + "\n ]"
        for shown in trials
    )
    head = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
    write_bytes(path, f'{head},\n "trials": [\n{lines}\n ]\n}}\n'.encode())


def read_design(path: Path, fix: str = "Make it again with `snakemake user_study`.") -> Design:
    """Read a design; raise `UserError` that names the file and the fix if it is missing, unreadable or was changed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        design = Design(
            content["hash"],
            content["experiment"],
            content["task"],
            content["settings"],
            tuple(content["editors"]),
            {case: (image, instruction) for case, (image, instruction) in content["sources"].items()},
            tuple(tuple(Trial(**trial) for trial in session) for session in content["trials"]),
            content["responses"],
            tuple(content.get("unjudged", ())),
            tuple(content.get("changed", ())),
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such design. {fix}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a design of a user study ({error}). {fix}") from None
    if design.hash != design_hash(design):
        raise UserError(f"{path}: its content does not belong to its hash, so it was changed. {fix}")
    return design
