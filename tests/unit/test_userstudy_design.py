"""The design of the user study: balance, determinism, catch trials and repeats, and what happens to missing images."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.study.userstudy.design import assign, choose_items, choose_sides, editor_pairs, trial_order
from editfrontier.study.userstudy.materials import OTHER, TRUE_EDIT, Design, make_design, read_design, write_design
from editfrontier.study.userstudy.settings import StudySettings, response_patterns, settings_problems
from userstudy_fixture import EDITORS, make_results

# (editors, cases, participants, pairs a participant, raters a comparison)
SHAPES = ((9, 64, 20, 100, 5), (7, 500, 20, 100, 5), (4, 30, 7, 33, 3), (2, 8, 3, 4, 2))


def spread(counts: Counter, keys: list) -> int:
    found = [counts[key] for key in keys]
    return max(found) - min(found)


@pytest.mark.parametrize(("editors", "cases", "participants", "load", "raters"), SHAPES)
def test_design_is_balanced(editors: int, cases: int, participants: int, load: int, raters: int) -> None:
    pairs = editor_pairs(editors)
    rng = np.random.default_rng(3)
    count = -(-participants * load // raters)
    items = choose_items(np.ones((len(pairs), cases), dtype=bool), count, rng)
    assert len(set(items)) == count
    assert spread(Counter(pair for pair, _ in items), list(range(len(pairs)))) <= 1
    assert spread(Counter(case for _, case in items), list(range(cases))) <= 1

    who, what = assign(items, editors, participants, load, raters, rng)
    assert Counter(who.tolist()) == dict.fromkeys(range(participants), load)
    assert len(set(zip(who.tolist(), what.tolist(), strict=True))) == len(who)  # nobody judges a comparison twice
    assert set(Counter(what[what < count - 1].tolist()).values()) <= {raters}
    seen = Counter((w, e) for w, i in zip(who.tolist(), what.tolist(), strict=True) for e in pairs[items[i][0]])
    for person in range(participants):
        assert spread(seen, [(person, e) for e in range(editors)]) <= 4

    of_item = np.array([pair for pair, _ in items])
    left = choose_sides(who, what, of_item, editors, rng)
    excess_pair, excess_editor, excess_person = Counter(), Counter(), Counter()
    for w, i, first in zip(who.tolist(), what.tolist(), left.tolist(), strict=True):
        a, b = pairs[of_item[i]]
        sign = 1 if first else -1
        excess_pair[of_item[i]] += sign
        excess_editor[a] += sign
        excess_editor[b] -= sign
        excess_person[w, a] += sign
        excess_person[w, b] -= sign
    assert max(map(abs, excess_pair.values())) <= 1
    assert max(map(abs, excess_editor.values())) <= 1
    assert max(map(abs, excess_person.values())) <= 4


def test_missing_images_are_replaced_and_the_rest_stays_balanced() -> None:
    available = np.ones((6, 10), dtype=bool)
    available[0, :] = False
    available[0, 2:6] = True  # one pair of editors has four cases only
    items = choose_items(available, 30, np.random.default_rng(0))
    assert all(available[pair, case] for pair, case in items)
    counts = Counter(pair for pair, _ in items)
    assert counts[0] == 4
    assert spread(counts, [1, 2, 3, 4, 5]) <= 1


def test_too_few_comparisons_say_what_to_change() -> None:
    with pytest.raises(UserError, match=r"needs 12 different comparisons, but the edits give 10\. Lower 'pairs'"):
        choose_items(np.ones((1, 10), dtype=bool), 12, np.random.default_rng(0))


def test_order_spreads_catch_trials_and_repeats_come_late() -> None:
    order = trial_order(40, 4, 6, np.random.default_rng(1))
    assert Counter(kind for kind, _ in order) == {"pair": 40, "catch": 4, "repeat": 6}
    assert sorted(index for kind, index in order if kind == "pair") == list(range(40))
    place = {entry: number for number, entry in enumerate(order)}
    for k in range(4):
        assert k / 4 - 0.1 <= place["catch", k] / len(order) <= (k + 1) / 4 + 0.1
    for kind, index in order:
        if kind == "repeat":
            assert place["repeat", index] - place["pair", index] > len(order) / 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Design, dict[str, np.ndarray], Path]:
    root = tmp_path_factory.mktemp("results")
    table = make_results(root, failed=[("sdedit", 2)])
    settings = StudySettings("table1", participants=6, pairs=10, raters=3, catch_trials=2, repeats=3, seed=5)
    return *make_design(root, table, settings), root


def test_every_participant_gets_pairs_catch_trials_and_repeats(made: tuple) -> None:
    design, images, _ = made
    assert len(design.trials) == 6
    used = {name for image, _ in design.sources.values() for name in [image]}
    for own in design.trials:
        assert Counter(trial.kind for trial in own) == {"pair": 10, "catch": 2, "repeat": 3}
        for trial in own:
            used |= {trial.left_image, trial.right_image}
            match trial.kind:
                case "pair":
                    assert {trial.left, trial.right} < set(EDITORS)
                    assert (trial.left, trial.case) != ("sdedit", "case-002") != (trial.right, trial.case)
                case "catch":
                    assert {trial.left, trial.right} == {TRUE_EDIT, OTHER}
                    assert getattr(trial, trial.answer) == TRUE_EDIT
                    assert trial.item == -1
                case "repeat":
                    first = own[trial.repeats - 1]
                    assert (first.kind, first.item, first.case) == ("pair", trial.item, trial.case)
                    assert (first.left, first.right) == (trial.right, trial.left)
                    assert (first.left_image, first.right_image) == (trial.right_image, trial.left_image)
    assert used == set(images)
    shown = Counter(trial.item for own in design.trials for trial in own if trial.kind == "pair")
    assert set(shown.values()) == {3}
    answers = Counter(trial.answer for own in design.trials for trial in own if trial.kind == "catch")
    assert min(answers["left"], answers["right"]) > 0


def test_design_is_the_same_again_and_another_with_another_seed_or_image(made: tuple) -> None:
    design, _, root = made
    table = {"name": "table1", "task": "portraits", "metrics": [], "rows": [{"variant": e} for e in EDITORS]}
    settings = StudySettings("table1", **{k: v for k, v in design.settings.items() if k != "experiment"})
    assert make_design(root, table, settings)[0].hash == design.hash
    assert make_design(root, table, dataclasses.replace(settings, responses="elsewhere"))[0].hash == design.hash
    assert make_design(root, table, dataclasses.replace(settings, seed=6))[0].hash != design.hash
    shown = next(trial for trial in design.trials[0] if trial.kind == "pair")
    image = root / f"edits/portraits/{shown.left}/images/{shown.case}.png"
    before = image.read_bytes()
    image.write_bytes((root / f"data/portraits/{shown.case}.png").read_bytes())
    try:
        assert make_design(root, table, settings)[0].hash != design.hash
    finally:
        image.write_bytes(before)


def test_design_file_round_trip_and_its_faults(made: tuple, tmp_path: Path) -> None:
    design = made[0]
    file = tmp_path / "design.json"
    write_design(file, design)
    assert read_design(file) == design
    content = json.loads(file.read_text())
    content["settings"]["allowed_catch_failures"] = 9
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not belong to its hash"):
        read_design(file)
    file.write_text("[1, 2]")
    with pytest.raises(UserError, match="not a design of a user study"):
        read_design(file)
    with pytest.raises(UserError, match="no such design"):
        read_design(tmp_path / "nothing.json")


def test_catch_trials_need_true_edits(tmp_path: Path) -> None:
    table = make_results(tmp_path, cases=4, true_edits=False)
    settings = StudySettings("table1", participants=2, pairs=4, raters=1, catch_trials=1, repeats=0)
    with pytest.raises(UserError, match="no case has a true edit"):
        make_design(tmp_path, table, settings)
    design, _ = make_design(tmp_path, table, dataclasses.replace(settings, catch_trials=0))
    assert {trial.kind for own in design.trials for trial in own} == {"pair"}


def test_a_source_that_cannot_be_read_is_never_shown(tmp_path: Path) -> None:
    table = make_results(tmp_path, cases=4)
    (tmp_path / "data/portraits/case-001.png").write_bytes(b"\x89PNG cut off")
    settings = StudySettings("table1", participants=2, pairs=9, raters=1, catch_trials=4, repeats=0)
    design, _ = make_design(tmp_path, table, settings)  # 18 comparisons, all that three cases give
    assert set(design.sources) == {"case-000", "case-002", "case-003"}
    assert {trial.case for own in design.trials for trial in own} == set(design.sources)


def config_of(**section: object) -> dict:
    return {
        "run": ["table1"],
        "analyse": ["people"],
        "analyses": {"people": {"analysis": "user_study", "experiments": ["table1"]}},
        "user_study": {"experiment": "table1", **section},
    }


ROWS = [{"variant": name, "control": name == "source"} for name in ("sdedit", "tf_icon", "source")]
TABLES = {"table1": {"rows": ROWS}}


def without(config: dict, *path: str) -> dict:
    node = config
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return config


@pytest.mark.parametrize(
    ("config", "path", "problem"),
    [
        (config_of(experiment="table2"), "user_study experiment", "'table2' is no experiment of 'run'. Did you mean"),
        (config_of(raters=30), "user_study raters", "30 raters of each pair, but only 20 participants"),
        (config_of(repeats=51), "user_study repeats", "at most half of the 100 pairs"),
        (without(config_of(), "analyses", "people", "experiments"), "analyses people experiments", "Add 'table1'"),
        (without(config_of(), "user_study"), "analyses people", "the config has no section 'user_study'"),
    ],
)
def test_settings_that_cannot_be_are_named(config: dict, path: str, problem: str) -> None:
    (where, text), *others = settings_problems(config, TABLES)
    assert (where, others) == (path.split(), [])
    assert problem in text


def test_good_settings_have_no_problem_and_one_editor_has() -> None:
    assert list(settings_problems(config_of(responses="answers/"), TABLES)) == []
    assert response_patterns(config_of(responses="answers/"), "user_study") == ["answers/*.json"]
    assert response_patterns(config_of(), "drift") == []
    alone = {"table1": {"rows": ROWS[1:]}}
    assert "1 editor(s)" in next(settings_problems(config_of(), alone))[1]


def test_pairs_are_all_pairs() -> None:
    assert editor_pairs(4) == list(itertools.combinations(range(4), 2))
