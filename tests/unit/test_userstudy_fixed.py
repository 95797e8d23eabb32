"""What people have answered stays: the design is fixed while there are responses, and what differs is said."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import write_png
from editfrontier.study.analyses.user_study import ANALYSIS
from editfrontier.study.analysis import NoParams
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.userstudy.materials import Design, Trial, read_design
from editfrontier.study.userstudy.page import write_study
from userstudy_fixture import EDITORS, TASK, inputs_of, make_results, response, write_response

LATER = "zz_later"  # last, so that the pictures of the others are the same with and without it
VALUES = {"id_sim": {editor: index / 10 for index, editor in enumerate((*EDITORS, LATER))}}


def left(_: int, trial: Trial) -> str:
    return trial.answer or "left"


class World:
    """A study on disk, made as the workflow makes it, and the folder of its responses."""

    def __init__(self, root: Path) -> None:
        self.root, self.responses = root, root / "responses"
        self.page, self.file = root / "user_study/index.html", root / "user_study/design.json"
        self.table = make_results(root, cases=10, values=VALUES)

    def make(self, **changes: Any) -> Design:
        entry = {
            "experiment": "table1", "participants": 3, "pairs": 8, "raters": 2, "catch_trials": 1, "repeats": 1,
            "seed": 5, "responses": str(self.responses), **changes,
        }  # fmt: skip
        return write_study(self.root, self.table, entry, self.page, self.file)

    def answer(self, design: Design, participant: int, folder: Path | None = None) -> Path:
        return write_response(
            folder or self.responses, f"participant-{participant:02d}.json", response(design, participant, left)
        )

    def add_row(self) -> None:
        self.table = make_results(self.root, editors=(*EDITORS, LATER), cases=10, values=VALUES)

    def repaint(self, editor: str) -> None:
        for file in (self.root / "edits" / TASK / editor / "images").iterdir():
            write_png(file, np.zeros((8, 8, 3), dtype=np.uint8))

    def findings(self) -> list[Finding]:
        files = sorted(self.responses.glob("*.json"))
        return list(ANALYSIS.run(inputs_of(self.root, self.table, files), NoParams()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def counted(rows: list[Finding]) -> tuple[float, int]:
    (found,) = [(row.value, row.n) for row in rows if row.quantity == "responses"]
    return found


def finding(rows: list[Finding], quantity: str, **where: str) -> Finding:
    (found,) = [r for r in rows if r.quantity == quantity and all(getattr(r, k) == v for k, v in where.items())]
    return found


def test_a_new_row_makes_the_design_anew_only_while_nobody_has_answered(world: World) -> None:
    first = world.make()
    world.add_row()
    assert world.make().hash != first.hash


def test_a_new_row_keeps_the_design_its_page_and_every_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    first, page = world.make(), world.page.read_bytes()
    world.answer(first, 1)
    before = world.findings()
    world.add_row()
    with caplog.at_level(logging.WARNING):
        second = world.make()
    assert (second.hash, second.unjudged, second.changed) == (first.hash, (LATER,), ())
    assert (world.page.read_bytes(), read_design(world.file)) == (page, second)
    assert (
        f"The design {first.hash} is fixed, since people have answered it (files in {world.responses}: 1)"
        in caplog.text
    )
    assert f"Not judged, since they came later: {LATER}." in caplog.text
    assert "give `user_study.responses` another folder" in caplog.text
    after = world.findings()
    assert counted(after) == counted(before) == (1, 8)
    assert finding(after, "unjudged").variant == LATER
    assert [repr(row) for row in after if row.quantity != "unjudged"] == [repr(row) for row in before]
    said = ANALYSIS.say(Findings(tuple(after), {}), inputs_of(world.root, world.table, []))
    assert any(f"There are no judgements of {LATER}" in sentence for sentence in said)


def test_answers_to_a_page_that_was_given_out_before_the_row_came_count(world: World) -> None:
    first, page = world.make(), world.page.read_bytes()
    world.add_row()
    second = world.make()
    assert second.hash != first.hash
    world.answer(first, 2)  # sent back only now
    assert world.make().hash == first.hash
    assert world.page.read_bytes() == page
    assert counted(world.findings())[0] == 1


def test_the_design_survives_the_loss_of_the_results_and_of_a_row(world: World) -> None:
    first = world.make()
    world.answer(first, 1)
    shutil.rmtree(world.root / "user_study")
    gone = world.table["rows"].pop()["variant"]
    second = world.make()
    assert (second.hash, second.changed) == (first.hash, (gone,))
    rows = world.findings()
    assert counted(rows) == (1, 8)
    assert finding(rows, "changed").variant == gone
    assert math.isfinite(finding(rows, "preferred", variant=EDITORS[0]).value)
    correlation = finding(rows, "spearman", metric="id_sim")
    assert math.isnan(correlation.value) and "people saw other images" in correlation.note


def test_a_design_of_before_copies_were_kept_is_found_in_the_results(world: World) -> None:
    first = world.make()
    shutil.rmtree(world.responses / "design")
    world.answer(first, 1)
    world.add_row()
    assert world.make().hash == first.hash
    assert (world.responses / "design" / f"{first.hash}.json").is_file()


def test_metrics_of_other_images_are_not_compared_with_answers(world: World, caplog: pytest.LogCaptureFixture) -> None:
    first = world.make()
    world.answer(first, 1)
    world.answer(first, 2)
    before = finding(world.findings(), "accuracy", metric="id_sim")
    world.repaint("sdedit")
    second = world.make()
    assert (second.hash, second.changed) == (first.hash, ("sdedit",))
    assert "People saw other images than the present ones" in caplog.text
    rows = world.findings()
    with_it = {t.item for own in first.trials[:2] for t in own if t.kind == "pair" and "sdedit" in (t.left, t.right)}
    lost = before.n - finding(rows, "accuracy", metric="id_sim").n
    assert 0 < lost <= len(with_it) and lost < before.n
    assert counted(rows) == (2, 16)


def test_other_settings_do_not_change_what_was_answered(world: World, caplog: pytest.LogCaptureFixture) -> None:
    first = world.make()
    world.answer(first, 1)
    second = world.make(seed=6, allowed_catch_failures=0)
    assert (second.hash, second.settings) == (first.hash, first.settings)
    assert "The config says seed: 6, the design seed: 5, which counts." in caplog.text
    assert "allowed_catch_failures: 0, the design allowed_catch_failures: 1" in caplog.text


def test_another_folder_of_responses_is_another_study_and_the_way_back_loses_nothing(world: World) -> None:
    first = world.make()
    world.answer(first, 1)
    world.add_row()
    other = str(world.root / "responses-2")
    second = world.make(responses=other)
    assert second.hash != first.hash and LATER in second.editors
    world.answer(second, 1, Path(other))
    assert world.make(responses=other).hash == second.hash
    assert world.make().hash == first.hash
    assert counted(world.findings()) == (1, 8)


def test_a_study_of_another_experiment_is_refused_while_there_are_answers(world: World) -> None:
    world.answer(world.make(), 1)
    with pytest.raises(UserError, match=r"a design whose experiment is 'table1' .*but the config says 'table9'"):
        world.make(experiment="table9")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "editfrontier-user-study", "answers": []}'])
def test_files_that_are_no_answers_fix_nothing(world: World, content: str) -> None:
    first = world.make()
    write_response(world.responses, "x.json", content)
    world.add_row()
    assert world.make().hash != first.hash


def test_most_answers_decide_between_two_designs(world: World) -> None:
    first = world.make()
    second = world.make(seed=6)
    for number, design in enumerate((first, second, second), start=1):
        world.answer(design, number)
    assert world.make().hash == second.hash


def test_a_kept_design_that_was_changed_is_not_replaced_without_a_word(world: World) -> None:
    first = world.make()
    world.answer(first, 1)
    kept = world.responses / "design" / f"{first.hash}.json"
    kept.write_text(kept.read_text().replace("sdedit", "sd_edit"))
    with pytest.raises(UserError, match=f"{first.hash}.json: its content does not belong to its hash.*Restore it"):
        world.make()


def test_the_present_state_is_no_part_of_the_hash(world: World) -> None:
    design: Mapping[str, Any] = vars(world.make())
    assert {"unjudged", "changed", "responses"} <= set(design)
