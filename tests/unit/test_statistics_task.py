"""Statistics of a task: tables, pairing, the reference row, differences and the front."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet, write_parquet
from editfrontier.scoring.metrics import distribution
from editfrontier.statistics.task import Settings, TaskScores, differences, frontier, summarise_task, summary

VARIANTS = ["source", "true_edit", "random_image", "weak", "strong", "worse"]
METRICS = ["id_sim", "clip_directional", "success", "lpips_bg_spatial"]
LEVELS = {
    "source": (1.0, 0.0, 0.0, 0.0),
    "true_edit": (0.9, 0.8, 1.0, 0.02),
    "random_image": (0.0, 0.1, 0.3, 0.5),
    "weak": (0.8, 0.2, 0.4, 0.05),
    "strong": (0.5, 0.6, 0.8, 0.2),
    "worse": (0.4, 0.1, 0.2, 0.3),
}


def _scores(n: int = 40, seed: int = 0, noise: float = 0.05, d: int = 6) -> TaskScores:
    rng = np.random.default_rng(seed)
    level = np.array([LEVELS[name] for name in VARIANTS])
    values = level + noise * rng.standard_normal((n, 1, 1)) + 0.2 * noise * rng.standard_normal((n, *level.shape))
    values[:, 0] = level[0]
    values[:, :, 2] = rng.uniform(size=(n, 1)) < level[:, 2]
    features = {name: (np.arange(n), rng.standard_normal((n, d)) + i / 2) for i, name in enumerate(VARIANTS)}
    return TaskScores(
        "portraits", VARIANTS, METRICS, values, np.arange(n) // 2, [0] * 6, features, rng.standard_normal((120, d))
    )


CONTROLS = ("source", "random_image", "true_edit", "autoencoder_round_trip")
SETTINGS = Settings(resamples=400, set_resamples=50, permutations=499, controls=CONTROLS)


def _row(frame: pd.DataFrame, **where: str) -> pd.Series:
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1, where
    return frame.iloc[0]


def test_summary_has_means_intervals_and_counts() -> None:
    data = _scores()
    data.values[3, 4, 0] = np.nan
    frame = summary(data, SETTINGS)
    names = ["task", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed", "reason", "failures", "cases"]
    assert list(frame.columns) == names
    assert len(frame) == 6 * (4 + 2) + 2
    row = _row(frame, variant="strong", metric="id_sim")
    assert row["value"] == pytest.approx(np.nanmean(data.values[:, 4, 0]))
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert row["n"] == 39
    assert not frame[["value", "ci_low", "ci_high"]].isna().any().any()


def test_a_rate_of_one_gets_wilsons_bound_over_clusters() -> None:
    row = _row(summary(_scores(), SETTINGS), variant="true_edit", metric="success")
    assert (row["value"], row["ci_high"]) == (1.0, 1.0)
    assert row["ci_low"] == pytest.approx(1 / (1 + 1.959964**2 / 20))


def test_set_metrics_compare_with_the_part_of_the_reference_that_is_not_the_control() -> None:
    data = _scores()
    frame = summary(data, SETTINGS)
    control = _row(frame, variant="reference", metric="kid")
    assert control["n"] == 40
    assert control["ci_low"] < 0 < control["ci_high"]
    fid = [_row(frame, variant=name, metric="fid")["value"] for name in ("reference", *VARIANTS)]
    assert fid[0] < fid[2]
    assert fid[1:] == sorted(fid[1:])
    rest = {round(distribution.fid(data.features["weak"][1], part), 6) for part in (data.reference,)}
    assert round(_row(frame, variant="weak", metric="fid")["value"], 6) not in rest


def test_fid_interval_holds_the_point_though_duplicates_bias_the_resamples() -> None:
    frame = summary(_scores(), SETTINGS)
    fid = frame[frame["metric"] == "fid"]
    assert ((fid["ci_low"] <= fid["value"]) & (fid["value"] <= fid["ci_high"])).all()


def test_differences_are_paired_and_adjusted_within_families() -> None:
    data = _scores()
    frame = differences(data, SETTINGS)
    assert len(frame) == 15 * 6
    row = _row(frame, variant_a="weak", variant_b="strong", metric="id_sim")
    assert row["difference"] == pytest.approx(0.3, abs=0.02)
    # Cases share most of their noise: the paired interval is much narrower than one of either mean.
    alone = _row(summary(data, SETTINGS), variant="weak", metric="id_sim")
    assert row["ci_high"] - row["ci_low"] < 0.5 * (alone["ci_high"] - alone["ci_low"])
    assert row["family"] == "editors"
    assert row["p"] == pytest.approx(1 / 500)
    assert row["p_holm"] == pytest.approx(3 / 500)
    assert set(frame[frame["variant_a"] == "source"]["family"]) == {"controls"}
    assert not frame[["p", "p_holm"]].isna().any().any()


def test_only_variants_of_one_experiment_are_compared_and_adjusted_together() -> None:
    experiments = {"small": ("weak", "strong"), "large": ("weak", "strong", "worse", "source")}
    frame = differences(_scores(), replace(SETTINGS, experiments=experiments))
    assert frame["experiment"].value_counts().to_dict() == {"small": 1 * 6, "large": 6 * 6}
    pair = {"variant_a": "weak", "variant_b": "strong", "metric": "id_sim"}
    small, large = (_row(frame, experiment=name, **pair) for name in ("small", "large"))
    assert small["p"] == small["p_holm"] == large["p"]  # one pair, nothing to adjust for
    assert large["p_holm"] == pytest.approx(3 * large["p"])


def test_binary_metrics_get_mcnemars_test_where_clusters_have_one_case() -> None:
    data = _scores()
    frame = differences(data, SETTINGS)
    pair = {"variant_a": "weak", "variant_b": "strong"}
    assert _row(frame, metric="success", **pair)["test"] == "sign flips"  # two cases a cluster
    assert _row(frame, metric="fid", **pair)["test"] == "bootstrap"
    alone = replace(data, cluster=np.arange(40))
    row = _row(differences(alone, SETTINGS), metric="success", **pair)
    weak, strong = data.values[:, 3, 2], data.values[:, 4, 2]
    assert row["test"] == "mcnemar"
    assert row["p"] == pytest.approx(stats.binomtest(int((weak > strong).sum()), int((weak != strong).sum())).pvalue)
    assert _row(differences(alone, SETTINGS), metric="id_sim", **pair)["test"] == "sign flips"


def test_prenamed_metrics_are_marked() -> None:
    frame = differences(
        _scores(),
        Settings(resamples=50, set_resamples=20, permutations=99, controls=CONTROLS, prenamed=("success", "fid")),
    )
    assert set(frame[frame["prenamed"]]["metric"]) == {"success", "fid"}
    assert differences(_scores(), SETTINGS)["prenamed"].all()  # those of Table 1 by default
    with pytest.raises(UserError, match="succes"):
        Settings(prenamed=("succes",))


def test_variants_without_a_common_case_have_rows_that_say_so() -> None:
    data = _scores()
    data.values[:20, 3] = np.nan
    data.values[20:, 4] = np.nan
    data.features["weak"] = (np.arange(20, 40), data.features["weak"][1][20:])
    data.features["strong"] = (np.arange(20), data.features["strong"][1][:20])
    frame = differences(data, SETTINGS)
    rows = frame[(frame["variant_a"] == "weak") & (frame["variant_b"] == "strong")]
    assert set(rows["metric"]) == {*METRICS, "fid", "kid"}
    assert (rows["n"] == 0).all()
    assert rows[["difference", "ci_low", "ci_high", "p", "p_holm"]].isna().all().all()
    others = frame.drop(rows.index)
    assert (others["n"] > 0).all()
    assert not others[["p", "p_holm"]].isna().any().any()


def test_a_variant_that_failed_everywhere_is_not_passed_over() -> None:
    data = _scores()
    data.values[:, 5] = np.nan
    frame = differences(data, SETTINGS)
    rows = frame[frame["variant_b"] == "worse"]
    lost = rows[rows["metric"].isin(METRICS)]
    assert len(lost) == 5 * len(METRICS)
    assert (lost["n"] == 0).all()
    data.values[:, 5] = 0.5
    data.values[:, 4, 1] = np.nan  # has other metrics: it cannot have this one
    frame = differences(data, SETTINGS)
    assert frame[(frame["variant_a"] == "strong") & (frame["metric"] == "clip_directional")].empty


def test_set_differences_use_the_cases_that_both_variants_have() -> None:
    data = _scores()
    data.features["weak"] = (np.arange(5, 40), data.features["weak"][1][5:])
    row = _row(differences(data, SETTINGS), variant_a="weak", variant_b="strong", metric="fid")
    assert row["n"] == 35
    assert row["ci_low"] < row["difference"] < row["ci_high"] < 0


def test_a_clear_difference_of_fid_survives_the_correction_for_all_pairs() -> None:
    """Shares of 50 resamples are at least 1 / 51, and 36 / 51 after Holm's correction for the pairs of nine editors."""
    rng = np.random.default_rng(0)
    names = [f"editor{i}" for i in range(9)]
    features = {
        name: (np.arange(40), rng.standard_normal((40, 6)) + (2.0 if i == 8 else 0)) for i, name in enumerate(names)
    }
    data = TaskScores(
        "t", names, [], np.zeros((40, 9, 0)), np.arange(40), [0] * 9, features, rng.standard_normal((120, 6))
    )
    frame = differences(data, SETTINGS)
    far = frame[(frame["variant_b"] == "editor8") & (frame["metric"] == "fid")]
    assert len(far) == 8 and (far["p_holm"] < 0.001).all()
    same = frame[(frame["variant_b"] != "editor8") & (frame["metric"] == "fid")]
    assert (same["p_holm"] > 0.05).all()
    one = replace(data, cluster=np.zeros(40, dtype=np.intp))
    assert differences(one, SETTINGS)["p"].isna().all()  # one cluster tells no spread


def test_front_is_normalised_by_the_controls_and_excludes_them() -> None:
    frame, reason = frontier(_scores(), SETTINGS)
    assert reason == ""
    table = frame.set_index("variant")
    assert table.loc["source", "fidelity"] == pytest.approx(1)
    assert table.loc["random_image", "fidelity"] == pytest.approx(0, abs=1e-9)
    assert table.loc["source", "controllability"] == pytest.approx(0, abs=1e-9)
    assert table.loc["true_edit", "controllability"] == pytest.approx(1)
    assert table.loc["weak", "fidelity"] == pytest.approx((0.8 + 0.9) / 2, abs=0.03)
    assert table["on_front"].to_dict() == {name: name in ("weak", "strong") for name in VARIANTS}
    assert table.loc["weak", "probability"] == 1
    assert table.loc["worse", "probability"] == 0
    assert table.loc["strong", "fidelity_low"] < table.loc["strong", "fidelity"] < table.loc["strong", "fidelity_high"]


def test_front_probability_of_two_equal_editors_is_between_zero_and_one() -> None:
    data = _scores(noise=0.2)
    rng = np.random.default_rng(5)
    data.values[:, 4] = data.values[:, 3] + 0.1 * rng.standard_normal((40, 4))
    table = frontier(data, SETTINGS)[0].set_index("variant")
    assert 0 < table.loc["weak", "probability"] < 1 or 0 < table.loc["strong", "probability"] < 1


def test_front_without_its_controls_says_why() -> None:
    data = _scores()
    frame, reason = frontier(data, Settings(controls=CONTROLS, controllability_anchors=("source", "oracle")))
    assert frame.empty
    assert "oracle" in reason
    frame, reason = frontier(data, Settings(controls=CONTROLS, fidelity=("ssim_bg",)))
    assert "ssim_bg" in reason
    by_value = frontier(
        data, Settings(controls=CONTROLS, controllability=("success",), controllability_anchors=(0.0, 1.0))
    )[0]
    assert by_value.set_index("variant").loc["weak", "controllability"] == pytest.approx(data.values[:, 3, 2].mean())


def test_settings_name_the_wrong_key() -> None:
    with pytest.raises(UserError, match=r"statistics\.resample: .*resamples"):
        Settings.of({"resample": 3})
    with pytest.raises(UserError, match="fid"):
        Settings.of({"fidelity": ["fid"]})
    with pytest.raises(UserError, match="interval"):
        Settings.of({"interval": "normal"})
    assert Settings.of({"fidelity": ["id_sim"]}).fidelity == ("id_sim",)


def test_tasks_may_have_composites_of_their_own() -> None:
    config = {"resamples": 50, "fidelity": ["id_sim"], "tasks": {"scenes": {"fidelity": ["psnr_bg", "ssim_bg"]}}}
    assert Settings.of(config).fidelity == Settings.of(config, "portraits").fidelity == ("id_sim",)
    scenes = Settings.of(config, "scenes")
    assert (scenes.fidelity, scenes.resamples) == (("psnr_bg", "ssim_bg"), 50)
    with pytest.raises(UserError, match="statistics.fidelty"):
        Settings.of({"tasks": {"scenes": {"fidelty": ["psnr_bg"]}}}, "scenes")


def _write(tmp_path: Path, data: TaskScores) -> dict[str, Any]:
    ids = [f"portraits-{i:05d}" for i in range(len(data.values))]
    scores, features = [], []
    for v, name in enumerate(data.variants):
        rows = [
            (ids[i], name, metric, data.values[i, v, k])
            for k, metric in enumerate(data.metrics)
            for i in range(len(ids))
        ]
        frame = pd.DataFrame(rows, columns=["case_id", "variant", "metric", "value"])
        scores.append(tmp_path / f"{name}.parquet")
        write_parquet(scores[-1], frame, {"variant": name, "task": data.task, "counts": {"failed": v}})
        features.append(tmp_path / f"{name}.npz")
        np.savez(features[-1], variant=np.array(name), case_ids=np.array(ids), features=data.features[name][1])
    np.savez(
        tmp_path / "sources.npz", case_ids=np.array(ids), clusters=np.array([f"c{c}" for c in data.cluster]),
        reference=data.reference, provenance=np.array(json.dumps({"failures": {}})),
    )  # fmt: skip
    return {"scores": scores, "features": features, "sources": tmp_path / "sources.npz"}


def _run(tmp_path: Path, files: dict[str, Any]) -> list[Path]:
    outs = [tmp_path / "out" / f"{name}.parquet" for name in ("statistics", "differences", "frontier")]
    summarise_task(**files, settings={"resamples": 200, "set_resamples": 20, "permutations": 99}, out=outs[0],
                   differences_out=outs[1], frontier_out=outs[2])  # fmt: skip
    return outs


def test_files_give_the_same_as_arrays_and_twice_the_same_bytes(tmp_path: Path) -> None:
    data = _scores()
    files = _write(tmp_path, data)
    outs = _run(tmp_path, files)
    settings = Settings(resamples=200, set_resamples=20, permutations=99, controls=CONTROLS)
    frame, provenance = read_parquet(outs[0], "")
    expected = summary(data, settings)
    pd.testing.assert_series_equal(frame["ci_low"], expected["ci_low"])
    assert provenance["settings"]["resamples"] == 200
    assert _row(frame, variant="strong", metric="fid")["failed"] == 4
    assert len(read_parquet(outs[1], "")[0]) == 90
    assert len(read_parquet(outs[2], "")[0]) == 6
    before = [path.read_bytes() for path in outs]
    assert [path.read_bytes() for path in _run(tmp_path, files)] == before


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    files = _write(tmp_path, _scores())
    with pytest.raises(UserError, match="second file of variant source"):
        _run(tmp_path, files | {"scores": [files["scores"][0], files["scores"][0]]})
    with pytest.raises(UserError, match="variant 'worse'"):
        _run(tmp_path, files | {"scores": files["scores"][:-1]})
    frame, provenance = read_parquet(files["scores"][1], "")
    write_parquet(files["scores"][1], frame.assign(case_id="portraits-99999"), provenance)
    with pytest.raises(UserError, match="portraits-99999"):
        _run(tmp_path, files)
    files["scores"][1].write_bytes(b"PAR1 truncated")
    with pytest.raises(UserError, match=r"true_edit\.parquet: not a readable"):
        _run(tmp_path, files)
