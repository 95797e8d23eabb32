"""The validation tells metrics that work from metrics that do not, and holds where the truth alone decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

from editfrontier.base.parquet import read_parquet
from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import HAIR_COLOURS, load_language
from editfrontier.microworld import validation
from editfrontier.microworld.edits import Edit, portrait_edits, scene_edits
from editfrontier.microworld.portraits import ATTRIBUTES
from editfrontier.microworld.validation_report import Report, clustered, portraits, spearman
from editfrontier.statistics.detection import auroc
from fake_evaluators import fake_evaluators

N = 8


class Oracle:
    """Knows the attributes of the images that it was shown."""

    names = ATTRIBUTES

    def __init__(self, before: Tensor, after: Tensor, names: list[str]) -> None:
        self.known: dict[bytes, Tensor] = {}
        for images, value in ((before, 0.1), (after, 0.9)):
            for image, name in zip(images, names, strict=True):
                row = torch.full((len(ATTRIBUTES),), 0.5)
                row[ATTRIBUTES.index(name)] = value
                self.known[image.numpy().tobytes()] = row

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.stack([self.known[image.numpy().tobytes()] for image in images])


class Blind:
    names = ATTRIBUTES

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.full((len(images), len(ATTRIBUTES)), 0.9)


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor, list[str]]:
    return validation._attribute_pairs(4, 0)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("validation")
    networks = fake_evaluators() | {"attributes": Blind()}
    validation.validate(networks, folder / "validation.csv", folder / "points.parquet", n=N)
    return pd.read_csv(folder / "validation.csv"), read_parquet(folder / "points.parquet", "")[0]


def _value(frame: pd.DataFrame, metric: str, statistic: str) -> pd.Series:
    found = frame[(frame["metric"] == metric) & frame["statistic"].str.startswith(statistic)]
    assert len(found) == 1, (metric, statistic)
    return found.iloc[0]


def test_a_perfect_classifier_holds_and_a_blind_one_does_not(pairs: tuple[Tensor, Tensor, list[str]]) -> None:
    for judge, accuracy, holds in ((Oracle(*pairs), 1.0, True), (Blind(), 0.5, False)):
        report = Report()
        validation._check_success(report, judge, *pairs, 4)
        frame = pd.DataFrame(report.rows, columns=list(validation.COLUMNS))
        assert len(frame) == len(ATTRIBUTES) + 1
        assert set(frame["value"]) == {accuracy}
        assert set(frame["holds"]) == {holds}


def test_pairs_differ_and_only_in_their_attribute(pairs: tuple[Tensor, Tensor, list[str]]) -> None:
    before, after, names = pairs
    assert len(names) == 4 * len(ATTRIBUTES)
    assert (before != after).flatten(1).any(dim=1).all()
    for name in ("glasses", "sunglasses", *HAIR_COLOURS):
        start = validation._cleared(portraits(6, 1, "test"), name)
        end = validation.set_attribute(start, name, True)
        changed = (start.attributes != end.attributes).sum(dim=1)
        assert set(changed.tolist()) == {2 if name in HAIR_COLOURS else 1}


def test_background_of_the_true_edit_is_exact(outcome: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    frame, _ = outcome
    exact = frame[(frame["check"] == "background") & frame["statistic"].str.startswith("worst")]
    assert exact.set_index("metric")["value"].to_dict() == pytest.approx(
        {"lpips_bg_masked": 0, "psnr_bg": 60, "ssim_bg": 1}
    )
    assert exact["holds"].all()


def test_a_blind_classifier_is_reported_and_stops_nothing(outcome: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    frame, points = outcome
    assert list(frame.columns) == list(validation.COLUMNS)
    assert not _value(frame, "success", "balanced accuracy, mean")["holds"]
    assert set(frame["check"]) == {
        "identity",
        "success",
        "background",
        "direction",
        "corruption",
        "artifact",
        "captions",
    }
    assert not frame[["value", "expectation", "holds", "n"]].isna().any().any()
    bounded = frame.dropna(subset=["ci_low"])
    assert (bounded["ci_low"] <= bounded["ci_high"]).all()
    assert set(points["check"]) == {"identity", "success", "background", "direction", "corruption", "captions"}
    assert len(points[points["check"] == "identity"]) == 2 * N * 6
    assert np.isfinite(points[["x", "y"]].to_numpy()).all()


def test_an_embedding_of_pixels_falls_with_identity_distance(outcome: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    frame, points = outcome
    assert _value(frame, "id_sim", "Spearman with identity distance, same picture")["value"] < -0.5
    same = points[(points["check"] == "identity") & (points["group"] == "same picture") & (points["x"] == 0)]
    np.testing.assert_allclose(same["y"], 1, atol=1e-5)


def test_clip_that_cannot_read_does_not_prefer_the_true_caption(outcome: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    row = _value(outcome[0], "clip_cos", "share of images closer")
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert not row["holds"]


class CaptionReader:
    """Finds the caption of each image that it was shown probable, or the same for all if it is blind."""

    def __init__(self, edits: list[Edit], blind: bool) -> None:
        self.blind = blind
        self.known = {edit.before.tobytes(): edit.source_caption for edit in edits}
        self.known |= {edit.after.tobytes(): edit.target_caption for edit in edits}

    def probability(self, images: Tensor, *captions: list[str]) -> Tensor:
        if self.blind:
            return torch.tensor([[0.2, 0.9]]).repeat(len(images), 1)  # always for the target
        own = [self.known[image.permute(1, 2, 0).contiguous().numpy().tobytes()] for image in images]
        return torch.tensor([[float(text == mine) for text in row] for mine, *row in zip(own, *captions, strict=True)])


@pytest.mark.parametrize(("blind", "accuracy"), [(False, 1.0), (True, 0.5)])
def test_a_model_that_reads_images_holds_and_a_blind_one_does_not(blind: bool, accuracy: float) -> None:
    where, language = stable_seed("validation", "questions", 0), load_language()
    edits = scene_edits(N, where, language) + portrait_edits(N, where, language)
    report = Report()
    validation.check_questions(report, {"vqa": CaptionReader(edits, blind)}, N, 0)
    frame = pd.DataFrame(report.rows, columns=list(validation.COLUMNS))
    assert list(frame["metric"]) == ["vqa_choice", "vqa_score"] * 2
    assert set(frame["value"]) == {accuracy}
    assert set(frame["holds"]) == {not blind}
    assert len(report.points) == 2 * 2 * 2 * N


def test_only_given_evaluators_are_validated(tmp_path: Path) -> None:
    networks = {"lpips": fake_evaluators()["lpips"]}
    validation.validate(networks, tmp_path / "v.csv", tmp_path / "p.parquet", n=N)
    assert set(pd.read_csv(tmp_path / "v.csv")["metric"]) == {
        "lpips_bg_masked", "lpips_bg_spatial", "psnr_bg", "ssim_bg", "lpips_true",
    }  # fmt: skip


def test_rank_statistics_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, size=(30, 2)).astype(float)
    y = x + rng.standard_normal((30, 2))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x.ravel(), y.ravel()).statistic)
    assert spearman(x, np.ones_like(x)) == 0
    u = stats.mannwhitneyu(x[:, 0], x[:, 1]).statistic
    assert auroc(x[:, 0], x[:, 1]) == pytest.approx(u / 900)
    value, (low, high) = clustered(spearman, x, y)
    assert low < value < high
