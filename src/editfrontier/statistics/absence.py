"""Why a variant has no value of a metric, and why its cases failed: reasons of cases, counted and put into words."""

from __future__ import annotations

from collections.abc import Iterable

from editfrontier.editing.failures import by_reason
from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics.taskscores import TaskScores

MOST_REASONS = 3
"""Reasons that a text names; the others are counted."""

_LONGEST = 200  # characters of a reason
_NOT_MEASURED = "it was not measured"
_NO_SET = "it needs images of a reference and at least two edits"


def counted_reasons(reasons: Iterable[tuple[str, str]]) -> str:
    """Return reasons with the number of cases that have each, the most frequent first; "" without any.

    Args:
        reasons: (case id, reason) of each case. Reasons that differ in nothing but the case's id are one.
    """
    counts = {reason: len(cases) for reason, cases in by_reason(reasons).items()}
    ordered = sorted(counts, key=lambda reason: (-counts[reason], reason))
    texts = [f"{_short(reason)} ({_cases(counts[reason])})" for reason in ordered[:MOST_REASONS]]
    if rest := ordered[MOST_REASONS:]:
        texts.append(f"{len(rest)} further reasons ({_cases(sum(counts[reason] for reason in rest))})")
    return "; ".join(texts)


def failures_of(data: TaskScores, variant: int) -> str:
    """Return why cases of a variant failed, "" if none did or nothing is known of it."""
    return counted_reasons(data.failures[variant].items()) if data.failures else ""


def absence_of(data: TaskScores, variant: int, metric: str) -> str:
    """Return why no case of a variant has a metric: the cases failed, it cannot speak of them, nothing computes it."""
    total = len(data.values)
    if total and data.failed[variant] == total:
        failures = failures_of(data, variant)
        return f"all {_cases(total)} failed" + (f": {failures}" if failures else "")
    if not METRICS[metric].per_image:
        return _NO_SET
    absent = data.absent[variant].get(metric, {}) if data.absent else {}
    reasons = [(case_id, reason) for reason, cases in absent.items() for case_id in cases]
    if not reasons:
        return data.silent[variant].get(metric, _NOT_MEASURED) if data.silent else _NOT_MEASURED
    kinds = list(by_reason(reasons))
    # A reason that all cases share needs no number.
    return _short(kinds[0]) if len(kinds) == 1 else counted_reasons(reasons)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"
