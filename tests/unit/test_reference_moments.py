"""FID to published statistics of a reference, without its images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from editfrontier.cli import app
from editfrontier.config import load_study
from editfrontier.errors import UserError
from editfrontier.metrics.distribution import FidReference
from editfrontier.metrics.moments import copy_moments, read_moments
from editfrontier.scoring.sources import prepare_sources, read_sources
from editfrontier.statistics.set_bootstrap import SetBootstrap
from editfrontier.statistics.task import summary
from editfrontier.statistics.taskscores import Settings, TaskScores
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


def test_a_task_has_fid_but_no_kid_and_no_row_of_the_reference() -> None:
    data = scores(exact(np.zeros(2), np.array([1.0, 3.0])))
    sets = SetBootstrap(data, SETTINGS)
    assert sets.names == ("fid",)
    assert sets.estimate("reference") is None
    frame = summary(data, SETTINGS, sets)
    assert list(frame["metric"]) == ["fid"] and list(frame["variant"]) == ["a"]
    assert frame["value"][0] == pytest.approx(30.0)
    assert 0 <= frame["ci_low"][0] < frame["ci_high"][0]


def test_the_command_copies_and_the_sources_take_them(tmp_path: Path) -> None:
    file = published(tmp_path, mu=np.zeros(3), sigma=np.eye(3))
    out = tmp_path / "reference.npz"
    spec = json.dumps({"statistics": str(file), "preprocessing": "clean", "seed": 0})
    result = CliRunner().invoke(app, ["reference", "--spec", spec, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "statistics of 3 features" in result.output
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
