"""Claims on sweeps of guidance and on other choices of hyperparameters, on evidence made for and against them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from claims_fixture import World, claims, verdict
from editfrontier.study.findings import Finding
from editfrontier.study.judging.evidence import Evidence


def row(quantity: str, value: float, half: float = math.nan, **where: object) -> Finding:
    return Finding(quantity=quantity, value=value, low=value - half, high=value + half, n=40, **where)  # type: ignore[arg-type]


def of_sweep(best: float, left: float, right: float, half: float) -> list[Finding]:
    """left, right: improvement per unit before and past the turn."""
    found = []
    for metric, sign in (("fid", -1), ("id_sim", 1)):
        found += [
            row("optimum", best, half, metric=metric),
            row("slope_left", sign * left, half, metric=metric, x=6.0),
            row("slope_right", sign * right, half, metric=metric, x=6.0),
        ]
    return found


def of_tipping(fidelity: float, quality: float, alignment: float, half: float) -> list[Finding]:
    slopes = {"id_sim": fidelity, "lpips_bg_spatial": -fidelity, "quality": quality, "clip_score": alignment}
    return [row("slope_past", value, half, metric=metric, x=9.0) for metric, value in slopes.items()]


SWEEPS = {
    "C20": (
        of_sweep(6.0, 1.0, -1.0, 0.5),
        (of_sweep(15.0, 1.0, -1.0, 0.5), of_sweep(6.0, 1.0, 1.0, 0.5), of_sweep(6.0, -1.0, -1.0, 0.5)),
        (of_sweep(6.0, 1.0, -1.0, 3.0),),
    ),
    "C21": (
        of_tipping(-0.01, -0.5, 0.0, 0.001),
        (
            of_tipping(0.01, -0.5, 0.0, 0.001),
            of_tipping(-0.01, 0.5, 0.0, 0.001),
            of_tipping(-0.01, -0.5, 0.01, 0.001),
        ),
        (of_tipping(-0.01, -0.5, 0.002, 0.001),),
    ),
}


def judged(number: str, tmp_path: Path, findings: list[Finding]) -> str:
    made = World(tmp_path, 0.001)
    made.find(claims()[number].params["analysis"], findings)
    if number == "C20":
        for metric, values in {"quality": (70.0, 50.0), "artifact": (0.05, 0.4)}.items():
            made.set("guidance", metric, dict(zip(("w = 7.5", "w = 20"), values, strict=True)))
    return verdict(number, made.evidence())


@pytest.mark.parametrize("number", SWEEPS)
def test_verdicts_follow_the_sweep_of_guidance(number: str, tmp_path: Path) -> None:
    true, false, undecided = SWEEPS[number]
    assert judged(number, tmp_path / "true", true) == "supported"
    for place, findings in enumerate(false):
        assert judged(number, tmp_path / f"false{place}", findings) == "not supported", place
    for place, findings in enumerate(undecided):
        assert judged(number, tmp_path / f"open{place}", findings) == "inconclusive", place


def test_broken_textures_are_part_of_the_claim_on_guidance(tmp_path: Path) -> None:
    made = World(tmp_path, 0.001)
    made.find(claims()["C20"].params["analysis"], of_sweep(6.0, 1.0, -1.0, 0.5))
    made.set("guidance", "quality", {"w = 7.5": 50.0, "w = 20": 70.0})
    made.set("guidance", "artifact", {"w = 7.5": 0.05, "w = 20": 0.4})
    assert verdict("C20", made.evidence()) == "not supported"


@pytest.mark.parametrize("number", SWEEPS)
def test_a_sweep_that_was_not_run_is_named(number: str, tmp_path: Path) -> None:
    claim = claims()[number]
    found = claim.test(World(tmp_path).evidence(), claim.params)
    assert found.verdict == "not testable at this scale"
    assert f"'{claim.params['analysis']}'" in found.reason


# --- claims on the tables of sweeps ----------------------------------------------------------------------------------

REGIONAL = ("w = 12, outside 1", "w = 12")
SCHEDULES = ("Constant", "Rising linearly", "Falling linearly", "Rising as a cosine", "In the middle only")


def table_world(root: Path, table: str, values: dict[str, dict[str, float]], half: float = 0.001) -> Evidence:
    made = World(root, half)
    for metric, rows in values.items():
        made.set(table, metric, rows)
    return made.evidence()


def regional(quality: float, background: float, clip: float, success: float) -> dict[str, dict[str, float]]:
    """Gains of less guidance outside the mask."""
    gains = {"quality": quality, "lpips_bg_spatial": -background, "clip_score": clip, "success": success}
    return {metric: dict(zip(REGIONAL, (0.5 + gain, 0.5), strict=True)) for metric, gain in gains.items()}


def test_regional_guidance(tmp_path: Path) -> None:
    table = claims()["C24"].params["table"]
    for place, (gains, half, expected) in enumerate(
        [
            ((0.1, 0.1, -0.01, -0.02), 0.001, "supported"),
            ((-0.1, 0.1, 0.0, 0.0), 0.001, "not supported"),
            ((0.1, 0.1, -0.1, 0.0), 0.001, "not supported"),
            ((0.1, 0.1, 0.0, 0.0), 0.5, "inconclusive"),
        ]
    ):
        evidence = table_world(tmp_path / str(place), table, regional(*gains), half)
        assert verdict("C24", evidence) == expected, gains


def schedules(identity: tuple[float, ...], clip: tuple[float, ...]) -> dict[str, dict[str, float]]:
    return {
        "id_sim": dict(zip(SCHEDULES, (0.9, *(0.9 + gain for gain in identity)), strict=True)),
        "clip_score": dict(zip(SCHEDULES, (0.6, *(0.6 + gain for gain in clip)), strict=True)),
    }


def test_one_schedule_is_enough_to_beat_a_constant(tmp_path: Path) -> None:
    table = claims()["C34"].params["table"]
    one = schedules((0.05, -0.1, -0.1, -0.1), (0.0, -0.1, -0.1, -0.1))
    assert verdict("C34", table_world(tmp_path / "one", table, one)) == "supported"
    price = schedules((0.05, -0.1, -0.1, -0.1), (-0.1, 0.05, -0.1, -0.1))
    assert verdict("C34", table_world(tmp_path / "price", table, price)) == "not supported"
    assert verdict("C34", table_world(tmp_path / "open", table, one, 0.2)) == "inconclusive"


def test_middle_block(tmp_path: Path) -> None:
    table = claims()["C23"].params["table"]
    others = claims()["C23"].params["others"]
    for place, (best, half, expected) in enumerate(
        [(0.8, 0.01, "supported"), (0.2, 0.01, "not supported"), (0.8, 1.0, "inconclusive")]
    ):
        values = {"iou_target": {"Middle block": best, **dict.fromkeys(others, 0.5)}}
        assert verdict("C23", table_world(tmp_path / str(place), table, values, half)) == expected


@pytest.mark.parametrize("number", ["C23", "C24", "C34"])
def test_tables_of_sweeps_that_were_not_run_are_named(number: str, tmp_path: Path) -> None:
    found = claims()[number].test(World(tmp_path).evidence(), claims()[number].params)
    assert found.verdict == "not testable at this scale"
    assert "were not made" in found.reason
