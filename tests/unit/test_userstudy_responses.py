"""Responses of the user study: files good and bad, the analysis without and with them, from answers to findings."""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.statistics.set_bootstrap import NO_IMAGES
from editfrontier.study.analyses.user_study import ANALYSIS
from editfrontier.study.analysis import NoParams
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.inputs import Inputs
from editfrontier.study.results.naming import parse_table
from editfrontier.study.run import draw_analysis
from editfrontier.study.userstudy.materials import Trial
from editfrontier.study.userstudy.page import write_study
from editfrontier.study.userstudy.responses import collect_responses, judgements_of, read_session
from userstudy_fixture import EDITORS, inputs_of, make_results, preferring, response, write_response

STRENGTHS = {"instruct_pix2pix": 1.0, "mask_guided": 0.4, "sd_inpaint": -0.3, "sdedit": -1.1}
LOG_TIE = -0.5
# Metrics that order editors as people do, the other way round, and not at all; lower is better for the second.
VALUES = {
    "id_sim": STRENGTHS,
    "lpips_bg_masked": {name: 2 - value for name, value in STRENGTHS.items()},
    "quality": {name: -value for name, value in STRENGTHS.items()},
    "success": dict.fromkeys(STRENGTHS, 1.0),
}


class World:
    """A finished study of 20 participants on disk, and its findings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = make_results(root, cases=30, values=VALUES)
        entry = {
            "experiment": "table1", "participants": 20, "pairs": 40, "raters": 5, "catch_trials": 3, "repeats": 4,
            "responses": str(root / "responses/test"),
        }  # fmt: skip
        folder = root / "user_study"
        self.design = write_study(root, self.table, entry, folder / "index.html", folder / "design.json")

    def run(self, files: list[Path]) -> list[Finding]:
        return list(ANALYSIS.run(inputs_of(self.root, self.table, files), NoParams()))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("results"))


def left(_: int, trial: Trial) -> str:
    return trial.answer or "left"


def one(rows: list[Finding], quantity: str, **values: str) -> Finding:
    (found,) = [r for r in rows if r.quantity == quantity and all(getattr(r, k) == v for k, v in values.items())]
    return found


# --- nothing to read -------------------------------------------------------------------------------------------------


def test_without_responses_there_is_one_finding_and_nothing_in_their_place(world: World, tmp_path: Path) -> None:
    rows = world.run([])
    assert [(r.quantity, r.value) for r in rows] == [("responses", 0), ("files_ignored", 0)]
    assert "no responses yet" in rows[0].note
    assert "responses/test/" in rows[0].note
    findings, inputs = Findings(tuple(rows), {}), inputs_of(world.root, world.table, [])
    assert "No responses yet" in ANALYSIS.say(findings, inputs)[0]
    draw_analysis(ANALYSIS, findings, inputs, NoParams(), tmp_path / "figure")
    for kind in ("pdf", "svg", "png"):
        assert (tmp_path / f"figure.{kind}").stat().st_size > 1000


def test_files_that_cannot_be_used_are_no_responses(world: World, tmp_path: Path) -> None:
    rows = world.run([write_response(tmp_path, "a.json", "{")])
    assert one(rows, "responses").value == 0
    assert "none of the 1 files" in one(rows, "responses").note
    assert {r.quantity for r in rows} == {"responses", "files_ignored"}


def test_a_changed_design_and_one_of_another_experiment_are_errors(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such design"):
        ANALYSIS.run(inputs_of(tmp_path, world.table, []), NoParams())
    inputs = dataclasses.replace(inputs_of(world.root, world.table, []), experiments={})
    with pytest.raises(UserError, match="people judged the experiment 'table1', which the entry does not name"):
        ANALYSIS.run(inputs, NoParams())


# --- single files ----------------------------------------------------------------------------------------------------


def test_a_complete_file_is_read_as_it_was_answered(world: World, tmp_path: Path) -> None:
    session = read_session(write_response(tmp_path, "p.json", response(world.design, 7, left)), world.design)
    assert (session.participant, len(session.answers), session.faults) == (7, 47, ())
    assert session.finished
    votes = judgements_of(session, world.design)
    assert len(votes) == 40
    trials = [t for t in world.design.trials[6] if t.kind == "pair"]
    for trial, judgement in zip(trials, votes, strict=True):
        assert [judgement.first, judgement.second] == sorted([trial.left, trial.right])
        assert judgement.vote == (1 if judgement.first == trial.left else -1)
        assert judgement.left == (judgement.first == trial.left)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not valid JSON"),
        ('{"format": "editfrontier-user-study", "answers": [', "it may have been cut off"),
        ("\x00\x01", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "expected a JSON object"),
        ({"format": "else"}, "it is no file of responses"),
        ({"version": 2}, "its version is 2, expected 1"),
        ({"design": "0123456789abcdef"}, 'answers the design "0123456789abcdef", but this study\'s is'),
        ({"participant": 21}, "participant 21, expected a number from 1 to 20"),
        ({"participant": True}, "participant true"),
        ({"participant": "3"}, 'participant "3"'),
        ({"answers": {"1": "left"}}, '\'answers\' is {"1": "left"}, expected a list'),
        ({"answers": []}, "it holds no valid answer"),
        ({"answers": [{"trial": 99, "choice": "left", "ms": 1}]}, "no valid answer (answer 1: there is no trial 99"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_ignored_and_counted(
    world: World, tmp_path: Path, content: str | dict, reason: str
) -> None:
    good = write_response(tmp_path, "good.json", response(world.design, 1, left))
    bad = content if isinstance(content, str) else response(world.design, 3, left) | content
    rows = world.run([good, write_response(tmp_path, "bad.json", bad)])
    assert one(rows, "responses").value == 1
    assert one(rows, "files_ignored", level="").value == 1
    note = one(rows, "files_ignored", level="bad.json").note
    assert note.startswith("bad.json: ")
    assert reason in note


def test_a_missing_file_and_bytes_that_are_no_text(world: World, tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00{")
    (tmp_path / "folder.json").mkdir()
    found = collect_responses([binary, tmp_path / "folder.json", tmp_path / "gone.json"], world.design)
    assert [file.name for file, _ in found.ignored] == ["binary.json", "folder.json", "gone.json"]
    assert found.sessions == ()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"trial": 48}, "there is no trial 48, expected a number from 1 to 47"),
        ({"trial": 1.5}, "there is no trial 1.5"),
        ({"choice": "both"}, 'choice "both" of trial 5'),
        ({"choice": ["left"]}, "of trial 5, expected left, right or tie"),
        ({"ms": -3}, "ms -3 of trial 5"),
        ({"ms": None}, "ms null of trial 5"),
        ({"left": "0" * 12}, "the design has other images in trial 5"),
        ({"trial": 4}, "the design has other images in trial 4"),
    ],
)
def test_one_bad_answer_does_not_cost_the_others(world: World, tmp_path: Path, fault: dict, message: str) -> None:
    content = response(world.design, 2, left)
    content["answers"][4] |= fault
    session = read_session(write_response(tmp_path, "p.json", content), world.design)
    assert set(session.answers) == set(range(1, 48)) - {5}
    (text,) = session.faults
    assert text.startswith("answer 5: ")
    assert message in text
    rows = world.run([tmp_path / "p.json"])
    assert message in one(rows, "answers_ignored", level="p.json").note
    assert one(rows, "answered").value == pytest.approx(46 / 47)


def test_an_answer_given_twice_counts_once(world: World, tmp_path: Path) -> None:
    content = response(world.design, 2, left)
    content["answers"].append(content["answers"][0] | {"choice": "tie"})
    session = read_session(write_response(tmp_path, "p.json", content), world.design)
    assert session.answers[1].choice == "tie"
    assert "trial 1 was answered before" in session.faults[0]


def test_a_partial_session_counts_and_is_named(world: World, tmp_path: Path) -> None:
    part = response(world.design, 4, left, count=20)
    part["finished"] = "2026-01-01T11:00:00.000Z"  # a claim that its answers do not bear out
    rows = world.run([write_response(tmp_path, "part.json", part)])
    row = one(rows, "answered", level="participant 4")
    assert (row.value, row.n) == (20 / 47, 20)
    assert "1 did not answer every pair" in one(rows, "responses").note
    expected = sum(trial.kind == "pair" for trial in world.design.trials[3][:20])
    assert one(rows, "responses").n == expected


# --- several files of one participant --------------------------------------------------------------------------------


def test_copies_and_earlier_states_of_a_session_count_once(world: World, tmp_path: Path) -> None:
    full = response(world.design, 5, left)
    files = [
        write_response(tmp_path, "a.json", full),
        write_response(tmp_path, "b.json", full),
        write_response(tmp_path, "early.json", response(world.design, 5, left, count=9)),
    ]
    found = collect_responses(files, world.design)
    assert [session.file.name for session in found.sessions] == ["a.json"]
    assert {file.name: reason for file, reason in found.ignored} == {
        "b.json": "the same answers as a.json, counted once",
        "early.json": "an earlier state of a.json, which counts",
    }


def test_of_different_files_of_one_participant_the_fullest_then_the_latest_counts(world: World, tmp_path: Path) -> None:
    first = response(world.design, 5, left)
    later = response(world.design, 5, lambda _, t: t.answer or "tie") | {"finished": "2026-02-01T10:00:00.000Z"}
    latest_but_partial = response(world.design, 5, lambda _, t: t.answer or "right", count=30)
    files = [
        write_response(tmp_path, "first.json", first),
        write_response(tmp_path, "later.json", later),
        write_response(tmp_path, "partial.json", latest_but_partial),
    ]
    rows = world.run(files)
    assert one(rows, "responses").value == 1
    assert one(rows, "ties").value == 1.0
    for name in ("first.json", "partial.json"):
        note = one(rows, "files_ignored", level=name).note
        assert "different answers in later.json" in note
        assert ("was finished last" in note) == (name == "first.json")


# --- who counts ------------------------------------------------------------------------------------------------------


def test_who_fails_catch_trials_is_left_out_by_the_rule_of_the_design(world: World, tmp_path: Path) -> None:
    def failing(times: int):  # type: ignore[no-untyped-def]
        failed = []

        def choose(number: int, trial: Trial) -> str:
            if trial.kind == "catch" and len(failed) < times:
                failed.append(number)
                return {"left": "right", "right": "tie"}[trial.answer]
            return trial.answer or "left"

        return choose

    once = write_response(tmp_path, "once.json", response(world.design, 1, failing(1)))
    twice = write_response(tmp_path, "twice.json", response(world.design, 2, failing(2)))
    rows = world.run([once, twice])
    assert one(rows, "responses").value == 1
    row = one(rows, "excluded", level="participant 2")
    assert (row.value, row.n) == (2, 3)
    assert "2 of 3 trials with a known answer failed, 1 allowed" in row.note
    assert one(rows, "catch_passed").value == pytest.approx(3 / 6)
    rows = world.run([twice])
    assert one(rows, "responses").value == 0
    assert "none of the participants' answers count" in one(rows, "responses").note
    assert {r.quantity for r in rows} == {"responses", "files_ignored", "excluded"}


# --- answers with known strengths ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Finding], list[Path]]:
    rng = np.random.default_rng(11)
    folder = tmp_path_factory.mktemp("responses")
    files = [
        write_response(folder, f"p{p:02d}.json", response(world.design, p, preferring(STRENGTHS, LOG_TIE, rng)))
        for p in range(1, 21)
    ]
    return world.run(files), files


def test_known_strengths_come_back(known: tuple[list[Finding], list[Path]]) -> None:
    rows, _ = known
    assert (one(rows, "responses").value, one(rows, "responses").n) == (20, 800)
    centre = np.mean(list(STRENGTHS.values()))
    for editor, strength in STRENGTHS.items():
        row = one(rows, "strength", variant=editor)
        assert row.low < strength - centre < row.high
        assert 0.2 < row.high - row.low < 1.2
        assert abs(row.n - 400) <= 15  # three pairs of editors with as many comparisons, within one, of five answers
    assert [r.variant for r in rows if r.quantity == "preferred"] == sorted(STRENGTHS, key=lambda e: -STRENGTHS[e])
    rates = [one(rows, "preferred", variant=editor).value for editor in EDITORS]
    assert np.mean(rates) == pytest.approx(0.5)


def test_metrics_that_order_editors_as_people_do_are_told_from_others(known: tuple[list[Finding], list[Path]]) -> None:
    rows, _ = known
    for quantity in ("spearman", "kendall"):
        assert one(rows, quantity, metric="id_sim").value == pytest.approx(1.0)
        assert one(rows, quantity, metric="lpips_bg_masked").value == pytest.approx(1.0)
        assert one(rows, quantity, metric="quality").value == pytest.approx(-1.0)
        assert math.isnan(one(rows, quantity, metric="success").value)
    right, wrong = one(rows, "accuracy", metric="id_sim"), one(rows, "accuracy", metric="quality")
    assert right.value > 0.7
    assert right.low > 0.6
    assert right.value + wrong.value == pytest.approx(1.0)
    assert one(rows, "accuracy", metric="success").value == 0.5
    people = one(rows, "accuracy", level="people")
    assert 0.5 < people.value < right.value  # the metric knows the strengths, the people are noisy


def test_a_metric_that_needs_images_of_the_reference_says_so(
    world: World, known: tuple[list[Finding], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Inputs.scores
    published = (np.zeros(2), np.eye(2))
    monkeypatch.setattr(Inputs, "scores", lambda *arguments: replace(usual(*arguments), moments=published))
    table = replace(parse_table(world.table), metrics=("id_sim", "kid"))
    inputs = replace(inputs_of(world.root, world.table, known[1]), experiments={"table1": table})
    rows = list(ANALYSIS.run(inputs, NoParams()))
    for quantity in ("spearman", "kendall"):
        row = one(rows, quantity, metric="kid")
        assert math.isnan(row.value) and row.note == NO_IMAGES
        assert one(rows, quantity, metric="id_sim").value == pytest.approx(1.0)
    assert ANALYSIS.say(Findings(tuple(rows), {}), inputs)


def test_what_is_said_of_answers_that_are_drawn_independently(known: tuple[list[Finding], list[Path]]) -> None:
    rows, _ = known
    # Two independent answers agree as often as the model says; alpha follows from the strengths alone.
    assert 0.02 < one(rows, "alpha").value < 0.25
    assert one(rows, "left_share").low < 0.5 < one(rows, "left_share").high
    assert one(rows, "catch_passed").value == 1.0
    assert one(rows, "seconds").value == 1.5
    assert 0.3 < one(rows, "consistency").value < 0.65
    assert one(rows, "consistency").n == 80


def test_findings_are_declared_drawn_and_said(
    world: World, known: tuple[list[Finding], list[Path]], tmp_path: Path
) -> None:
    rows, files = known
    assert {row.quantity for row in rows} <= set(ANALYSIS.quantities)
    findings, inputs = Findings(tuple(rows), {}), inputs_of(world.root, world.table, files)
    draw_analysis(ANALYSIS, findings, inputs, NoParams(), tmp_path / "figure")
    xml.etree.ElementTree.parse(tmp_path / "figure.svg")
    text = " ".join(ANALYSIS.say(findings, inputs))
    assert "20 participants gave 800 judgements. They prefer InstructPix2Pix" in text
    assert (
        "2 of 3 metrics rank the editors as people do (interval of the rank correlation above 0), 1 the other" in text
    )


def test_one_participant_has_estimates_without_intervals(world: World, known: tuple[list[Finding], list[Path]]) -> None:
    rows = world.run(known[1][:1])
    row = one(rows, "strength", variant="sdedit")
    assert math.isfinite(row.value)
    assert math.isnan(row.low)
    assert "at least two participants" in row.note
    assert math.isnan(one(rows, "alpha").value)


def test_two_editors_have_no_rank_correlation(tmp_path: Path) -> None:
    editors = EDITORS[:2]
    table = make_results(tmp_path, editors=editors, values={"id_sim": {e: STRENGTHS[e] for e in editors}})
    entry = {"experiment": "table1", "participants": 2, "pairs": 6, "raters": 1, "catch_trials": 1, "repeats": 0,
             "responses": str(tmp_path / "responses")}  # fmt: skip
    design = write_study(
        tmp_path, table, entry, tmp_path / "user_study/index.html", tmp_path / "user_study/design.json"
    )
    file = write_response(tmp_path / "responses", "p.json", response(design, 1, left))
    rows = list(ANALYSIS.run(inputs_of(tmp_path, table, [file]), NoParams()))
    row = one(rows, "spearman", metric="id_sim")
    assert math.isnan(row.value)
    assert "2 editors have no order to compare" in row.note
    assert "consistency" not in {r.quantity for r in rows}
    assert ANALYSIS.say(Findings(tuple(rows), {}), inputs_of(tmp_path, table, [file]))
