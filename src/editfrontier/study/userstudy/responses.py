"""What participants sent back: files read, checked, and matched to the design. Nothing is dropped without a word."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.study.userstudy.materials import Design, Trial

FORMAT, VERSION = "editfrontier-user-study", 1
CHOICES = ("left", "right", "tie")
_LARGEST = 5_000_000
"""Bytes of a file; a complete session of 110 trials has less than 20,000."""


@dataclass(frozen=True)
class Answer:
    """What a participant chose in a trial: "left", "right" or "tie", after so many milliseconds."""

    choice: str
    ms: float


@dataclass(frozen=True)
class Session:
    """The answers of one participant.

    Attributes:
        participant: number, from 1.
        started, finished: times in UTC as ISO 8601; finished is "" as long as trials are open.
        answers: number of the trial, from 1 -> answer.
        faults: what was wrong with single answers, which were left out.
    """

    file: Path
    participant: int
    started: str
    finished: str
    answers: Mapping[int, Answer]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Responses:
    """All files of a folder. ignored: (file, why) of those that do not count as a whole."""

    sessions: tuple[Session, ...]
    ignored: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Judgement:
    """An answer in terms of editors. vote: 1 if `first` won, -1 if `second` won, 0 for a tie."""

    participant: int
    item: int
    case: str
    first: str
    second: str
    vote: int
    left: bool  # whether `first` stood on the left
    ms: float


def answered_designs(files: Sequence[Path]) -> Counter[str]:
    """Return hash of a design -> number of files that answer it; files that are no responses are left out."""
    answering: Counter[str] = Counter()
    for file in files:
        try:
            content = _read(file)
        except UserError:
            continue
        if content.get("format") == FORMAT and content.get("answers") and isinstance(content.get("design"), str):
            answering[content["design"]] += 1
    return answering


def collect_responses(files: Sequence[Path], design: Design) -> Responses:
    """Read files of responses to a design.

    A file that cannot be read, is of another design, or repeats a participant is ignored as a whole, with the reason.
    Of several files of one participant the most complete one counts, among equals the one finished last.
    """
    read: dict[int, list[Session]] = {}
    ignored: list[tuple[Path, str]] = []
    for file in sorted(files):
        try:
            session = read_session(file, design)
        except UserError as error:
            ignored.append((file, str(error)))
        else:
            read.setdefault(session.participant, []).append(session)
    sessions = []
    for _, candidates in sorted(read.items()):
        best, *others = sorted(candidates, key=lambda s: (-len(s.answers), _descending(s.finished), str(s.file)))
        sessions.append(best)
        for other in others:
            if other.answers == best.answers:
                why = f"the same answers as {best.file.name}, counted once"
            elif other.answers.items() <= best.answers.items():
                why = f"an earlier state of {best.file.name}, which counts"
            else:
                better = "has more answers" if len(best.answers) > len(other.answers) else "was finished last"
                why = (
                    f"participant {other.participant} sent different answers in {best.file.name}, which {better} and "
                    "counts. If two people used one number, ask one of them to take another"
                )
            ignored.append((other.file, why))
    return Responses(tuple(sessions), tuple(sorted(ignored)))


def _descending(text: str) -> tuple[int, ...]:
    return tuple(-ord(character) for character in text) or (0,)


def read_session(file: Path, design: Design) -> Session:
    """Read one file; answers that are wrong by themselves are left out and named in `faults`.

    Raises:
        UserError: why the file as a whole cannot count.
    """
    content = _read(file)
    if content.get("format") != FORMAT:
        raise UserError(f"it is no file of responses ('format' is not '{FORMAT}')")
    if content.get("version") != VERSION:
        raise UserError(f"its version is {_show(content.get('version'))}, expected {VERSION}")
    if content.get("design") != design.hash:
        raise UserError(f"it answers the design {_show(content.get('design'))}, but this study's is {design.hash}")
    participant = content.get("participant")
    if type(participant) is not int or not 1 <= participant <= len(design.trials):
        raise UserError(f"participant {_show(participant)}, expected a number from 1 to {len(design.trials)}")
    entries = content.get("answers")
    if not isinstance(entries, list):
        raise UserError(f"'answers' is {_show(entries)}, expected a list")
    answers: dict[int, Answer] = {}
    faults = []
    for position, entry in enumerate(entries, start=1):
        try:
            number, answer = _answer(entry, design.trials[participant - 1])
        except UserError as error:
            faults.append(f"answer {position}: {error}")
            continue
        if number in answers:
            faults.append(f"answer {position}: trial {number} was answered before; the later answer counts")
        answers[number] = answer
    if not answers:
        raise UserError("it holds no valid answer" + (f" ({faults[0]})" if faults else ""))
    started, finished = (value if isinstance(value := content.get(key), str) else "" for key in ("started", "finished"))
    complete = len(answers) == len(design.trials[participant - 1])
    return Session(file, participant, started, finished if complete else "", answers, tuple(faults))


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST:
            raise UserError(f"it has more than {_LARGEST:,} bytes, no session is that large")
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"it is not valid JSON ({error}); it may have been cut off") from None
    if not isinstance(content, dict):
        raise UserError(f"it holds {_show(content)}, expected a JSON object")
    return content


def _answer(entry: Any, trials: Sequence[Trial]) -> tuple[int, Answer]:
    if not isinstance(entry, dict):
        raise UserError(f"{_show(entry)}, expected an object")
    number, choice, ms = entry.get("trial"), entry.get("choice"), entry.get("ms")
    if type(number) is not int or not 1 <= number <= len(trials):
        raise UserError(f"there is no trial {_show(number)}, expected a number from 1 to {len(trials)}")
    trial = trials[number - 1]
    if choice not in CHOICES:
        raise UserError(f"choice {_show(choice)} of trial {number}, expected left, right or tie")
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not math.isfinite(ms) or ms < 0:
        raise UserError(f"ms {_show(ms)} of trial {number}, expected milliseconds")
    if (entry.get("left"), entry.get("right")) != (trial.left_image, trial.right_image):
        raise UserError(f"the design has other images in trial {number}")
    return number, Answer(choice, float(ms))


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def judgement_of(session: Session, trials: Sequence[Trial], number: int) -> Judgement:
    """Return the answer to a pair or a repeat in terms of editors, these in alphabetic order."""
    trial, answer = trials[number - 1], session.answers[number]
    first, second = sorted((trial.left, trial.right))
    for_left = {"left": 1, "right": -1, "tie": 0}[answer.choice]
    left = first == trial.left
    return Judgement(
        session.participant, trial.item, trial.case, first, second, for_left if left else -for_left, left, answer.ms
    )


def catch_results(session: Session, trials: Sequence[Trial]) -> list[bool]:
    """Return whether each answered catch trial was answered right; a tie is not right."""
    return [
        answer.choice == trials[number - 1].answer
        for number, answer in sorted(session.answers.items())
        if trials[number - 1].kind == "catch"
    ]


def judgements_of(session: Session, design: Design, kind: str = "pair") -> list[Judgement]:
    """Return a session's answers to trials of one kind, "pair" or "repeat"."""
    trials = design.trials[session.participant - 1]
    return [judgement_of(session, trials, n) for n in sorted(session.answers) if trials[n - 1].kind == kind]


def repeated_votes(session: Session, design: Design) -> list[tuple[Judgement, Judgement]]:
    """Return the answers to a pair and to its repeat, where both were given."""
    trials = design.trials[session.participant - 1]
    return [
        (judgement_of(session, trials, trials[n - 1].repeats), judgement_of(session, trials, n))
        for n in sorted(session.answers)
        if trials[n - 1].kind == "repeat" and trials[n - 1].repeats in session.answers
    ]
