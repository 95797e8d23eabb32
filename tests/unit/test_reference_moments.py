"""FID to published statistics of a reference, without its images."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from claims_fixture import World
from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet, write_parquet
from editfrontier.scoring.metrics.distribution import FidReference
from editfrontier.scoring.metrics.moments import copy_moments, read_moments
from editfrontier.scoring.source_features import read_sources
from editfrontier.scoring.sources import prepare_sources
from editfrontier.statistics.set_bootstrap import NO_IMAGES, NO_ROW, SetBootstrap
from editfrontier.statistics.task import summary
from editfrontier.statistics.taskscores import Settings, TaskScores
from editfrontier.study.config.study import load_study
from editfrontier.study.judging.verdict import Absent
from editfrontier.study.report import build_report
from editfrontier.study.results.grids import build_grid
from editfrontier.study.results.naming import Table, parse_table, read_reported
from editfrontier.study.results.tables import to_latex, to_long, to_markdown
from study_fixture import make_study, page_data
from tiny_pipelines import tiny_cases

SETTINGS = Settings(resamples=20, set_resamples=20, permutations=19)


class Evaluator:
    """Mean and spread of the pixels of each channel."""

    preprocessing = "clean"

    def features(self, images: torch.Tensor) -> torch.Tensor:
        values = images.float()
        return torch.cat([values.mean((2, 3)), values.std((2, 3))], dim=1)


def published(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "ffhq.npz", **arrays)
    return folder / "ffhq.npz"


def exact(mean: np.ndarray[Any, Any], scales: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Points with exactly this mean and, unbiased, the covariance diag(scales ** 2): a cross along each axis."""
    d = len(mean)
    spread = np.sqrt((2 * d - 1) / 2)
    return np.concatenate([mean + spread * np.diag(scales), mean - spread * np.diag(scales)])


def test_distance_of_two_known_gaussians() -> None:
    """FID = |mu1 - mu2|^2 + sum (s1 - s2)^2 for diagonal covariances: 9 + 16 + (1 - 2)^2 + (3 - 1)^2 = 30."""
    reference = FidReference.of_moments(np.array([3.0, 4.0]), np.diag([4.0, 1.0]))
    features = exact(np.zeros(2), np.array([1.0, 3.0]))
    assert reference.distances(features, np.ones((1, 4)))[0] == pytest.approx(30.0)


def test_moments_of_images_give_the_fid_of_the_images() -> None:
    rng = np.random.default_rng(0)
    images, features = rng.standard_normal((50, 5)) @ rng.standard_normal((5, 5)), rng.standard_normal((20, 5))
    of_moments = FidReference.of_moments(images.mean(axis=0), np.cov(images, rowvar=False))
    weights = rng.multinomial(20, np.full(20, 1 / 20), size=3).astype(float)
    assert of_moments.distances(features, weights) == pytest.approx(
        FidReference.fit(images).distances(features, weights)
    )


def scores(features: Any) -> TaskScores:
    n = len(features)
    return TaskScores(
        "t", ["a"], [], np.zeros((n, 1, 0)), np.arange(n), [0], {"a": (np.arange(n), features)}, None,
        moments=(np.array([3.0, 4.0]), np.diag([4.0, 1.0])),
    )  # fmt: skip


def test_a_task_has_fid_and_says_why_it_has_no_kid_and_no_row_of_the_reference() -> None:
    data = scores(exact(np.zeros(2), np.array([1.0, 3.0])))
    sets = SetBootstrap(data, SETTINGS)
    assert sets.names == ("fid",)
    assert sets.estimate("reference") is None
    frame = summary(data, SETTINGS, sets).set_index(["variant", "metric"])
    assert frame["value"]["a", "fid"] == pytest.approx(30.0)
    assert 0 <= frame["ci_low"]["a", "fid"] < frame["ci_high"]["a", "fid"]
    assert frame["reason"]["a", "fid"] == ""
    without = {("a", "kid"): NO_IMAGES, ("reference", "fid"): NO_ROW, ("reference", "kid"): NO_IMAGES}
    assert dict(frame["reason"].drop(("a", "fid"))) == without
    assert frame[["value", "ci_low", "ci_high"]].drop(("a", "fid")).isna().all().all()
    assert set(frame["n"].drop(("a", "fid"))) == {0}


def test_a_variant_without_images_keeps_its_row_and_images_give_no_reason() -> None:
    data = scores(exact(np.zeros(2), np.array([1.0, 3.0])))
    lost = replace(data, variants=["a", "b"], values=np.zeros((4, 2, 0)), failed=[0, 4])
    frame = summary(lost, SETTINGS)
    assert set(frame["variant"]) == {"a", "b", "reference"}
    assert set(frame[frame["variant"] == "b"]["reason"]) == {"all 4 cases failed"}
    images = replace(data, moments=None, reference=np.random.default_rng(0).standard_normal((20, 2)))
    assert set(summary(images, SETTINGS)["reason"]) == {""}


@pytest.fixture
def table() -> tuple[Table, pd.DataFrame]:
    """A table of two variants, and statistics with published moments."""
    data = scores(exact(np.zeros(2), np.array([1.0, 3.0])))
    two = replace(
        data,
        variants=["sdedit", "source"],
        values=np.zeros((4, 2, 0)),
        failed=[0, 0],
        features=dict.fromkeys(("sdedit", "source"), data.features["a"]),
    )
    rows: list[Any] = [{"variant": "sdedit"}, {"variant": "source"}]
    return parse_table({"name": "x", "task": "t", "metrics": ["fid", "kid"], "rows": rows}), summary(two, SETTINGS)


def test_tables_say_why_kid_is_missing(table: tuple[Table, pd.DataFrame]) -> None:
    grid = build_grid(*table, read_reported(Path("config/reported_values.csv")))
    assert [line.row.variant for line in grid.lines] == ["sdedit", "source", "reference"]
    sentences = [f"No KID: {NO_IMAGES}.", f"No FID of the reference: {NO_ROW}."]
    assert grid.missing() == sentences
    for text in (to_markdown(grid), to_latex(grid)):
        assert all(sentence in text for sentence in sentences)
        assert "nan" not in text.lower()
    assert to_markdown(grid).count("| – |") == 3  # KID of both, FID of the reference, whose KID borders on that
    frame = to_long(grid).set_index(["variant", "metric"])
    assert frame["reason"]["sdedit", "kid"] == NO_IMAGES and frame["reason"]["sdedit", "fid"] == ""


def test_page_says_why_kid_is_missing(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", cases=4)
    path = study.root / "statistics" / "portraits.parquet"
    frame, about = read_parquet(path, "")
    kid = frame["metric"] == "kid"
    frame.loc[kid, ["value", "ci_low", "ci_high"]] = np.nan
    write_parquet(path, frame.assign(reason=np.where(kid, NO_IMAGES, "")), about)
    build_report(study.root, study.config, study.tables, study.reported, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text()
    assert f'<p class="fine">No KID: {NO_IMAGES}.</p>' in html
    # The tip of every cell of KID in table 1: four editors, four controls and the reference.
    assert html.count("\nNo value: the reference is published statistics") == 9
    points = page_data(html)["planes"][0]["points"]
    assert all("kid" not in point["metrics"] for point in points)


def test_claims_on_kid_are_untestable_for_this_reason(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.set("table1", "kid", {"sdedit": 1.0, "drag_flow": 2.0})
    evidence = world.evidence()
    single, pairs = (tmp_path / "statistics" / f"portraits{kind}.parquet" for kind in ("", ".differences"))
    write_parquet(single, read_parquet(single, "")[0].assign(value=np.nan, reason=NO_IMAGES), {})
    write_parquet(pairs, read_parquet(pairs, "")[0].iloc[:0], {})
    rows = [evidence.row("table1", name) for name in ("sdedit", "drag_flow")]
    for ask in (partial(evidence.value, "table1", rows[0]), partial(evidence.difference, "table1", *rows)):
        with pytest.raises(Absent, match="no KID in the experiment 'table1': the reference is published statistics"):
            ask("kid")


def test_the_script_copies_and_the_sources_take_them(tmp_path: Path, root: Path) -> None:
    file = published(tmp_path, mu=np.zeros(3), sigma=np.eye(3))
    out = tmp_path / "reference.npz"
    spec = json.dumps({"statistics": str(file), "preprocessing": "clean", "seed": 0})
    command = [sys.executable, "scripts/reference.py", "--spec", spec, "--out", str(out)]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "statistics of 3 features" in result.stdout
    found = read_moments(out)
    assert found is not None and found.preprocessing == "clean"
    made = found.checked(Evaluator(), 3, out)
    assert made["reference_mean"].tolist() == [0, 0, 0] and (made["reference_covariance"] == np.eye(3)).all()


def test_sources_hold_the_moments_in_place_of_features_of_images(tmp_path: Path) -> None:
    cases, reference = tiny_cases(tmp_path, 4), tmp_path / "reference.npz"
    copy_moments(published(tmp_path, mu=np.arange(6.0), sigma=2 * np.eye(6)), "clean", reference)
    prepare_sources(cases, reference, {"features": Evaluator()}, tmp_path / "sources.npz")
    found = read_sources(tmp_path / "sources.npz").arrays
    assert "reference" not in found
    assert found["reference_mean"].tolist() == list(range(6))
    assert (found["reference_covariance"] == 2 * np.eye(6)).all()
    copy_moments(tmp_path / "ffhq.npz", "legacy_tensorflow", reference)
    with pytest.raises(UserError, match="resized by 'legacy_tensorflow', expected 'clean'"):
        prepare_sources(cases, reference, {"features": Evaluator()}, tmp_path / "again.npz")


def test_another_preprocessing_or_number_of_features_is_refused(tmp_path: Path) -> None:
    file, out = published(tmp_path, mu=np.zeros(3), sigma=np.eye(3)), tmp_path / "reference.npz"
    copy_moments(file, "legacy_tensorflow", out)
    found = read_moments(out)
    assert found is not None
    with pytest.raises(UserError, match=r"resized by 'legacy_tensorflow', expected 'clean' as the evaluator"):
        found.checked(Evaluator(), 3, out)
    copy_moments(file, "clean", out)
    found = read_moments(out)
    assert found is not None
    with pytest.raises(UserError, match="holds 3 features, expected 2048"):
        found.checked(Evaluator(), 2048, out)
    with pytest.raises(UserError, match="resized by 'clean', expected 'micro'"):
        found.checked(object(), 3, out)  # the small network of the micro study names none


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"mean": np.zeros(3)}, "holds mean, expected the arrays mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(2)}, r"mu is \[3\] and sigma \[2, 2\], expected \[D\] and \[D, D\]"),
        ({"mu": np.full(2, np.nan), "sigma": np.eye(2)}, "not finite"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 2.0], [0.0, 1.0]])}, "sigma is no covariance"),
        ({"mu": np.zeros(2), "sigma": np.diag([1.0, -1.0])}, "sigma is no covariance"),
    ],
)
def test_files_that_hold_no_statistics(tmp_path: Path, arrays: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        copy_moments(published(tmp_path, **arrays), "clean", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_a_file_that_is_missing_or_cut_off(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, expected published statistics"):
        copy_moments(tmp_path / "none.npz", "clean", tmp_path / "out.npz")
    file = published(tmp_path, mu=np.zeros(300), sigma=np.eye(300))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"not a readable \.npz file"):
        copy_moments(file, "clean", tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("{ statistics: a.npz }", "key 'reference.preprocessing': missing"),
        ("{ statistics: a.npz, preprocessing: clean, images: 10 }", "images beside `statistics`"),
        ("{ population: outdoor }", "key 'reference.images': missing"),
        ("{ population: outdoor, images: 10, preprocessing: clean }", "is for `statistics`"),
    ],
)
def test_what_a_config_may_say(tmp_path: Path, reference: str, problem: str) -> None:
    lines = Path("config/micro.yaml").read_text().splitlines()
    changed = [f"reference: {reference}" if line.startswith("reference:") else line for line in lines]
    (tmp_path / "study.yaml").write_text("\n".join(changed))
    with pytest.raises(UserError, match=problem):
        load_study([tmp_path / "study.yaml"])
