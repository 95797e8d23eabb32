"""Claims on what analyses found, with the parameters of the study, on findings made for and against them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from claims_fixture import World, claims, verdict
from editfrontier.study.findings import Finding
from editfrontier.study.judging.evidence import Evidence

Make = Callable[[float, float], list[Finding]]


def row(quantity: str, value: float, half: float = math.nan, **where: object) -> Finding:
    return Finding(quantity=quantity, value=value, low=value - half, high=value + half, n=40, **where)  # type: ignore[arg-type]


def variant(table: str, name: str) -> str:
    from claims_fixture import REPORTED, micro

    return Evidence(Path(), micro(), REPORTED).row(table, name).variant


def of_wordings(value: float, half: float) -> list[Finding]:
    editors = ("instruct_pix2pix+num_inference_steps=25", "ultraedit+num_inference_steps=25", "mask_guided")
    return [row("distance_ratio", value + 0.01 * i, half, variant=v) for i, v in enumerate(editors)]


def of_drift(change: float, half: float) -> list[Finding]:
    about = {"metric": "id_sim", "x": 2.0}
    return [
        row("change", change, half, variant="instruct_pix2pix", **about),
        row("change", 0.5, 0.001, variant="sdedit", **about),
    ]


def of_growth(exponent: float, half: float) -> list[Finding]:
    return [
        row("exponent", exponent, half, variant="", metric="l2_source"),
        row("exponent", 9.0, 0.1, variant="sdedit", metric="l2_source"),
    ]


def of_chains(share: float, used: float, half: float) -> list[Finding]:
    about = {"variant": "", "metric": "l2_source", "level": "largest first edit"}
    return [row("chains_hold", share, 0.1, **about), row("tightness", used, half, x=8.0, **about)]


def of_sequences(quantity: str) -> Make:
    return lambda value, half: [
        row(quantity, value, half, variant="", metric="success"),
        row(quantity, 0.0, 0.0, variant="", metric="success", level="forward"),
        row(quantity, 0.0, 0.0, variant="sdedit", metric="success"),
    ]


def of_masks(loss: float, half: float, extra: float | None = None) -> list[Finding]:
    about = {"variant": "drag_flow+learning_rate=600", "metric": "boundary"}
    return [
        row("difference", loss, half, level="automatic", **about),
        row("difference", -9.0, 0.1, level="eroded", **about),
        row("extra_loss", loss if extra is None else extra, half, **about),
        row("extra_loss", -9.0, 0.1, level="automatic", **about),
    ]


def of_regimes(share: float, agreement: float, half: float) -> list[Finding]:
    about = {"level": "all", "x": 3.0}
    return [
        row("regimes_share", share, **about),
        row("regimes_share", 1 - share, level="all", x=2.0),
        row("paper_agreement", agreement, half, **about),
    ]


def of_fronts(share: float) -> list[Finding]:
    return [
        row("dominates_everywhere", share, level="all"),
        row("dominates_everywhere", 0.7, level="all", variant="sdedit"),
    ]


def of_strength(exponent: float, explained: float, half: float) -> list[Finding]:
    level = {"level": "beyond the autoencoder"}
    return [
        row("exponent", exponent, half, **level),
        row("r2_ratio", explained, half, **level),
        row("exponent", 5.0, 0.1, level="against the strength"),
    ]


def of_lipschitz(share: float, used: float, half: float) -> list[Finding]:
    found = []
    for level, steps in (("ddim/decoder", 10.0), ("fireflow/whole", 8.0)):
        found += [
            row("holds_largest", share, 0.1, level=level, x=steps),
            row("tightness", used, half, level=level, x=steps),
        ]
    return found


def of_locality(agrees: float, radius: float, half: float) -> list[Finding]:
    return [
        row("agrees_beyond_feather", agrees, 0.1, level="mask_guided/locked"),
        row("leakage_radius", radius, half, level="mask_guided/soft"),
        row("effective_radius", 10.0, 0.0, metric="amplitude", level="autoencoder"),
    ]


def of_guidance(violated: float, used: float, half: float) -> list[Finding]:
    found = [row("violated", 0.0, 0.0, level="single/plain", x=7.5)]
    for scale in (1.0, 7.5):
        found += [
            row("violated", violated, 0.1, level="single/averaged", x=scale),
            row("tightness", used, half, level="single/averaged", x=scale),
        ]
    return found


def of_terms(terms: float, seen: float, half: float) -> list[Finding]:
    return [
        row("clean_half_share", terms, level="single/terms"),
        row("clean_half_share", seen, half, level="single/measured", x=7.5),
    ]


def of_regions(value: float, half: float) -> list[Finding]:
    editors = ("instruct_pix2pix", "tf_icon", "ultraedit", "sdedit", "mask_guided")
    return [row("concentration_excess", value, half, variant=variant("table1", name)) for name in editors]


def of_people(value: float, half: float) -> list[Finding]:
    metrics = ("id_sim", "clip_score", "success", "quality")
    return [row("responses", 20.0), *(row("spearman", value, half, metric=metric) for metric in metrics)]


@dataclass(frozen=True)
class Trial:
    """Findings of an analysis for which a claim is true, false, and open."""

    analysis: str
    true: list[Finding]
    false: tuple[list[Finding], ...]
    open: tuple[list[Finding], ...]


TRIALS = {
    "C08": Trial("sensitivity", of_wordings(1.5, 0.3), (of_wordings(0.5, 0.3),), (of_wordings(1.1, 0.3),)),
    "C09": Trial(
        "drift", of_drift(-0.14, 0.05), (of_drift(-0.01, 0.02), of_drift(0.1, 0.05)), (of_drift(-0.06, 0.05),)
    ),
    "C10": Trial(
        "drift",
        of_growth(1.0, 0.1),
        (of_growth(0.5, 0.1), of_growth(1.6, 0.1)),
        (of_growth(0.8, 0.1), of_growth(1, 0.5)),
    ),
    "C11": Trial(
        "composition",
        of_sequences("both_retained")(0.5, 0.05),
        (of_sequences("both_retained")(0.2, 0.05), of_sequences("both_retained")(0.8, 0.05)),
        (of_sequences("both_retained")(0.45, 0.05),),
    ),
    "C12": Trial(
        "composition",
        of_sequences("washed_out_minus_failed")(0.2, 0.1),
        (of_sequences("washed_out_minus_failed")(-0.2, 0.1),),
        (of_sequences("washed_out_minus_failed")(0.05, 0.1),),
    ),
    "C16": Trial(
        "mask_quality",
        of_masks(0.3, 0.1),
        (of_masks(-0.3, 0.1), of_masks(0.3, 0.1, extra=-0.3)),
        (of_masks(0.05, 0.1), of_masks(0.3, 0.1, extra=0.05)),
    ),
    "C18": Trial(
        "regimes",
        of_regimes(0.97, 0.8, 0.2),
        (of_regimes(0.02, 0.8, 0.2), of_regimes(0.97, -0.3, 0.2)),
        (of_regimes(0.6, 0.8, 0.2), of_regimes(0.97, 0.1, 0.2)),
    ),
    "C19": Trial("regimes", of_fronts(0.01), (of_fronts(0.99),), (of_fronts(0.4),)),
    "C25": Trial(
        "strength",
        of_strength(1.0, 0.9, 0.05),
        (of_strength(2.0, 0.9, 0.05), of_strength(1.0, 0.1, 0.05)),
        (of_strength(0.8, 0.9, 0.05),),
    ),
    "C26": Trial(
        "lipschitz",
        of_lipschitz(1.0, 0.4, 0.1),
        (of_lipschitz(0.9, 0.4, 0.1), of_lipschitz(1.0, 1.4, 0.1)),
        (of_lipschitz(1.0, 0.95, 0.1),),
    ),
    "C27": Trial(
        "drift",
        of_chains(1.0, 0.5, 0.1),
        (of_chains(0.95, 0.5, 0.1), of_chains(1.0, 1.5, 0.1)),
        (of_chains(1.0, 0.95, 0.1),),
    ),
    "C28": Trial(
        "locality",
        of_locality(1.0, 6.0, 2.0),
        (of_locality(0.9, 6.0, 2.0), of_locality(1.0, 20.0, 2.0)),
        (of_locality(1.0, 9.0, 2.0),),
    ),
    "C29": Trial(
        "guidance_bound",
        of_guidance(0.0, 0.5, 0.1),
        (of_guidance(0.1, 0.5, 0.1), of_guidance(0.0, 2.0, 0.1)),
        (of_guidance(0.0, 1.0, 0.1),),
    ),
    "C30": Trial(
        "guidance_bound",
        of_terms(0.7, 0.8, 0.1),
        (of_terms(0.1, 0.8, 0.1), of_terms(0.7, 0.2, 0.1)),
        (of_terms(0.7, 0.5, 0.1),),
    ),
    "C31": Trial("regions", of_regions(0.02, 0.01), (of_regions(-0.02, 0.01),), (of_regions(0.005, 0.01),)),
    "C32": Trial("user_study", of_people(0.7, 0.2), (of_people(-0.7, 0.2),), (of_people(0.1, 0.2),)),
}


def judged(number: str, tmp_path: Path, findings: list[Finding]) -> str:
    made = World(tmp_path)
    made.find(TRIALS[number].analysis, findings)
    return verdict(number, made.evidence())


@pytest.mark.parametrize("number", TRIALS)
def test_verdicts_follow_the_findings(number: str, tmp_path: Path) -> None:
    trial = TRIALS[number]
    assert judged(number, tmp_path / "true", trial.true) == "supported"
    for place, findings in enumerate(trial.false):
        assert judged(number, tmp_path / f"false{place}", findings) == "not supported", place
    for place, findings in enumerate(trial.open):
        assert judged(number, tmp_path / f"open{place}", findings) == "inconclusive", place


@pytest.mark.parametrize("number", TRIALS)
def test_an_analysis_that_was_not_run_is_named(number: str, tmp_path: Path) -> None:
    claim = claims()[number]
    found = claim.test(World(tmp_path).evidence(), claim.params)
    assert found.verdict == "not testable at this scale"
    assert f"'{claim.params['analysis']}'" in found.reason


@pytest.mark.parametrize("number", sorted({*TRIALS} - {"C32", "C28"}))
def test_findings_without_a_value_are_absent_with_their_note(number: str, tmp_path: Path) -> None:
    trial = TRIALS[number].true
    made = World(tmp_path)
    empty = [Finding(**{**vars(one), "value": math.nan, "low": math.nan, "note": "nothing ran"}) for one in trial]
    made.find(claims()[number].params["analysis"], empty)
    claim = claims()[number]
    assert claim.test(made.evidence(), claim.params).verdict == "not testable at this scale"


def test_a_study_without_responses_says_so(tmp_path: Path) -> None:
    made = World(tmp_path)
    made.find("user_study", [Finding(quantity="responses", value=0.0, note="no responses yet: give out the page")])
    claim = claims()["C32"]
    found = claim.test(made.evidence(), claim.params)
    assert found.verdict == "not testable at this scale"
    assert found.reason == "No responses yet: give out the page."


def test_the_papers_effect_stands_beside_ours(tmp_path: Path) -> None:
    made = World(tmp_path)
    made.find("drift", of_drift(-0.1, 0.02))
    made.find("composition", of_sequences("both_retained")(0.5, 0.05))
    drift, both = (claims()[number].test(made.evidence(), claims()[number].params) for number in ("C09", "C11"))
    assert drift.paper == pytest.approx(0.78 - 0.92)
    assert (both.paper, both.direction) == (0.52, "between 0.42 and 0.62")


def test_the_bound_without_the_factor_is_told_beside_the_printed_one(tmp_path: Path) -> None:
    made = World(tmp_path)
    made.find("guidance_bound", of_guidance(0.5, 2.0, 0.1))
    claim = claims()["C29"]
    found = claim.test(made.evidence(), claim.params)
    assert found.reason.endswith("Without the factor 1/sqrt(T), up to 0% of the cases exceed it.")
