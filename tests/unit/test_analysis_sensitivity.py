"""Variance components and prompt sensitivity on designs whose components and distances were put in by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_fixture import Given, found_by, inputs_of, scores_of
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, write_png
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.components import cell_distances, crossed_components, pair_means
from editfrontier.study.analyses.sensitivity import ANALYSIS
from editfrontier.study.analysis import analysis_params
from editfrontier.study.designs.wordings import clip_towards_first, read_design
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.results.naming import Row
from editfrontier.study.run import draw_analysis

EDITS, WORDINGS, SEEDS, SIZE = 6, 4, 3, 8
ROW = Row("instruct_pix2pix", "instruct_pix2pix", "InstructPix2Pix", "", "", False)


def crossed(rng: np.random.Generator, sds: tuple[float, float, float], shape: tuple[int, int, int]) -> Array:
    """Values [E, I, J] with these standard deviations of the first factor, the second and the rest."""
    units, first, second = shape
    return np.asarray(
        rng.normal(0, 5, (units, 1, 1))
        + rng.normal(0, sds[0], (units, first, 1))
        + rng.normal(0, sds[1], (units, 1, second))
        + rng.normal(0, sds[2], shape)
    )


def test_components_are_unbiased() -> None:
    values = crossed(np.random.default_rng(0), (0.3, 0.1, 0.2), (20000, 5, 3))
    assert crossed_components(values).mean(axis=0) == pytest.approx([0.09, 0.01, 0.04], rel=0.03, abs=3e-4)
    nothing = crossed_components(crossed(np.random.default_rng(1), (0.0, 0.0, 0.2), (20000, 5, 3))).mean(axis=0)
    assert nothing == pytest.approx([0.0, 0.0, 0.04], abs=6e-4)


def test_components_of_a_table_by_hand() -> None:
    """Mean squares 18 and 2 of the factors and none of the rest, over two cells each."""
    table = np.array([[0.0, 2.0], [6.0, 8.0]])
    assert crossed_components(table).tolist() == pytest.approx([18.0, 2.0, 0.0])
    with pytest.raises(ValueError, match="1 x 2 levels"):
        crossed_components(table[:1])


def test_pairs_differ_in_one_factor_only() -> None:
    values = np.array([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])
    between = np.abs(values[:, :, None, None] - values[None, None])
    assert [float(v) for v in pair_means(between)] == pytest.approx([(10 + 10 + 20) / 3, 1.0])
    cells = values[:, :, None, None] * np.ones((1, 1, 2, 2))
    assert cell_distances(cells) == pytest.approx(between)


def cases_of(root: Path) -> list[Case]:
    write_png(root / "data" / "t" / "source.png", np.full((SIZE, SIZE, 3), 100, dtype=np.uint8))
    return [
        Case(
            case_id=f"e{edit}-w{wording}-r{seed}",
            task="t",
            image="source.png",
            source_caption="a",
            target_caption=f"caption {wording}",
            instruction=f"wording {wording}",
            edit_type="attribute_add",
            cluster=f"e{edit}",
            design=json.dumps({"wording": wording, "noise": f"e{edit}"} | ({"repeat": seed} if seed else {})),
            licence="x",
        )
        for seed in range(SEEDS)
        for edit in range(EDITS)
        for wording in range(WORDINGS)
    ]


def study(root: Path, values: Array | None = None) -> Given:
    """Images that are 10 grey levels apart for each wording, 1 for each seed, and at least 50 from the source.

    `values` [E, W, S] is the metric id_sim.
    """
    cases = cases_of(root)
    pictures = {}
    for case in cases:
        wording, seed = (int(part[1:]) for part in case.case_id.split("-")[1:])
        path = root / "images" / f"{case.case_id}.png"
        write_png(path, np.full((SIZE, SIZE, 3), 150 + 10 * wording + seed, dtype=np.uint8))
        pictures[case.case_id] = path
    table = np.zeros((EDITS, WORDINGS, SEEDS)) if values is None else values
    flat = table.transpose(2, 0, 1).reshape(-1, 1, 1)
    scores = scores_of(flat, [ROW.variant], ["id_sim"], [int(case.cluster[1:]) for case in cases])
    scores = replace(scores, case_ids=tuple(case.case_id for case in cases))
    inputs = inputs_of(root, {"e": scores}, {"e": [ROW]}, {"t": cases})
    return replace(inputs, pictures={ROW.variant: pictures})


def only(found: Findings, quantity: str, **values: str) -> Finding:
    row = found.one(quantity, **values)
    assert row is not None, (quantity, values)
    return row


def test_distances_between_wordings_and_seeds_are_those_of_the_images(tmp_path: Path) -> None:
    inputs = study(tmp_path)
    found = found_by(ANALYSIS, inputs, metrics=("id_sim",), worst=2)
    wordings = 10 * np.mean([abs(i - j) for i in range(WORDINGS) for j in range(i)]) / 255
    seeds = np.mean([abs(i - j) for i in range(SEEDS) for j in range(i)]) / 255
    assert only(found, "distance", level="two wordings").value == pytest.approx(wordings)
    assert only(found, "distance", level="two seeds").value == pytest.approx(seeds)
    assert only(found, "distance", level="output and source").value == pytest.approx((50 + 15 + 1) / 255)
    assert only(found, "distance_ratio").value == pytest.approx(wordings / seeds)
    assert only(found, "distance_share").value == pytest.approx(255 * wordings / 66)
    worst = found.select("worst_pair")
    assert len({row.level.split("-")[0] for row in worst}) == len(worst) == 2  # one an edit
    assert worst[0].value == pytest.approx(30 / 255)
    assert worst[0].note == "wording 0 | wording 3"
    assert "12.5 times as much" in ANALYSIS.say(found, inputs)[0]
    draw_analysis(ANALYSIS, found, inputs, analysis_params(ANALYSIS, {}), tmp_path / "figure")
    assert (tmp_path / "figure.png").exists()


def test_variance_components_of_a_metric_are_recovered(tmp_path: Path) -> None:
    values = crossed(np.random.default_rng(8), (0.3, 0.1, 0.02), (EDITS, WORDINGS, SEEDS))
    found = found_by(ANALYSIS, study(tmp_path, values), metrics=("id_sim",))
    expected = crossed_components(values).mean(axis=0)
    for factor, value in zip(("wording", "seed", "rest"), expected, strict=True):
        row = only(found, "variance", metric="id_sim", level=factor)
        assert row.value == pytest.approx(value)
        assert row.low < value < row.high
        assert row.n == EDITS * WORDINGS * SEEDS
    ratio = only(found, "variance_ratio", metric="id_sim")
    assert ratio.value == pytest.approx(expected[0] / expected[1])
    assert ratio.low > 1


def test_an_edit_with_a_failed_case_is_left_out_and_counted(tmp_path: Path) -> None:
    values = crossed(np.random.default_rng(9), (0.3, 0.1, 0.02), (EDITS, WORDINGS, SEEDS))
    values[2, 1, 0] = np.nan
    inputs = study(tmp_path, values)
    pictures = {name: path for name, path in inputs.pictures[ROW.variant].items() if name != "e2-w1-r0"}
    found = found_by(ANALYSIS, replace(inputs, pictures={ROW.variant: pictures}), metrics=("id_sim",))
    note = f"1 of {EDITS} edits left out that lack a value"
    for row in (only(found, "distance_ratio"), only(found, "variance", metric="id_sim", level="wording")):
        assert row.n == (EDITS - 1) * WORDINGS * SEEDS
        assert row.note == note
    kept = values[[0, 1, 3, 4, 5]]
    assert only(found, "variance", metric="id_sim", level="wording").value == pytest.approx(
        crossed_components(kept).mean(axis=0)[0]
    )


def test_a_seed_that_changes_nothing_gives_no_ratio_and_a_missing_metric_says_so(tmp_path: Path) -> None:
    found = found_by(ANALYSIS, study(tmp_path), metrics=("id_sim", "success"))
    (ratio,) = found.select("variance_ratio", metric="id_sim")
    assert math.isnan(ratio.value)
    assert "seed changes nothing" in ratio.note
    (missing,) = found.select("variance_ratio", metric="success")
    assert missing.n == 0
    assert missing.note == f"{EDITS} of {EDITS} edits left out that lack a value"


def test_a_task_without_wordings_or_repeats_is_refused(tmp_path: Path) -> None:
    cases = cases_of(tmp_path)
    with pytest.raises(UserError, match="4 wordings and 1 seeds.*repeats"):
        read_design([case for case in cases if case.case_id.endswith("r0")], "sensitivity")
    with pytest.raises(UserError, match="0 wordings"):
        read_design([replace(case, design="") for case in cases], "sensitivity")


def test_the_clip_direction_is_that_of_the_first_wording_for_all(tmp_path: Path) -> None:
    """Equal images of an edit get equal values, although the captions of the wordings have other embeddings."""
    cases = cases_of(tmp_path)
    unit = np.eye(6, dtype=np.float32)
    names = np.array([case.case_id for case in cases])
    wording = np.array([json.loads(case.design)["wording"] for case in cases])
    sources = {
        "case_ids": names,
        "clip_image": unit[:1],
        "image_row": np.zeros(len(cases), dtype=np.int64),
        "clip_text": unit[1:],
        "source_text_row": np.zeros(len(cases), dtype=np.int64),
        "target_text_row": 1 + wording,
    }
    features = {"case_ids": names[1:], "clip_image": np.repeat(unit[2:3], len(names) - 1, axis=0)}

    class Networks(Given):
        def sources(self, task: str) -> dict[str, Array]:
            return sources

        def features(self, task: str, variant: str) -> dict[str, Array]:
            return features

    base = study(tmp_path)
    inputs = Networks(**{name: getattr(base, name) for name in base.__dataclass_fields__})
    values = clip_towards_first(inputs, "t", ROW.variant, read_design(cases, "sensitivity"))
    assert math.isnan(values[0])
    # The images move from axis 0 to axis 2, the first wording's captions from axis 1 to axis 2.
    assert values[1:] == pytest.approx(0.5)
