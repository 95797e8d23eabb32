"""Sweeps, levels and strength on scores whose optimum, break, shape, order and law were put in by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_fixture import Given, found_by, inputs_of, scores_of
from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.statistics.bootstrap import Array
from editfrontier.study.analyses.levels import ANALYSIS as LEVELS
from editfrontier.study.analyses.strength import ANALYSIS as STRENGTH
from editfrontier.study.analyses.strength import start_noise
from editfrontier.study.analyses.sweep import ANALYSIS as SWEEP
from editfrontier.study.analysis import analysis_params
from editfrontier.study.findings import Finding, Findings
from editfrontier.study.results.naming import Row
from editfrontier.study.run import draw_analysis

W = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.5, 9.0, 12.0, 15.0, 20.0])
CASES = 40


def sweep_rows(values: Sequence[float] = tuple(W)) -> list[Row]:
    return [
        Row(
            f"mask_guided+guidance_scale={w:g}",
            "mask_guided",
            f"w = {w:g}",
            "",
            "",
            False,
            "",
            {"guidance_scale": float(w)},
        )
        for w in values
    ]


def sweep_inputs(
    root: Path,
    curves: dict[str, Callable[[Array], Array]],
    x: Array = W,
    noise: float = 0.03,
    rows: list[Row] | None = None,
) -> Given:
    """One experiment whose metrics follow these curves, with an offset of each case."""
    rng = np.random.default_rng(5)
    own = rng.normal(0, 0.2, (CASES, 1, 1))
    means = np.stack([curve(x) for curve in curves.values()], axis=1)
    values = means + own + rng.normal(0, noise, (CASES, len(x), len(curves)))
    rows = rows or sweep_rows(tuple(x))
    scores = scores_of(values, [row.variant for row in rows], list(curves), task="t")
    return inputs_of(root, {"e": scores}, {"e": rows}, statistics={"resamples": 400, "permutations": 999})


def only(found: Findings, quantity: str, **values: str) -> Finding:
    row = found.one(quantity, **values)
    assert row is not None, (quantity, values)
    return row


# Sweep ----------------------------------------------------------------------------------------------------------------


def test_a_peak_a_plateau_and_a_line_are_told_apart(tmp_path: Path) -> None:
    inputs = sweep_inputs(
        tmp_path,
        {
            "id_sim": lambda w: -0.02 * np.abs(w - 6.0),
            "clip_directional": lambda w: 0.05 * np.minimum(w, 9.0),
            "lpips_bg_spatial": lambda w: 0.01 * w,
        },
    )
    metrics = ("id_sim", "clip_directional", "lpips_bg_spatial")
    found = found_by(SWEEP, inputs, metrics=metrics, threshold=9.0)
    peak = only(found, "optimum", metric="id_sim")
    assert peak.value == 6.0
    assert 5.0 <= peak.low <= 6.0 <= peak.high <= 7.5
    assert only(found, "p_u", metric="id_sim").value < 0.01
    assert only(found, "slope_left", metric="id_sim").low > 0 > only(found, "slope_right", metric="id_sim").high
    assert only(found, "break", metric="clip_directional").value == pytest.approx(9.0, abs=1.0)
    assert only(found, "p_break", metric="clip_directional").value < 0.01
    assert only(found, "slope_before", metric="clip_directional").value == pytest.approx(0.05, abs=0.01)
    past = only(found, "slope_past", metric="clip_directional")
    assert past.low < 0 < past.high
    assert only(found, "slope_below", metric="clip_directional").low > 0.03
    line = only(found, "optimum", metric="lpips_bg_spatial")  # lower is better
    assert line.value == 1.0
    assert "end of the range" in line.note
    assert only(found, "p_u", metric="lpips_bg_spatial").value > 0.05
    assert only(found, "p_break", metric="lpips_bg_spatial").value > 0.05
    assert only(found, "slope_past", metric="lpips_bg_spatial").value == pytest.approx(0.01, abs=0.003)
    sentences = SWEEP.say(found, inputs)
    assert "best at 6" in sentences[0]
    assert "it has a peak" in sentences[0]
    assert "no sign of" in sentences[2]


def test_means_are_of_the_cases_that_have_every_value_and_the_note_counts_the_others(tmp_path: Path) -> None:
    inputs = sweep_inputs(tmp_path, {"id_sim": lambda w: 0 * w})
    values = inputs.known["e"].values
    values[:3, 4, 0] = np.nan
    values[:, 7, 0] = np.nan  # every case failed at w = 12
    found = found_by(SWEEP, inputs, metrics=("id_sim",))
    means = found.select("mean")
    assert [row.x for row in means] == [w for w in W if w != 12.0]
    assert {row.n for row in means} == {CASES - 3}
    assert means[0].note == "no value for w = 12; 3 of 40 cases left out, which not all rows have"
    assert means[0].value == pytest.approx(values[3:, 0, 0].mean())


def test_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    shuffled = sweep_rows(tuple(W))[::-1]
    inputs = sweep_inputs(tmp_path, {"id_sim": lambda w: -np.abs(w - 6.0)}, W[::-1].copy(), rows=shuffled)
    found = found_by(SWEEP, inputs, metrics=("id_sim",))
    assert [row.x for row in found.select("mean")] == list(W)
    assert only(found, "optimum").value == 6.0


def test_a_sweep_of_one_value_keeps_its_mean_and_says_what_it_lacks(tmp_path: Path) -> None:
    inputs = sweep_inputs(tmp_path, {"id_sim": lambda w: 0 * w}, np.array([7.5]))
    found = found_by(SWEEP, inputs, metrics=("id_sim",), threshold=9.0)
    assert len(found.select("mean")) == 1
    assert found.one("optimum") is None
    (optimum,) = found.select("optimum")
    assert optimum.note == "values of guidance_scale: 1, expected at least 2"
    assert "expected at least 4" in found.select("p_break")[0].note
    assert "values of guidance_scale: 1" in SWEEP.say(found, inputs)[0]
    draw_analysis(SWEEP, found, inputs, analysis_params(SWEEP, {}), tmp_path / "figure")
    assert (tmp_path / "figure.svg").exists()


def test_equal_means_have_no_optimum(tmp_path: Path) -> None:
    inputs = sweep_inputs(tmp_path, {"success": lambda w: 0 * w})
    inputs.known["e"].values[:] = 0.0
    found = found_by(SWEEP, inputs, metrics=("success",))
    assert found.one("optimum") is None
    assert found.select("optimum")[0].note == "all means are equal"
    assert only(found, "p_u").value == 1.0
    assert only(found, "p_break").value == 1.0


def test_a_metric_that_no_case_has_is_said(tmp_path: Path) -> None:
    inputs = sweep_inputs(tmp_path, {"id_sim": lambda w: 0 * w})
    found = found_by(SWEEP, inputs, metrics=("id_sim", "iou_target", "fid"))
    for metric in ("iou_target", "fid"):
        (mean,) = found.select("mean", metric=metric)
        assert math.isnan(mean.value)
        assert mean.note
    assert len([s for s in SWEEP.say(found, inputs) if "no optimum" in s]) == 2


def test_wrong_sweeps_are_refused_by_name(tmp_path: Path) -> None:
    inputs = sweep_inputs(tmp_path, {"id_sim": lambda w: 0 * w})
    with pytest.raises(UserError, match=r"no hyperparameter 'guidance_scal'.*guidance_scale"):
        found_by(SWEEP, inputs, param="guidance_scal", metrics=("id_sim",))
    with pytest.raises(UserError, match="'schedule|schedule is 'cosine', expected a number"):
        found_by(SWEEP, inputs, param="schedule", metrics=("id_sim",))
    with pytest.raises(UserError, match="both have strength = 0.75"):
        found_by(SWEEP, inputs, param="strength", metrics=("id_sim",))
    with pytest.raises(UserError, match="reported"):
        analysis_params(SWEEP, {"reported": [5]})


# Levels ---------------------------------------------------------------------------------------------------------------


def level_inputs(root: Path) -> Given:
    """Four layers, of which the middle is best by 0.1 in IoU, and the first two are equal."""
    names = ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0"]
    rows = [Row(f"region_drag+layer={name}", "region_drag", name, "", "", False, "", {"layer": name}) for name in names]
    rng = np.random.default_rng(1)
    means = np.array([[0.4, 9.0], [0.4, 9.0], [0.5, 8.0], [0.3, 12.0]])
    values = means + rng.normal(0, 0.2, (CASES, 1, 2)) + rng.normal(0, [0.03, 0.5], (CASES, 4, 2))
    scores = scores_of(values, [row.variant for row in rows], ["iou_target", "centroid_shift"])
    return inputs_of(root, {"e": scores}, {"e": rows}, statistics={"resamples": 400, "permutations": 999})


def test_levels_are_compared_with_the_reference_and_corrected(tmp_path: Path) -> None:
    inputs = level_inputs(tmp_path)
    metrics = ("iou_target", "centroid_shift")
    found = found_by(LEVELS, inputs, metrics=metrics, reference="mid_block", pairs=("down_blocks.0 | down_blocks.1",))
    gap = only(found, "difference", metric="iou_target", level="down_blocks.0 against mid_block")
    assert gap.value == pytest.approx(-0.1, abs=0.03)
    assert gap.high < 0
    assert only(found, "p", metric="iou_target", level=gap.level).value == pytest.approx(
        4 / 1000
    )  # least p, four pairs
    assert only(found, "p", metric="iou_target", level="down_blocks.0 against down_blocks.1").value > 0.05
    assert only(found, "best_share", metric="iou_target", level="mid_block").value > 0.95
    assert only(found, "best_share", metric="centroid_shift", level="mid_block").value > 0.95  # lower is better
    assert sum(row.value for row in found.select("best_share", metric="iou_target")) == pytest.approx(1.0)
    sentences = LEVELS.say(found, inputs)
    assert "down_blocks.0 against mid_block: worse, difference -0" in sentences[0]
    assert "mid_block is best in" in sentences[1]
    draw_analysis(LEVELS, found, inputs, analysis_params(LEVELS, {"reference": "mid_block"}), tmp_path / "figure")
    assert (tmp_path / "figure.png").exists()


def test_two_levels_without_common_cases_are_counted_and_not_hidden(tmp_path: Path) -> None:
    inputs = level_inputs(tmp_path)
    inputs.known["e"].values[::2, 0] = np.nan
    inputs.known["e"].values[1::2, 1] = np.nan
    found = found_by(LEVELS, inputs, metrics=("iou_target",), pairs=("down_blocks.0 | down_blocks.1",))
    (gap,) = found.select("difference")
    assert math.isnan(gap.value)
    assert gap.n == 0
    assert gap.note == f"{CASES} of {CASES} cases left out, which not all rows have"
    assert "nothing to compare" in LEVELS.say(found, inputs)[0]


def test_levels_that_tie_share_being_the_best(tmp_path: Path) -> None:
    inputs = level_inputs(tmp_path)
    inputs.known["e"].values[:] = 0.0
    found = found_by(LEVELS, inputs, metrics=("iou_target",), reference="mid_block")
    assert [row.value for row in found.select("best_share")] == pytest.approx([0.25] * 4)
    assert {row.value for row in found.select("p")} == {1.0}


def test_wrong_labels_are_refused_by_name(tmp_path: Path) -> None:
    inputs = level_inputs(tmp_path)
    with pytest.raises(UserError, match=r"no row of its experiments is called 'mid'.*mid_block"):
        found_by(LEVELS, inputs, metrics=("iou_target",), reference="mid")
    with pytest.raises(UserError, match="nothing is compared"):
        analysis_params(LEVELS, {})
    with pytest.raises(UserError, match="two labels"):
        analysis_params(LEVELS, {"pairs": ["a, b"]})


# Strength -------------------------------------------------------------------------------------------------------------

SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STRENGTHS = (0.08, 0.16, 0.28, 0.4, 0.52, 0.64, 0.8, 1.0)


def strength_inputs(root: Path, deviation: Callable[[Array], Array], floor: float) -> Given:
    """SDEdit whose deviation is a function of the noise at the start, exact but for a factor of each case."""
    (root / "scheduler").mkdir()
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps({**SCHEDULE, "prediction_type": "epsilon"}))
    rows = [
        Row(f"sdedit+s={s}", "sdedit", f"s = {s}", "", "", False, "", {"num_inference_steps": 25, "strength": s})
        for s in STRENGTHS
    ]
    noise = np.array([start_noise(root, row) for row in rows])
    rows.append(Row("autoencoder_round_trip", "autoencoder_round_trip", "Autoencoder", "", "", True))
    factors = np.random.default_rng(2).uniform(0.8, 1.2, (CASES, 1))
    factors /= factors.mean()
    values = np.append(deviation(noise), floor) * factors
    scores = scores_of(values[:, :, None], [row.variant for row in rows], ["l2_source"])
    return replace(inputs_of(root, {"e": scores}, {"e": rows}), models={"text_to_image": root})


def test_the_noise_at_the_start_is_that_of_the_schedule(tmp_path: Path) -> None:
    inputs = strength_inputs(tmp_path, lambda u: u, 0.0)
    scheduler = sampling.make_scheduler(SCHEDULE)
    found = found_by(STRENGTH, inputs)
    expected = []
    for strength in STRENGTHS:
        start = sampling.image_to_image_timesteps(scheduler, 25, strength)[0]
        expected.append(math.sqrt(1 - sampling.alpha_bar(scheduler, start)))
    assert [row.x for row in found.select("noise")] == list(STRENGTHS)
    assert [row.value for row in found.select("noise")] == pytest.approx(expected)
    assert expected == sorted(expected)


def test_a_proportional_deviation_has_exponent_one_and_no_intercept(tmp_path: Path) -> None:
    inputs = strength_inputs(tmp_path, lambda u: 0.2 * u, 0.0)
    found = found_by(STRENGTH, inputs)
    level = "against sqrt(1 - alpha_bar)"
    for name, value in {"exponent": 1, "intercept": 0, "slope": 0.2, "ratio": 0.2, "r2": 1, "r2_ratio": 1}.items():
        assert only(found, name, level=level).value == pytest.approx(value, abs=1e-9)
    assert only(found, "exponent", level="against the strength").value != pytest.approx(1.0, abs=0.1)
    assert "exponent 1 (" in STRENGTH.say(found, inputs)[0]


def test_the_floor_of_the_autoencoder_is_taken_out(tmp_path: Path) -> None:
    """A deviation of 0.1 u beside an autoencoder's own of 0.05 is proportional beyond the floor, and not as a whole."""
    inputs = strength_inputs(tmp_path, lambda u: np.sqrt((0.1 * u) ** 2 + 0.05**2), 0.05)
    found = found_by(STRENGTH, inputs)
    assert only(found, "exponent", level="beyond the autoencoder").value == pytest.approx(1.0)
    assert only(found, "ratio", level="beyond the autoencoder").value == pytest.approx(0.1)
    whole = only(found, "exponent", level="against sqrt(1 - alpha_bar)")
    assert whole.high < 0.9
    assert only(found, "intercept", level="against sqrt(1 - alpha_bar)").low > 0
    assert only(found, "floor").value == pytest.approx(0.05)
    draw_analysis(STRENGTH, found, inputs, analysis_params(STRENGTH, {}), tmp_path / "figure")
    assert (tmp_path / "figure.pdf").exists()


def test_a_strength_analysis_needs_its_model(tmp_path: Path) -> None:
    inputs = strength_inputs(tmp_path, lambda u: u, 0.0)
    with pytest.raises(UserError, match="0 models"):
        found_by(STRENGTH, replace(inputs, models={}))
    (tmp_path / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(UserError, match="scheduler_config.json: not a readable scheduler config"):
        found_by(STRENGTH, inputs)
