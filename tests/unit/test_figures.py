"""Figures: the same bytes for the same input, fronts and choices by rule, failures shown and not hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.study.figures.tables import (
    figure_ablation,
    figure_frontier,
    figure_qualitative,
    figure_validation,
    guidance_of,
)
from editfrontier.study.results.gallery import balanced_choice, edited_image, read_task, worst_cases
from study_fixture import Study, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study") / "fixture", cases=8)


def written(stem: Path) -> dict[str, bytes]:
    return {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (".pdf", ".svg", ".png")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mask_guided+guidance_scale=3", 3.0),
        ("mask_guided", 7.5),
        ("w=12 cosine", 12.0),
        ("w=7.5 step", None),
        ("mask_guided+schedule=step", None),
        ("mask_guided+guidance_scale=3,schedule=step", None),
    ],
)
def test_guidance_is_read_from_variants_and_from_the_papers_configurations(text: str, expected: float | None) -> None:
    assert guidance_of(text, 7.5) == expected


def test_frontier_figure_is_reproducible_and_free_of_dates(study: Study, tmp_path: Path) -> None:
    statistics = study.root / "statistics" / "portraits.parquet"
    for name in ("a", "b"):
        figure_frontier(
            study.tables["table1"],
            statistics,
            study.reported,
            tmp_path / name,
            study.root / "statistics" / "portraits.frontier.parquet",
        )
    assert written(tmp_path / "a") == written(tmp_path / "b")
    assert b"CreationDate" not in written(tmp_path / "a")[".pdf"]
    assert b"dc:date" not in written(tmp_path / "a")[".svg"]


def test_frontier_figure_does_without_composites_and_without_most_variants(study: Study, tmp_path: Path) -> None:
    table = {
        **study.tables["table1"],
        "rows": [{"variant": "sdedit", "label": "costs $5 & more"}, {"variant": "never_run"}],
    }
    figure_frontier(table, study.root / "statistics" / "portraits.parquet", study.reported, tmp_path / "frontier")
    assert all(written(tmp_path / "frontier").values())


def test_ablation_figure_leaves_out_what_has_no_results(study: Study, tmp_path: Path) -> None:
    figure_ablation(
        study.tables["table3"], study.root / "statistics" / "portraits.parquet", study.reported, tmp_path / "a"
    )
    assert all(written(tmp_path / "a").values())


def test_qualitative_grid_shows_failures_and_hostile_text(study: Study, tmp_path: Path) -> None:
    figure_qualitative(study.tables["table1"], study.root, tmp_path / "q", cases=2, worst=1)
    assert all(written(tmp_path / "q").values())


def test_validation_figure_draws_every_kind_of_check(study: Study, tmp_path: Path) -> None:
    figure_validation(study.root / "validation.csv", tmp_path / "v")
    assert all(written(tmp_path / "v").values())
    with pytest.raises(UserError, match=r"absent\.points\.parquet"):
        figure_validation(tmp_path / "absent.csv", tmp_path / "w")


def test_choice_takes_each_kind_of_edit_in_turn_and_other_sources_first(study: Study) -> None:
    results = read_task(study.root, "portraits", ["sdedit"])
    chosen = balanced_choice(results.cases, 3, seed=1)
    assert {case.attribute for case in chosen} == {"smile", "hat", "glasses"}
    assert len({case.cluster for case in chosen}) == 3
    assert chosen == balanced_choice(tuple(reversed(results.cases)), 3, seed=1)
    assert len(balanced_choice(results.cases, 99, seed=1)) == len(results.cases)
    assert any(balanced_choice(results.cases, 3, seed=s) != chosen for s in range(2, 6))


def test_worst_cases_have_the_least_identity_and_failures_are_none_of_them(study: Study) -> None:
    results = read_task(study.root, "portraits", ["sdedit"])
    variant = results.variants["sdedit"]
    worst = worst_cases(variant, 2)
    values = {case: scores["id_sim"] for case, scores in variant.scores.items()}
    assert worst == sorted(values, key=values.__getitem__)[:2]
    failed = next(iter(variant.failures))
    assert failed not in worst_cases(variant, 99)
    assert edited_image(results, "sdedit", results.by_id[failed]) is None


def test_unreadable_record_is_named(study: Study, tmp_path: Path) -> None:
    other = make_study(tmp_path / "broken", cases=2)
    path = other.root / "edits" / "portraits" / "sdedit" / "shard-0.parquet"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"shard-0\.parquet: not a readable parquet table"):
        read_task(other.root, "portraits", ["sdedit"])
