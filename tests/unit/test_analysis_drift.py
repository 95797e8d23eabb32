"""Drift under repeated edits and the film strip, on chains that drift in a known way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chains_fixture import TASK, entry_of, make_chain, write_study
from editfrontier.base.errors import UserError
from editfrontier.study.analyses import drift, film_strip
from editfrontier.study.designs.chains import chain_data, exponents, slopes
from editfrontier.study.findings import Finding, Findings, read_findings
from editfrontier.study.run import run_analysis

STEPS = 8


def chains(count: int = 6, steps: int = STEPS) -> list[Any]:
    return [make_chain(f"c{i}", f"s{i}", ["smile"], steps) for i in range(count)]


def found(inputs: Any) -> Findings:
    return Findings(tuple(drift.run(inputs, drift.DriftParams())), {})


def the(findings: Findings, quantity: str, **values: Any) -> Finding:
    (row,) = findings.select(quantity, **values)
    return row


def test_linear_drift_has_its_slope_exponent_one_and_stands_on_the_line(tmp_path: Path) -> None:
    findings = found(write_study(tmp_path, chains(), {"linear": lambda chain, k: {"level": 10 * k}}))
    about = {"variant": "linear", "metric": "l2_source"}
    assert the(findings, "slope", **about).value == pytest.approx(10 / 255)
    exponent = the(findings, "exponent", **about)
    assert exponent.value == pytest.approx(1)
    assert exponent.note == "linear within the interval"
    assert [row.value for row in findings.select("mean", **about)] == pytest.approx([10 * k / 255 for k in range(1, 9)])
    for level in ("largest edit", "largest first edit", "mean first edit"):
        assert the(findings, "epsilon", **about, level=level).value == pytest.approx(10 / 255)
        assert the(findings, "chains_hold", **about, level=level).value == 1
        assert the(findings, "tightness", **about, level=level).value == pytest.approx(1)
    assert the(findings, "chains_hold", variant="", metric="l2_source", level="mean first edit").n == 6


@pytest.mark.parametrize(("power", "word"), [(0.5, "slower than linear"), (1.5, "faster than linear")])
def test_growth_that_is_not_linear_is_told_from_growth_that_is(tmp_path: Path, power: float, word: str) -> None:
    scale = np.linspace(0.8, 1.2, 6)

    def behave(chain: int, k: int) -> dict[str, float]:
        return {"l2_latent": 0.1 * scale[chain] * k**power}

    findings = found(write_study(tmp_path, chains(), {"theirs": behave}))
    about = {"variant": "theirs", "metric": "l2_latent"}
    exponent = the(findings, "exponent", **about)
    assert exponent.value == pytest.approx(power)
    assert exponent.note == word
    pooled = the(findings, "exponent", variant="", metric="l2_latent")
    assert pooled.value == pytest.approx(power)
    used = the(findings, "tightness", **about, level="mean first edit")
    assert (used.value, used.x) == (pytest.approx(8**power / 8), 8)
    held = the(findings, "chains_hold", **about, level="largest first edit")
    # 8^0.5 < 8 for every chain; 8^1.5 scale > 8 * 1.2 for every chain.
    assert held.value == (1 if power < 1 else 0)
    assert 0 <= held.low < held.high <= 1


def test_the_share_within_k_epsilon_is_counted(tmp_path: Path) -> None:
    def behave(chain: int, k: int) -> dict[str, float]:
        return {"l2_latent": 0.1 if k == 1 else 0.1 * k + (0.01 if chain < 2 and k == 3 else -0.01)}

    findings = found(write_study(tmp_path, chains(), {"theirs": behave}))
    about = {"variant": "theirs", "metric": "l2_latent", "level": "mean first edit"}
    assert the(findings, "holds", **about).value == pytest.approx(1 - 2 / (6 * 7))  # two of all steps but the first
    assert the(findings, "chains_hold", **about).value == pytest.approx(4 / 6)


def test_the_largest_edit_is_the_largest_between_neighbouring_steps(tmp_path: Path) -> None:
    levels = {1: 10, 2: 60, 3: 40}  # back again: steps of 10, 50 and 20 levels
    inputs = write_study(tmp_path, chains(2, 3), {"theirs": lambda chain, k: {"level": levels[k]}})
    findings = found(inputs)
    about = {"variant": "theirs", "metric": "l2_source"}
    assert the(findings, "epsilon", **about, level="largest edit").value == pytest.approx(50 / 255)
    assert the(findings, "epsilon", **about, level="largest first edit").value == pytest.approx(10 / 255)
    assert the(findings, "chains_hold", **about, level="largest edit").value == 1  # theorem 2
    assert the(findings, "chains_hold", **about, level="largest first edit").value == 0


def test_identity_falls_by_its_slope_with_an_interval_over_sources(tmp_path: Path) -> None:
    fall = np.array([0.02, 0.03, 0.05, 0.06, 0.04, 0.04])

    def behave(chain: int, k: int) -> dict[str, float]:
        return {"id_sim": 0.95 - fall[chain] * (k - 1)}

    findings = found(write_study(tmp_path, chains(), {"theirs": behave}))
    about = {"variant": "theirs", "metric": "id_sim"}
    slope = the(findings, "slope", **about)
    assert slope.value == pytest.approx(-fall.mean())
    assert -0.06 < slope.low < slope.value < slope.high < -0.02
    assert the(findings, "mean", **about, x=1).value == pytest.approx(0.95)
    assert the(findings, "change", **about, x=2).value == pytest.approx(-fall.mean())
    # The deviation is 1 - ID.
    assert the(findings, "epsilon", **about, level="mean first edit").value == pytest.approx(0.05)


def test_failed_steps_are_counted_and_the_others_speak(tmp_path: Path) -> None:
    def behave(chain: int, k: int) -> dict[str, float] | str:
        if chain == 0 and k > 2:
            return "failed" if k == 3 else "not run"
        return {"level": 10 * k}

    inputs = write_study(tmp_path, chains(), {"theirs": behave})
    findings = found(inputs)
    assert the(findings, "failed", variant="theirs").value == 1
    assert the(findings, "not_run", variant="theirs").value == 5
    about = {"variant": "theirs", "metric": "l2_source"}
    assert [row.n for row in findings.select("mean", **about)] == [6, 6, 5, 5, 5, 5, 5, 5]
    assert the(findings, "slope", **about).value == pytest.approx(10 / 255)
    assert "1 steps failed, and 5 after them were not run." in drift.say(findings, inputs)


def test_nothing_that_moves_has_no_exponent_and_no_line(tmp_path: Path) -> None:
    variants = {"still": lambda chain, k: {"level": 0}, "gone": lambda chain, k: "failed"}
    findings = found(write_study(tmp_path, chains(), variants))
    about = {"variant": "still", "metric": "l2_source"}
    assert math.isnan(the(findings, "exponent", **about).value)
    assert the(findings, "exponent", **about).note.startswith("the mean deviation is not positive after every edit")
    assert not findings.select("holds", **about)
    assert "no edit changed anything" in the(findings, "epsilon", **about, level="mean first edit").note
    absent = the(findings, "mean", variant="gone", metric="l2_source")
    assert (math.isnan(absent.value), absent.note) == (True, "no case has a value")
    assert the(findings, "mean", variant="still", metric="id_sim").note == "no case of any editor has a value"


def test_attributes_that_nobody_asked_to_change(tmp_path: Path) -> None:
    made = chains(4, 2)

    # Nothing but the smile is asked for; glasses and hat are absent. From the second edit on half the chains get a hat.
    def behave(chain: int, k: int) -> dict[str, Any]:
        return {"attributes": [0.9, 0.1, 0.8 if k == 2 and chain < 2 else 0.2]}

    findings = found(write_study(tmp_path, made, {"theirs": behave}))
    assert the(findings, "invented", variant="theirs", x=1).value == 0
    assert the(findings, "invented", variant="theirs", x=2).value == pytest.approx(0.25)
    assert math.isnan(the(findings, "retained", variant="theirs", x=2).value)
    assert (
        the(findings, "retained", variant="", level="hat").note == "no chain has it in its source and leaves it alone"
    )


def test_slopes_and_exponents_of_arrays() -> None:
    values = np.array([[1.0, 3.0, 5.0], [2.0, np.nan, 4.0], [1.0, np.nan, np.nan]])
    np.testing.assert_allclose(slopes(values), [2, 1, np.nan])
    curves = 3 * np.arange(1.0, 6) ** np.array([[0.7], [1.0], [2.0]])
    np.testing.assert_allclose(exponents(curves), [0.7, 1, 2])
    assert math.isnan(float(exponents(np.array([0.0, 1.0]))))
    assert math.isnan(float(exponents(np.array([1.0]))))


def test_a_chain_of_one_step_gives_notes_instead_of_growth(tmp_path: Path) -> None:
    findings = found(write_study(tmp_path, chains(3, 1), {"theirs": lambda chain, k: {"level": 5}}))
    about = {"variant": "theirs", "metric": "l2_source"}
    assert the(findings, "slope", **about).note == "a chain of one step has no slope"
    assert the(findings, "exponent", **about).note == "a chain of one step has no growth"


def test_wrong_experiments_are_named(tmp_path: Path) -> None:
    single = [[replace(make_chain("c", "s", ["smile"], 1)[0], chain="")]]
    inputs = write_study(tmp_path, single, {"theirs": lambda chain, k: {}})
    with pytest.raises(UserError, match="'chains' of experiment 'table' has no chains"):
        drift.run(inputs, drift.DriftParams())
    with pytest.raises(UserError, match="Did you mean 'largest edit'"):
        drift.DriftParams(epsilon="larges edit")


@pytest.mark.parametrize("name", ["drift", "film_strip"])
def test_findings_and_figure_are_written(tmp_path: Path, name: str) -> None:
    def behave(chain: int, k: int) -> dict[str, float] | str:
        if chain == 1 and k > 3:
            return "not run"
        return {"level": 9 * k + chain, "id_sim": 0.9 - 0.02 * k, "quality": 50.0, "clip_score": 0.6}

    variants = {"sdedit": behave, "mask_guided": lambda chain, k: {"level": 3 * k}, "source": lambda chain, k: {}}
    write_study(tmp_path, chains(5, 4), variants, ["source"])
    out = tmp_path / "analyses" / f"{name}.parquet"
    run_analysis(name, entry_of(list(variants), ["source"], name), tmp_path, out)
    assert all(out.with_suffix(f".{kind}").stat().st_size > 300 for kind in ("pdf", "svg", "png", "csv"))
    findings = read_findings(out)
    sentences = findings.provenance["sentences"]
    assert sentences
    if name == "drift":
        assert "Identity similarity falls fastest with Sdedit: 0.880 after one edit, 0.860 after two" in sentences[0]


def test_the_strip_shows_the_typical_chain(tmp_path: Path) -> None:
    last = {0: 90, 1: 10, 2: 50, 3: 70, 4: 30}

    def behave(chain: int, k: int) -> dict[str, float] | str:
        return "failed" if chain == 2 and k == 2 else {"level": last[chain] // (1 if k == 2 else 2)}

    variants = {"one": behave, "two": lambda chain, k: {"level": last[chain]}}
    inputs = write_study(tmp_path, chains(5, 2), variants)
    data = chain_data(inputs, "table")
    # Chain 2 failed; of 10, 30, 70 and 90 the lower median is 30.
    assert film_strip.typical_chain(data, inputs.rows) == 4
    rows = film_strip.run(inputs, None)  # type: ignore[arg-type]
    assert {row.level for row in rows} == {"c4"}
    assert [row.value for row in rows if row.variant == "one"] == pytest.approx([15 / 255, 30 / 255])
    assert data.scores.task == TASK
