"""Claims on the tables, with the parameters of the study, on evidence that is constructed for and against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from claims_fixture import World, claims, verdict
from editfrontier.base.parquet import write_parquet
from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics.taskscores import TaskScores
from editfrontier.study.claims.editing import rank_correlation
from editfrontier.study.judging.verdict import Absent

Values = dict[tuple[str, str], dict[str, float]]

T1 = ("instruct_pix2pix", "tf_icon", "drag_flow", "ultraedit", "sdedit", "mask_guided")


def over(values: str) -> dict[str, float]:
    """Values of the methods of Table 1 in the order of T1."""
    return dict(zip(T1, map(float, values.split()), strict=True))


# Numbers for which a claim is true. With all signs turned it is false, and with wide intervals it is open.
TRUE: dict[str, Values] = {
    "C01": {("table1", "clip_score"): over("0.71 0.68 0.55 0.74 0.65 0.60")},
    "C02": {("table1", "id_sim"): over("0.92 0.87 0.98 0.89 0.85 0.90")},
    "C03": {
        ("table1", "clip_score"): over("0.71 0.68 0.55 0.74 0.65 0.60"),
        ("table1", "id_sim"): over("0.92 0.87 0.98 0.89 0.85 0.90"),
    },
    "C04": {
        ("table1", "id_sim"): over("0.92 0.87 0.98 0.89 0.85 0.90"),
        ("table1", "clip_score"): over("0.71 0.68 0.55 0.74 0.65 0.60"),
        ("table1", "success"): over("0.85 0.80 0.65 0.88 0.70 0.75"),
    },
    "C05": {
        ("table1", "fid"): over("78.5 85.2 50.1 65.3 95.7 70.4"),
        ("table1", "id_sim"): over("0.92 0.87 0.98 0.89 0.85 0.90"),
    },
    "C06": {("table1", "fid"): over("78.5 85.2 50.1 65.3 95.7 70.4")},
    "C07": {
        ("table1", "fid"): {
            **over("78.5 85.2 50.1 65.3 95.7 70.4"),
            "source": 40,
            "tf_icon_text": 86,
            "ultraedit_mask": 61,
            "sd_inpaint": 62,
        },
        ("table1", "changed_area"): {
            **over("0.5 0.6 0.1 0.4 0.7 0.45"),
            "source": 0,
            "tf_icon_text": 0.65,
            "ultraedit_mask": 0.3,
            "sd_inpaint": 0.32,
        },
    },
    "C13": {
        ("table2", metric): {f"fireflow/steps={8 * 2**i}": value for i, value in enumerate(values)}
        for metric, values in {
            "lpips_source": (0.125, 0.05, 0.02),
            "psnr_source": (28.4, 33.7, 38.2),
            "seconds": (2.5, 4.8, 9.0),
        }.items()
    },
    "C14": {
        ("table2", "lpips_source"): {
            "fireflow/steps=8": 0.1,
            "fireflow/steps=16": 0.05,
            "fireflow/steps=32": 0.02,
            "ddim/steps=50": 0.0,
        },
        ("table2", "seconds"): {
            "fireflow/steps=8": 2.5,
            "fireflow/steps=16": 4.8,
            "fireflow/steps=32": 9.0,
            "ddim/steps=50": 14.2,
        },
    },
    "C15": {
        ("table4", metric): dict(zip(("drag_flow", "mask_guided", "point_drag/default"), values, strict=True))
        for metric, values in {
            "iou_target": (0.75, 0.62, 0.5),
            "centroid_shift": (20, 32, 45),
            "lpips_bg_masked": (0.01, 0.045, 0.082),
        }.items()
    },
    "C22": {
        ("table3", metric): {
            f"mask_guided/w=7.5 {name}": v for name, v in zip(("cosine", "constant", "step"), values, strict=True)
        }
        for metric, values in {
            "fid": (70.4, 73.5, 71.8),
            "id_sim": (0.9, 0.87, 0.88),
            "clip_score": (0.6, 0.58, 0.585),
            "lpips_bg_masked": (0.045, 0.06, 0.065),
        }.items()
    },
}


def world(root: Path, values: Values, half: float, sign: int = 1) -> World:
    made = World(root, half)
    for (table, metric), rows in values.items():
        made.set(table, metric, {name: sign * value for name, value in rows.items()})
    return made


@pytest.mark.parametrize("number", TRUE)
def test_claim_is_supported_by_evidence_for_it(number: str, tmp_path: Path) -> None:
    assert verdict(number, world(tmp_path, TRUE[number], 0.001).evidence()) == "supported"


@pytest.mark.parametrize("number", TRUE)
def test_claim_is_not_supported_by_evidence_against_it(number: str, tmp_path: Path) -> None:
    assert verdict(number, world(tmp_path, TRUE[number], 0.001, -1).evidence()) == "not supported"


@pytest.mark.parametrize("number", TRUE)
def test_claim_is_open_where_intervals_are_wide(number: str, tmp_path: Path) -> None:
    assert verdict(number, world(tmp_path, TRUE[number], 500).evidence()) == "inconclusive"


@pytest.mark.parametrize("number", TRUE)
def test_each_part_can_contradict(number: str, tmp_path: Path) -> None:
    for place, key in enumerate(TRUE[number]):
        turned = {name: -value for name, value in TRUE[number][key].items()}
        made = world(tmp_path / str(place), {**TRUE[number], key: turned}, 0.001)
        assert verdict(number, made.evidence()) == "not supported", key


@pytest.mark.parametrize("number", [*TRUE, "C17", "C33"])
def test_claim_names_what_was_not_run(number: str, tmp_path: Path) -> None:
    claim = claims()[number]
    found = claim.test(World(tmp_path).evidence(), claim.params)
    assert found.verdict == "not testable at this scale"
    assert "were not made" in found.reason
    bare = World(tmp_path / "bare")
    bare.study = replace(bare.study, tables={})
    found = claim.test(bare.evidence(), claim.params)
    assert found.verdict == "not testable at this scale"
    assert claim.params["table"] in found.reason


def test_a_method_of_the_paper_that_was_not_run_makes_claims_of_all_methods_untestable(tmp_path: Path) -> None:
    made = world(tmp_path, TRUE["C01"], 0.001)
    table = made.study.tables["table1"]
    made.values["table1", "clip_score"].pop("tf_icon")
    rows = [row for row in table["rows"] if row["editor"] != "tf_icon"]
    made.study = replace(made.study, tables={**made.study.tables, "table1": {**table, "rows": rows}})
    claim = claims()["C01"]
    found = claim.test(made.evidence(), claim.params)
    assert found.verdict == "not testable at this scale"
    assert found.reason == "'tf_icon' of the paper was not run in the experiment 'table1'."


def test_two_methods_without_a_common_case_make_a_claim_untestable(tmp_path: Path) -> None:
    evidence = world(tmp_path, TRUE["C02"], 0.001).evidence()
    path = tmp_path / "statistics" / "portraits.differences.parquet"
    frame = pd.read_parquet(path)
    apart = frame["variant_a"].str.startswith("drag_flow") | frame["variant_b"].str.startswith("drag_flow")
    frame.loc[apart, ["difference", "ci_low", "ci_high", "p"]] = np.nan
    frame.loc[apart, "n"] = 0
    write_parquet(path, frame, {})
    claim = claims()["C02"]
    found = claim.test(evidence, claim.params)
    assert found.verdict == "not testable at this scale"
    assert found.reason.startswith("DragFlow and InstructPix2Pix have no common case with ID sim")


def test_the_papers_numbers_stand_beside_ours(tmp_path: Path) -> None:
    claim = claims()["C02"]
    found = claim.test(world(tmp_path, TRUE["C02"], 0.001).evidence(), claim.params)
    assert found.what == "DragFlow minus InstructPix2Pix, ID sim"
    assert found.effect.value == pytest.approx(0.06)
    assert found.paper == pytest.approx(0.98 - 0.92)
    assert found.effect.p == pytest.approx(0.0002)


def test_margin_counts_out_small_effects_whatever_their_p(tmp_path: Path) -> None:
    claim = claims()["C02"]
    evidence = world(tmp_path, TRUE["C02"], 0.001).evidence()
    assert claim.test(evidence, {**claim.params, "margin": 0.05}).verdict == "supported"
    assert claim.test(evidence, {**claim.params, "margin": 0.2}).verdict == "not supported"


def test_rank_correlation_of_known_orders() -> None:
    rising = rank_correlation([(x, x**2) for x in range(8)])
    assert rising.value == pytest.approx(1.0)
    assert rising.low > 0.9
    mixed = rank_correlation([(0, 3), (1, 0), (2, 4), (3, 1), (4, 2)])
    assert mixed.low < 0 < mixed.high
    with pytest.raises(Absent, match="4 editors"):
        rank_correlation([(x, x) for x in range(4)])
    with pytest.raises(Absent, match="same value"):
        rank_correlation([(x, 1.0) for x in range(6)])


# --- claims on cases -------------------------------------------------------------------------------------------------


def scores(values: np.ndarray, metrics: list[str]) -> TaskScores:
    n = len(values)
    variants = [f"v{i}" for i in range(values.shape[1])]
    ids = tuple(f"c{i}" for i in range(n))
    return TaskScores("drags", variants, metrics, values, np.arange(n), [0] * len(variants), {}, None, ids)


def drags(gains: Mapping[str, float], noise: float) -> tuple[TaskScores, dict[str, dict[str, list[str]]]]:
    """Drags of three kinds and sizes; what an unedited image has differs between the kinds."""
    rng = np.random.default_rng(0)
    kinds, sizes = ("relocation", "rotation", "deformation"), ("small", "medium", "large")
    rows, parts = [], {"kind": {k: [] for k in kinds}, "size": {s: [] for s in sizes}}
    for index in range(90):
        kind, size = kinds[index % 3], sizes[index // 3 % 3]
        parts["kind"][kind].append(f"c{index}")
        parts["size"][size].append(f"c{index}")
        nothing = {"relocation": 0.1, "rotation": 0.5, "deformation": 0.7}[kind]
        gain = gains[kind] + gains[size] + rng.normal(0, noise)
        rows.append([nothing + gain * (1 - nothing), nothing, 1.0])
    return scores(np.array(rows)[:, :, None], ["iou_target"]), parts


@pytest.mark.parametrize(
    ("gains", "noise", "expected"),
    [
        ({"deformation": 0.2, "large": 0.0, "small": 0.2}, 0.05, "supported"),
        ({"deformation": 0.4, "large": 0.2, "small": 0.0}, 0.05, "not supported"),
        ({"deformation": 0.25, "large": 0.05, "small": 0.1}, 0.3, "inconclusive"),
    ],
)
def test_large_deformations(gains: dict[str, float], noise: float, expected: str, tmp_path: Path) -> None:
    everywhere = {"relocation": 0.3, "rotation": 0.3, "medium": 0.1}
    evidence = World(tmp_path).evidence()
    evidence.given = drags(everywhere | gains, noise)
    assert verdict("C17", evidence) == expected


def test_gains_are_shares_of_what_can_be_gained(tmp_path: Path) -> None:
    evidence = World(tmp_path).evidence()
    gains = {"relocation": 0.5, "rotation": 0.5, "deformation": 0.2, "small": 0.1, "medium": 0.1, "large": -0.4}
    evidence.given = drags(gains, 0.0)
    claim = claims()["C17"]
    found = claim.test(evidence, {**claim.params, "hard": {"kind": ["deformation", "relocation", "rotation"]}})
    # Every kind has all sizes equally often, so their gains differ by 0.3 exactly, whatever an unedited image has.
    assert found.effect.value == pytest.approx(-0.3)
    assert (found.verdict, found.effect.n) == ("supported", 90)
    claim_of = {**claim.params, "hard": {"kind": ["bending", "relocation"]}}
    found = claim.test(evidence, claim_of)
    assert found.reason == "No case of the experiment 'table4' is 'bending' by kind."


@pytest.mark.parametrize(("share", "expected"), [(0.5, "supported"), (0.05, "not supported"), (2 / 15, "inconclusive")])
def test_caching(share: float, expected: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = rng.uniform(1.0, 2.0, 40)
    inverting = whole * np.clip(share + rng.uniform(-0.04, 0.04, 40), 0, 1)
    evidence = World(tmp_path).evidence()
    evidence.given = scores(np.stack([whole, inverting], axis=1)[:, None, :], ["seconds", "inversion_seconds"]), {}
    claim = claims()["C33"]
    found = claim.test(evidence, claim.params)
    assert found.verdict == expected
    assert found.effect.value == pytest.approx(0.75 * inverting.sum() / whole.sum())


def test_caching_needs_an_editor_that_inverts(tmp_path: Path) -> None:
    evidence = World(tmp_path).evidence()
    evidence.given = scores(np.ones((4, 1, 1)), ["seconds"]), {}
    claim = claims()["C33"]
    assert claim.test(evidence, claim.params).reason == "TF-ICON inverts nothing in the experiment 'table1'."


NAMES = ("editor", "leaders", "others", "rows", "usable", "better", "best", "better_than", "worse_than", "editors")
NAMES += ("keeper", "control", "controls", "moderate", "extreme", "regional", "same", "constant", "schedules")


def test_rows_of_the_list_exist_in_the_study(tmp_path: Path) -> None:
    evidence = World(tmp_path).evidence()
    for claim in claims().values():
        table = claim.params.get("table")
        metrics = {metric for metric in METRICS if table}
        for key in NAMES if table else ():
            names = claim.params.get(key, [])
            for name in [names] if isinstance(names, str) else names:
                assert name in metrics or evidence.row(table, name), (claim.id, name)


def test_metrics_of_the_list_exist(tmp_path: Path) -> None:
    for claim in claims().values():
        for key in ("metric", "metrics", "price", "cost", "area", "breaks", "degrade", "level_off", "kept"):
            names = claim.params.get(key, [])
            for name in [names] if isinstance(names, str) else names:
                assert name in METRICS, (claim.id, name)
