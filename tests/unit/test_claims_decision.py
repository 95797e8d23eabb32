"""The rule of all verdicts, on effects whose verdict is known."""

from __future__ import annotations

import math

import pytest

from editfrontier.statistics.estimate import Effect
from editfrontier.study.judging.decision import Part, decide
from editfrontier.study.judging.verdict import Absent


def part(value: float, half: float, p: float = math.nan, **bounds: float) -> Part:
    return Part(what="A minus B", effect=Effect(value, value - half, value + half, 10, p), **(bounds or {"above": 0.0}))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (part(1.0, 0.5), "supported"),
        (part(-1.0, 0.5), "not supported"),
        (part(1.0, 1.5), "inconclusive"),
        (part(0.45, 0.1, above=0.5), "inconclusive"),
        (part(0.3, 0.1, above=0.5), "not supported"),  # above zero, yet all of it is less than what counts
        (part(-1.0, 0.5, below=0.0), "supported"),
        (part(1.0, 0.5, below=0.0), "not supported"),
        (part(0.5, 0.1, above=0.3, below=0.7), "supported"),
        (part(0.5, 0.3, above=0.3, below=0.7), "inconclusive"),
        (part(0.9, 0.1, above=0.3, below=0.7), "not supported"),
        (part(3.0, 0.0, above=2.0), "supported"),  # counted, not estimated
        (part(1.0, math.nan), "inconclusive"),
        (part(1.0, 0.5, p=0.2), "inconclusive"),
    ],
)
def test_verdict_of_one_part(made: Part, expected: str) -> None:
    assert decide([made]).verdict == expected


def test_all_parts_must_hold_and_the_worst_is_shown() -> None:
    good, bad, loose = part(2.0, 0.1), part(-1.0, 0.1), part(0.05, 0.1)
    assert decide([good, part(1.0, 0.1)]).effect.value == 1.0
    assert decide([good, bad, loose]).verdict == "not supported"
    assert decide([good, bad, loose]).effect.value == -1.0
    found = decide([good, loose])
    assert (found.verdict, found.effect.value, found.effect.n) == ("inconclusive", 0.05, 10)
    assert "one of 2 parts, of which 1 hold and 0 are contradicted." in found.reason


def test_what_is_estimated_is_shown_rather_than_what_was_counted() -> None:
    counted = part(1.0, 0.0, above=0.95)
    assert decide([counted, part(3.0, 0.1)]).effect.value == 3.0
    assert decide([part(0.9, 0.0, above=0.95), part(3.0, 0.1)]).effect.value == 0.9


def test_the_weakest_part_is_found_whatever_the_units() -> None:
    tiny, large = part(0.01, 0.001), part(30.0, 20.0)
    assert decide([tiny, large]).effect.value == 30.0
    assert decide([part(-0.01, 0.001), part(-30.0, 20.0)]).effect.value == -0.01


def test_p_values_are_corrected_over_the_parts() -> None:
    parts = [part(1.0, 0.5, p=0.02) for _ in range(3)]
    assert decide(parts[:1]).verdict == "supported"
    assert decide(parts).verdict == "inconclusive"
    assert decide(parts).effect.p == pytest.approx(0.06)
    assert decide([part(1.0, 0.5, p=0.001) for _ in range(3)]).verdict == "supported"
    assert decide([part(-1.0, 0.5, p=0.02), *parts]).verdict == "inconclusive"
    assert decide([part(-1.0, 0.5, p=0.001), *parts]).verdict == "not supported"


def test_level_is_that_of_the_study() -> None:
    assert decide([part(1.0, 0.5, p=0.08)], alpha=0.1).verdict == "supported"


def test_a_part_without_a_value_leaves_the_claim_open_and_no_part_at_all_is_absent() -> None:
    nothing = Part(what="A minus B", effect=Effect(math.nan), above=0.0)
    found = decide([part(1.0, 0.5), nothing])
    assert found.verdict == "inconclusive"
    assert "no case has it" in found.reason
    for parts in ([], [nothing]):
        with pytest.raises(Absent, match="No case has"):
            decide(parts)


def test_reasons_say_what_decided() -> None:
    assert decide([part(1.0, 0.5)]).reason == "The whole interval lies above 0, as claimed."
    assert "but the interval holds 0" in decide([part(0.1, 0.5)]).reason
    assert "but the interval holds 0.7" in decide([part(0.6, 0.2, above=0.3, below=0.7)]).reason
    assert "Claimed between 0.3 and 0.7" in decide([part(2.0, 0.2, above=0.3, below=0.7)]).reason
    assert "p = 0.2" in decide([part(1.0, 0.5, p=0.2)]).reason
    assert "it has no interval" in decide([part(1.0, math.nan)]).reason
