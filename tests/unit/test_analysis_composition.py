"""Composition of edits, on sequences whose outcomes are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from chains_fixture import NAMES, entry_of, make_chain, write_study
from editfrontier.base.errors import UserError
from editfrontier.study.analyses import composition
from editfrontier.study.findings import Finding, Findings, read_findings
from editfrontier.study.run import run_analysis

PARAMS = composition.CompositionParams()


def portraits(count: int) -> list[Any]:
    """Four chains a portrait: two and three attributes, forward and reversed."""
    made = []
    for i in range(count):
        for length in (2, 3):
            for order in ("forward", "reversed"):
                names = list(NAMES[:length])
                sequence = names if order == "forward" else names[::-1]
                made.append(make_chain(f"p{i}-{length}-{order}", f"p{i}", sequence, order=order, length=length))
    return made


def found(inputs: Any) -> Findings:
    return Findings(tuple(composition.run(inputs, PARAMS)), {})


def the(findings: Findings, quantity: str, **values: Any) -> Finding:
    (row,) = findings.select(quantity, **{"level": "", **values})
    return row


def seen(*names: str) -> dict[str, Any]:
    return {"attributes": [0.9 if name in names else 0.1 for name in NAMES]}


def asked(chains: list[Any], chain: int, k: int) -> list[str]:
    return [case.attribute for case in chains[chain][:k]]


def test_an_editor_that_keeps_everything_and_one_that_keeps_the_last_only(tmp_path: Path) -> None:
    chains = portraits(4)
    variants = {
        "keeps": lambda chain, k: seen(*asked(chains, chain, k)),
        "forgets": lambda chain, k: seen(asked(chains, chain, k)[-1]),
    }
    findings = found(write_study(tmp_path, chains, variants))
    for name, kept in (("keeps", 1), ("forgets", 0)):
        assert the(findings, "both_retained", variant=name).value == kept
        assert the(findings, "both_retained", variant=name).n == 16
        assert the(findings, "all_retained", variant=name).value == kept
        assert the(findings, "all_retained", variant=name).n == 8
        assert the(findings, "first_succeeded", variant=name).value == 1
        assert the(findings, "washed_out", variant=name).value == 1 - kept
        assert the(findings, "second_failed", variant=name).value == 0
        assert the(findings, "washed_out_minus_failed", variant=name).value == 1 - kept
        assert the(findings, "order_differs", variant=name).value == 0
        assert the(findings, "last_minus_first", variant=name).value == 1 - kept
        # Wilson's bounds, since all resamples are equal.
        rate = the(findings, "both_retained", variant=name)
        assert (rate.low, rate.high) == pytest.approx((0.5101, 1) if kept else (0, 0.4899), abs=1e-3)
    assert the(findings, "both_retained", variant="").value == pytest.approx(0.5)
    assert the(findings, "both_retained", variant="").n == 32
    assert the(findings, "washed_out", variant="").value == pytest.approx(0.5)


def test_washed_out_counts_only_first_edits_that_had_succeeded(tmp_path: Path) -> None:
    chains = [make_chain(f"c{i}", f"s{i}", ["smile", "hat"], order="forward", length=2) for i in range(10)]

    def behave(chain: int, k: int) -> dict[str, Any]:
        if chain < 2:  # the first edit fails
            return seen(*(["hat"] if k == 2 else []))
        if k == 1:
            return seen("smile")
        if chain < 5:  # three of eight are washed out
            return seen("hat")
        return seen("smile") if chain < 7 else seen("smile", "hat")  # in two of eight the second edit fails

    findings = found(write_study(tmp_path, chains, {"theirs": behave}))
    assert the(findings, "first_succeeded", variant="theirs").value == pytest.approx(0.8)
    washed, failed = (the(findings, name, variant="theirs") for name in ("washed_out", "second_failed"))
    assert (washed.value, washed.n) == (pytest.approx(3 / 8), 8)
    assert (failed.value, failed.n) == (pytest.approx(2 / 8), 8)
    gap = the(findings, "washed_out_minus_failed", variant="theirs")
    assert (gap.value, gap.n) == (pytest.approx(1 / 8), 8)
    assert gap.low < 0 < gap.high
    assert the(findings, "both_retained", variant="theirs").value == pytest.approx(3 / 10)
    assert not findings.select("all_retained")  # no sequence has three edits
    assert the(findings, "order_effect", variant="theirs").note == "no sequence was edited in both orders"


def test_the_order_matters_where_only_one_order_works(tmp_path: Path) -> None:
    chains = portraits(4)

    def behave(chain: int, k: int) -> dict[str, Any]:
        names = asked(chains, chain, k)
        forward = "forward" in chains[chain][0].chain
        # For three of the four portraits the reversed order loses its first attribute at the second step.
        if not forward and k >= 2 and chain >= 4:
            names = names[1:]
        return {**seen(*names), "level": 10 if forward else 40}

    findings = found(write_study(tmp_path, chains, {"theirs": behave}))
    assert the(findings, "order_effect", variant="theirs").value == pytest.approx(0.75)
    assert the(findings, "order_differs", variant="theirs").value == pytest.approx(0.75)
    assert the(findings, "both_retained", variant="theirs", level="forward").value == 1
    assert the(findings, "both_retained", variant="theirs", level="reversed").value == pytest.approx(0.25)
    # Forward all is kept; reversed the first one is lost, which is the last one forward: half of the gap of each pair.
    assert the(findings, "last_minus_first", variant="theirs").value == pytest.approx(0.75 / 2)
    assert the(findings, "order_distance", variant="theirs").value == pytest.approx(30 / 255)


def test_steps_that_were_not_run_are_counted_and_left_out(tmp_path: Path) -> None:
    chains = portraits(2)

    def behave(chain: int, k: int) -> dict[str, Any] | str:
        if chain == 3:
            return "failed" if k == 1 else "not run"
        return seen(*asked(chains, chain, k))

    inputs = write_study(tmp_path, chains, {"theirs": behave})
    findings = found(inputs)
    assert the(findings, "failed", variant="theirs").value == 1
    assert the(findings, "not_run", variant="theirs").value == 2
    assert the(findings, "both_retained", variant="theirs").n == 7
    assert the(findings, "all_retained", variant="theirs").n == 3
    assert "1 steps failed, and 2 after them were not run." in composition.say(findings, inputs)


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    one = [make_chain("c", "s", ["smile"], 1)]
    inputs = write_study(tmp_path / "one", one, {"theirs": lambda chain, k: seen()})
    with pytest.raises(UserError, match="the longest chain of task 'chains' has one step"):
        composition.run(inputs, PARAMS)
    inputs = write_study(tmp_path / "gone", portraits(1), {"theirs": lambda chain, k: "failed"})
    findings = found(inputs)
    row = the(findings, "both_retained", variant="theirs")
    assert (math.isnan(row.value), row.n, row.note) == (True, 0, "there is no such sequence")
    assert not any("NaN" in text or "nan" in text for text in composition.say(findings, inputs))


def test_findings_and_figure_are_written(tmp_path: Path) -> None:
    chains = portraits(3)
    variants = {
        "sdedit": lambda chain, k: {**seen(*asked(chains, chain, k)[-1:]), "level": chain + k},
        "true_edit": lambda chain, k: seen(*asked(chains, chain, k)),
    }
    write_study(tmp_path, chains, variants, ["true_edit"])
    out = tmp_path / "analyses" / "composition.parquet"
    run_analysis("composition", entry_of(list(variants), ["true_edit"], "composition"), tmp_path, out)
    assert all(out.with_suffix(f".{kind}").stat().st_size > 300 for kind in ("pdf", "svg", "png", "csv"))
    sentences = read_findings(out).provenance["sentences"]
    assert "are both there in 0% [0%, 56%] of 12 sequences, three in 0% [0%, 56%] of 6" in sentences[0]
    assert "washes a first one out in 100%" in sentences[1]
    assert ": more often (+100%" in sentences[1]
