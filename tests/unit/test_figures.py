"""Figures: the same bytes for the same input, fronts and choices by rule, failures shown and not hidden."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.study.drawing.plotting import write_figure
from editfrontier.study.figure import FIGURES, FigureInputs, draw_figure
from editfrontier.study.figures import qualitative
from editfrontier.study.results.gallery import balanced_choice, edited_image, read_task, worst_cases
from editfrontier.study.results.naming import guidance_of, parse_table
from foreign_packages import put_package
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
    for name in ("a", "b"):
        draw_figure("frontier", study.tables["table1"], study.root, study.reported, tmp_path / name)
    assert written(tmp_path / "a") == written(tmp_path / "b")
    assert b"CreationDate" not in written(tmp_path / "a")[".pdf"]
    assert b"dc:date" not in written(tmp_path / "a")[".svg"]


def test_frontier_figure_does_without_composites_and_without_most_variants(study: Study, tmp_path: Path) -> None:
    table = {
        **study.tables["table1"],
        "rows": [{"variant": "sdedit", "label": "costs $5 & more"}, {"variant": "never_run"}],
    }
    root = tmp_path / "study"
    (root / "statistics").mkdir(parents=True)
    shutil.copy(study.root / "statistics" / "portraits.parquet", root / "statistics")
    draw_figure("frontier", table, root, study.reported, tmp_path / "frontier")
    assert all(written(tmp_path / "frontier").values())


def test_ablation_figure_leaves_out_what_has_no_results(study: Study, tmp_path: Path) -> None:
    draw_figure("ablation", study.tables["table3"], study.root, study.reported, tmp_path / "a")
    assert all(written(tmp_path / "a").values())


def test_qualitative_grid_shows_failures_and_hostile_text(study: Study, tmp_path: Path) -> None:
    inputs = FigureInputs(study.root, study.reported, parse_table(study.tables["table1"]))
    write_figure(lambda: qualitative.draw(inputs, cases=2, worst=1), tmp_path / "q")
    assert all(written(tmp_path / "q").values())


def test_validation_figure_draws_every_kind_of_check(study: Study, tmp_path: Path) -> None:
    draw_figure("validation", {}, study.root, study.reported, tmp_path / "v")
    assert all(written(tmp_path / "v").values())
    with pytest.raises(UserError, match=r"absent.validation\.points\.parquet"):
        draw_figure("validation", {}, tmp_path / "absent", study.reported, tmp_path / "w")


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


# --- figures as plug-ins ---------------------------------------------------------------------------------------------


def test_every_figure_says_what_it_waits_for(study: Study) -> None:
    table = {**study.tables["table1"], "name": "table1", "rows": [{"variant": "sdedit"}]}
    files = {name: FIGURES.get(name).inputs(table) for name in FIGURES}
    assert files["frontier"] == ["statistics/portraits.parquet", "statistics/portraits.frontier.parquet"]
    assert files["qualitative"] == ["scores/portraits/sdedit.parquet", "data/portraits/cases.parquet"]
    assert files["validation"] == ["validation.csv", "validation.points.parquet"]
    assert FIGURES.get("motion").inputs({**table, "by": "size"})[0] == "statistics/portraits.subsets.parquet"
    assert [name for name in files if not FIGURES.get(name).shows_table] == ["validation"]


def test_an_unknown_figure_gives_the_nearest_one_and_the_place_for_it() -> None:
    with pytest.raises(UserError, match=r"'fronteir': there is no such figure.*'frontier'.*study/figures/fronteir\.py"):
        FIGURES.get("fronteir")


DOCS = Path(__file__).resolve().parents[2] / "docs"
_CODE = (DOCS / "adding_a_figure.md").read_text(encoding="utf-8").split("```python")[1].split("```")[0]
FIGURE = f"{_CODE}EDITOR = FIGURE\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "packages").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return tmp_path / "packages"


def test_the_figure_of_the_docs_is_drawn_when_a_package_has_it(study: Study, packages: Path, tmp_path: Path) -> None:
    code = FIGURE.replace('"seconds"', '"id_sim"')  # which the study of the tests has
    put_package(packages, "package-that-counts", "cost", code, "editfrontier.figures")
    assert "cost" in FIGURES
    draw_figure("cost", study.tables["table1"], study.root, study.reported, tmp_path / "c")
    drawn = (tmp_path / "c.svg").read_text(encoding="utf-8")
    assert "ID sim" in drawn
    assert "SDEdit" in drawn
    with pytest.raises(UserError, match="was given no table"):
        draw_figure("cost", {}, study.root, study.reported, tmp_path / "d")


def test_a_figure_that_needs_what_nothing_makes_is_named(packages: Path) -> None:
    code = FIGURE.replace("draw=draw,", "draw=draw, needs=('statistic',),")
    put_package(packages, "package-that-asks", "cost", code, "editfrontier.figures")
    with pytest.raises(UserError, match="figure 'cost': needs 'statistic', .*'statistics'"):
        FIGURES.get("cost")
