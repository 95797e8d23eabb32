"""Groups of points and their stability, on points whose groups are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analysis_fixture import found_by, inputs_of, rows_of, scores_of
from editfrontier.statistics import regimes
from editfrontier.statistics.bootstrap import Array
from editfrontier.study.analyses.regimes import ALL, ANALYSIS, RegimesParams
from editfrontier.study.drawing.regimes import ellipse
from editfrontier.study.run import draw_analysis

THREE = np.array([[0.1, 0.9], [0.15, 0.85], [0.12, 0.8], [0.5, 0.5], [0.55, 0.48], [0.9, 0.1], [0.85, 0.12]])


def test_partition_finds_the_groups_and_numbers_them_as_they_appear() -> None:
    assert regimes.partition(THREE, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert regimes.partition(THREE, 1).tolist() == [0] * 7
    assert regimes.partition(THREE[:1], 3).tolist() == [0]


def test_adjusted_rand_index_by_hand() -> None:
    def rand(a: list[int], b: list[int]) -> float:
        return regimes.adjusted_rand(np.array(a), np.array(b))

    assert rand([0, 0, 1, 1], [1, 1, 0, 0]) == 1
    assert rand([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(0.5714285714)  # scikit-learn's documentation
    assert rand([0, 0, 0, 0], [0, 1, 2, 3]) == pytest.approx(0)
    assert rand([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(-0.5)
    assert rand([0, 0], [0, 0]) == 1


def test_jaccard_of_each_group_with_its_nearest() -> None:
    found = regimes.jaccard(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1]))
    assert found.tolist() == pytest.approx([2 / 3, 2 / 3])


def _choices(points: list[Array]) -> list[int]:
    return [regimes.gap_statistic(one, 5, 60, np.random.default_rng(i)).chosen for i, one in enumerate(points)]


def test_the_gap_statistic_finds_three_clear_groups_and_one_where_there_are_none() -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat([[0, 0], [1, 0], [0.5, 1]], 5, axis=0)
    clear = [centres + 0.04 * rng.standard_normal((15, 2)) for _ in range(20)]
    assert np.mean([k == 3 for k in _choices(clear)]) >= 0.9
    none = [rng.uniform(size=(15, 2)) for _ in range(40)]
    assert np.mean([k == 1 for k in _choices(none)]) >= 0.9


def test_stability_is_one_for_clear_groups_and_low_for_none() -> None:
    rng = np.random.default_rng(1)
    firm = regimes.stability(THREE, THREE + 0.01 * rng.standard_normal((200, 7, 2)), 3)
    assert firm.jaccard.tolist() == [1, 1, 1]
    assert (firm.rand == 1).all()
    assert firm.together[0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    loose = regimes.stability(THREE, THREE + 0.5 * rng.standard_normal((200, 7, 2)), 3)
    assert loose.rand.mean() < 0.4
    assert loose.jaccard.max() < 0.75


def test_front_and_domination_by_hand() -> None:
    x = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [np.nan, 1.0, 2.0], [1.0, 1.0, 0.5]])
    y = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [9.0, 1.0, 0.5], [1.0, 1.0, 0.5]])
    front, dominates = regimes.front_shares(x, y)
    assert front.tolist() == [[True] * 3, [False, False, True], [False, True, True], [True, True, False]]
    assert dominates.tolist() == [[False] * 3, [False, False, True], [False] * 3, [False] * 3]
    assert regimes.front_shares(x[:, :1], y[:, :1])[1].any() is np.False_  # nobody to dominate


def test_the_ellipse_holds_its_share_of_normal_resamples() -> None:
    rng = np.random.default_rng(0)
    points = rng.multivariate_normal([1, 2], [[0.04, 0.02], [0.02, 0.03]], size=4000)
    outline = ellipse(points)
    from matplotlib.path import Path as Outline

    assert Outline(outline).contains_points(points).mean() == pytest.approx(0.95, abs=0.01)


# The analysis ---------------------------------------------------------------------------------------------------------

CONTROLS = ["random_image", "source", "true_edit"]
EDITORS = ["drag_flow", "instruct_pix2pix", "ultraedit", "mask_guided", "tf_icon", "sdedit"]
PLACES = {
    "random_image": (0.0, 0.2),
    "source": (1.0, 0.0),
    "true_edit": (0.9, 1.0),
    "drag_flow": (0.95, 0.1),
    "instruct_pix2pix": (0.5, 0.9),
    "ultraedit": (0.48, 0.88),
    "mask_guided": (0.8, 0.5),
    "tf_icon": (0.78, 0.45),
    "sdedit": (0.1, 0.12),
}
SETTINGS = {"fidelity": ["id_sim"], "controllability": ["success"]}


def _scores(places: dict[str, tuple[float, float]], task: str, n: int = 60, noise: float = 0.05):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    level = np.array(list(places.values()))
    values = level + noise * rng.standard_normal((n, *level.shape))
    for name in ("source", "true_edit", "random_image"):
        if name in places:
            values[:, list(places).index(name)] = places[name]
    return scores_of(values, list(places), ["id_sim", "success"], task=task)


def test_regimes_fronts_and_domination_are_recovered(tmp_path: Path) -> None:
    better = {**PLACES, "mask_guided": (0.98, 0.95)}  # beats everybody in the second task
    scores = {"one": _scores(PLACES, "portraits"), "two": _scores(better, "scenes")}
    rows = {name: rows_of(list(PLACES), CONTROLS) for name in scores}
    inputs = inputs_of(tmp_path, scores, rows, statistics=SETTINGS)
    found = found_by(ANALYSIS, inputs, references=20, resamples=20)
    front = {row.variant: row.value for row in found.select("on_front", level="portraits")}
    assert front["sdedit"] == 0
    assert front["drag_flow"] == front["instruct_pix2pix"] == 1
    dominates = {row.variant: row.value for row in found.select("dominates", level="scenes")}
    assert dominates["mask_guided"] > 0.95
    assert sum(dominates.values()) == dominates["mask_guided"]
    everywhere = {row.variant: row.value for row in found.select("on_front_everywhere", level=ALL)}
    assert everywhere["mask_guided"] == 1
    assert everywhere["drag_flow"] == 0
    any_one = found.one("dominates_everywhere", variant="", level=ALL)
    assert any_one is not None
    assert any_one.value == 0
    place = found.one("fidelity", variant="mask_guided", level=ALL)
    assert place is not None
    assert place.value == pytest.approx((0.8 + 0.98) / 2, abs=0.02)
    assert place.low < place.value < place.high
    groups = {row.variant: row.value for row in found.select("regime", level="portraits", x=3.0)}
    assert groups["instruct_pix2pix"] == groups["ultraedit"]
    assert groups["mask_guided"] == groups["tf_icon"]
    pair = found.one("together", variant="instruct_pix2pix", level="portraits/ultraedit", x=3.0)
    assert pair is not None
    assert pair.value == 1
    shares = [row.value for row in found.select("regimes_share", level="portraits")]
    assert sum(shares) == pytest.approx(1)
    assert ANALYSIS.say(found, inputs)
    draw_analysis(ANALYSIS, found, inputs, RegimesParams(), tmp_path / "figure")
    assert (tmp_path / "figure.svg").stat().st_size > 1000


def test_agreement_with_the_papers_regimes(tmp_path: Path) -> None:
    as_paper = {name: place for name, place in PLACES.items() if name != "sdedit"}
    inputs = inputs_of(
        tmp_path,
        {"one": _scores(as_paper, "portraits")},
        {"one": rows_of(list(as_paper), CONTROLS)},
        statistics=SETTINGS,
    )
    found = found_by(ANALYSIS, inputs, references=20, resamples=20)
    agreement = found.one("paper_agreement", level="portraits")
    assert agreement is not None
    assert (agreement.value, agreement.n) == (1, 5)
    mixed = {**as_paper, "ultraedit": PLACES["drag_flow"], "tf_icon": PLACES["instruct_pix2pix"]}
    inputs = inputs_of(
        tmp_path, {"one": _scores(mixed, "portraits")}, {"one": rows_of(list(mixed), CONTROLS)}, statistics=SETTINGS
    )
    agreement = found_by(ANALYSIS, inputs, references=20, resamples=20).one("paper_agreement", level="portraits")
    assert agreement is not None
    assert agreement.high < 0.2


def test_editors_that_the_paper_puts_apart_say_nothing_of_its_regimes(tmp_path: Path) -> None:
    apart = {name: PLACES[name] for name in (*CONTROLS, "drag_flow", "ultraedit", "tf_icon", "sdedit")}
    inputs = inputs_of(
        tmp_path, {"one": _scores(apart, "portraits")}, {"one": rows_of(list(apart), CONTROLS)}, statistics=SETTINGS
    )
    (row,) = found_by(ANALYSIS, inputs, references=20, resamples=20).select("paper_agreement")
    assert math.isnan(row.value)
    assert "two of one" in row.note


def test_tasks_without_controls_or_with_few_editors_are_named(tmp_path: Path) -> None:
    few = {name: PLACES[name] for name in (*CONTROLS, "mask_guided", "sdedit")}
    bare = {name: PLACES[name] for name in ("source", "mask_guided")}
    alone = {name: PLACES[name] for name in (*CONTROLS, "mask_guided")}
    given = {"one": (few, "portraits"), "two": (bare, "drags"), "three": (alone, "scenes")}
    inputs = inputs_of(
        tmp_path,
        {name: _scores(*one) for name, one in given.items()},
        {name: rows_of(list(one[0]), CONTROLS) for name, one in given.items()},
        statistics={**SETTINGS, "tasks": {"drags": {"fidelity_anchors": ["oracle", "source"]}}},
    )
    found = found_by(ANALYSIS, inputs)
    (lost,) = found.select("fidelity", level="drags")
    assert math.isnan(lost.value)
    assert "'oracle' was not run" in lost.note
    groups = {row.level: row for row in found.select("regimes")}
    assert all(math.isnan(row.value) for row in groups.values())
    assert "2 editors, expected at least 4" in groups["portraits"].note
    (only,) = found.select("on_front", level="scenes")
    assert math.isnan(only.value)
    assert only.note == "the only editor of the task"
    assert found.select("dominates_everywhere")[0].note == "no editor ran in several tasks"
    said = " ".join(ANALYSIS.say(found, inputs))
    assert "drags: no composites" in said
    assert "no groups are looked for" in said
    draw_analysis(ANALYSIS, found, inputs, RegimesParams(), tmp_path / "figure")
