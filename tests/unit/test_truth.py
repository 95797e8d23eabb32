"""The metrics of MagicBrush: distance and similarity to the true edit, by pixels, CLIP and DINO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.data.cases import Case, read_cases, read_image, write_cases
from editfrontier.editing.records import CaseRecord, write_record
from editfrontier.microworld.dataset import build_task
from editfrontier.scoring.batch import INPUTS
from editfrontier.scoring.evaluator import load_evaluator
from editfrontier.scoring.evaluators.clip import ClipEvaluator
from editfrontier.scoring.evaluators.dino import DinoEvaluator
from editfrontier.scoring.evaluators.features import FeatureEvaluator
from editfrontier.scoring.metrics import METRICS, alignment, truth
from editfrontier.scoring.score import score_variant
from editfrontier.scoring.source_features import read_sources
from editfrontier.scoring.sources import prepare_sources
from editfrontier.study.config.study import evaluators_of, load_study
from paper_fixture import images, write_dino

ROOT = Path(__file__).resolve().parents[2]
MICRO = ROOT / "resources" / "micro"
NEW = ("l1_true", "mse_true", "clip_image_true", "dino_true")


def test_pixel_distances_by_hand() -> None:
    black, other = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other[0, :, :2] = 51  # half of the pixels differ by 0.2
    assert truth.l1_distance(black, other).tolist() == pytest.approx([0.1, 0])
    assert truth.squared_distance(other, black).tolist() == pytest.approx([0.02, 0])
    a, b = images(3, 8, 1), images(3, 8, 2)
    torch.testing.assert_close(truth.l2_distance(a, b).square(), truth.squared_distance(a, b))
    expected = (a.double() - b.double()).abs().mean((1, 2, 3)) / 255
    torch.testing.assert_close(truth.l1_distance(a, b), expected)


def test_cosine_is_of_vectors_of_any_length() -> None:
    a, b = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 9.0], [1.0, 0.0]])
    found = alignment.cosine(a, b)
    assert found[:2].tolist() == pytest.approx([1, 0.5**0.5]) and found[2].isnan()


def test_new_metrics_say_what_they_are() -> None:
    for name in NEW:
        assert METRICS[name].group == "truth" and "MagicBrush" in METRICS[name].source
    assert [METRICS[name].direction for name in NEW] == ["lower", "lower", "higher", "higher"]
    assert METRICS["clip_image_true"].range == METRICS["dino_true"].range == (-1.0, 1.0)


# DINO -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dino(tmp_path_factory.mktemp("hub") / "dino")


def as_published(judge: DinoEvaluator, batch: Tensor) -> Tensor:
    """The class token after the preprocessing of MagicBrush's evaluation, by torchvision on Pillow's images."""
    from torchvision import transforms

    prepare = transforms.Compose(
        [
            transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC),  # 256 for 224
            transforms.CenterCrop(28),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in batch]
    with torch.no_grad():
        tokens = judge.network(pixel_values=torch.stack([prepare(picture) for picture in pictures])).last_hidden_state
    found: Tensor = tokens[:, 0]
    return found


def test_dino_sees_the_middle_of_an_image_as_magicbrush_does(dino: Path) -> None:
    judge: DinoEvaluator = load_evaluator("dino", dino)
    batch = images(3, 32)  # no resizing: exact
    torch.testing.assert_close(judge.features(batch), as_published(judge, batch), atol=1e-6, rtol=1e-5)
    smooth = torch.nn.functional.interpolate(images(2, 8).float(), (80, 64), mode="bilinear").to(torch.uint8)
    # Pillow rounds to whole grey levels after resizing.
    torch.testing.assert_close(judge.features(smooth), as_published(judge, smooth), atol=0.02, rtol=0.02)
    rim = batch.clone()
    rim[:, :, :2] = 0
    torch.testing.assert_close(judge.features(rim), judge.features(batch))
    assert judge.features(images(1, 32, 9)).shape == (1, 16)


def test_both_files_of_weights_are_read(dino: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((dino / name).read_bytes())
    state = torch.load(dino / "pytorch_model.bin", weights_only=True)
    assert any(name.startswith("encoder.layer.0.attention.attention.query") for name in state)  # the hub's names
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    batch = images(2, 32)
    pair = [load_evaluator("dino", folder).features(batch) for folder in (dino, tmp_path)]
    torch.testing.assert_close(*pair)
    assert pair[0].std() > 0.1


def broken(name: str, folder: Path) -> None:
    match name:
        case "kind":
            (folder / "config.json").write_text(json.dumps({"model_type": "blip"}))
        case "key":
            state = torch.load(folder / "pytorch_model.bin", weights_only=True)
            state.pop("layernorm.weight")
            torch.save(state, folder / "pytorch_model.bin")
        case "pickle":
            torch.save(Path, folder / "pytorch_model.bin")  # a class is code, and none is run
        case "preprocessor":
            (folder / "preprocessor_config.json").unlink()


@pytest.mark.parametrize(
    ("name", "part"),
    [("kind", "expected 'vit'"), ("key", "have no 'layernorm.weight'"), ("pickle", ""), ("preprocessor", "No such")],
)
def test_what_is_no_vision_transformer_is_named(tmp_path: Path, name: str, part: str) -> None:
    folder = write_dino(tmp_path / "dino")
    broken(name, folder)
    with pytest.raises(UserError, match=rf"dino: cannot be loaded as a vision transformer \(.*{part}"):
        load_evaluator("dino", folder)


def test_the_micro_scale_takes_the_network_of_fid(dino: Path) -> None:
    assert isinstance(load_evaluator("dino", MICRO / "features"), FeatureEvaluator)
    assert isinstance(load_evaluator("dino", dino), DinoEvaluator)
    with pytest.raises(UserError, match="vision transformer"):
        load_evaluator("dino", MICRO / "quality")


# Scoring --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Turns of sessions, of which the first has no true edit and that of the second cannot be read."""
    folder = tmp_path_factory.mktemp("sessions")
    build_task("sessions", 5, 3, folder, dataset="sessions")
    cases = read_cases(folder / "cases.parquet")
    changed = [Case(**{**vars(case), "true_edit": ""}) if i == 0 else case for i, case in enumerate(cases)]
    write_cases(folder / "cases.parquet", changed)
    (folder / cases[1].true_edit).write_bytes(b"no image")
    return folder


def judges() -> dict[str, Any]:
    return {kind: MICRO / kind for kind in ("clip", "lpips")} | {"dino": MICRO / "features"}


def score(folder: Path, column: str) -> tuple[Any, dict[str, Any]]:
    cases = read_cases(folder / "cases.parquet")
    rows = [CaseRecord(case.case_id, "ok", image=getattr(case, column) or case.image) for case in cases]
    write_record(folder / f"{column}.parquet", rows, {"variant": column})
    cased, sources = folder / "cases.parquet", folder / "sources.npz"
    if not sources.exists():
        prepare_sources(cased, None, judges(), sources)
    out = folder / f"{column}.scores.parquet"
    score_variant(cased, [folder / f"{column}.parquet"], sources, judges(), out, folder / f"{column}.npz")
    return read_parquet(out, "")


def test_edits_are_compared_with_the_true_ones(folder: Path) -> None:
    cases = read_cases(folder / "cases.parquet")
    frame, about = score(folder, "image")
    values = {name: frame[frame["metric"] == name]["value"].to_numpy() for name in NEW}
    pairs = [
        torch.from_numpy(np.stack([read_image(folder / getattr(case, key)) for case in cases[2:]])).permute(0, 3, 1, 2)
        for key in ("image", "true_edit")
    ]
    clip, features = ClipEvaluator.load(MICRO / "clip"), FeatureEvaluator.load(MICRO / "features")
    np.testing.assert_allclose(values["l1_true"], truth.l1_distance(*pairs), rtol=1e-12)
    np.testing.assert_allclose(values["mse_true"], truth.squared_distance(*pairs), rtol=1e-12)
    by_clip = torch.nn.functional.cosine_similarity(*(clip.image(batch) for batch in pairs))
    np.testing.assert_allclose(values["clip_image_true"], by_clip, atol=1e-5)
    by_features = torch.nn.functional.cosine_similarity(*(features.features(batch) for batch in pairs))
    np.testing.assert_allclose(values["dino_true"], by_features, atol=1e-5)
    assert values["l1_true"].min() > 0 and values["clip_image_true"].max() < 1 and values["dino_true"].max() < 1
    for name in (*NEW, "l2_true", "lpips_true"):
        reasons = about["absent"][name]
        assert reasons.pop(INPUTS["true_edit"].none) == [cases[0].case_id], name
        ((reason, ids),) = reasons.items()
        assert ids == [cases[1].case_id] and cases[1].true_edit in reason, name


def test_the_true_edit_is_at_no_distance_to_itself(folder: Path) -> None:
    cases = read_cases(folder / "cases.parquet")
    copied = [Case(**{**vars(case), "true_edit": case.true_edit if i > 1 else ""}) for i, case in enumerate(cases)]
    write_cases(folder / "cases.parquet", copied)
    (folder / "sources.npz").unlink(missing_ok=True)
    frame, _ = score(folder, "true_edit")
    for name, value in zip(NEW, (0, 0, 1, 1), strict=True):
        found = frame[frame["metric"] == name]["value"]
        assert len(found) == 3
        np.testing.assert_allclose(found, value, atol=1e-5, err_msg=name)
    assert read_sources(folder / "sources.npz").arrays["clip_true"].shape[0] == 3


@pytest.mark.parametrize(("name", "tasks"), [("micro", {"sessions"}), ("paper", {"sessions", "turns"})])
def test_the_network_is_loaded_only_where_a_table_asks_for_it(name: str, tasks: set[str]) -> None:
    study = load_study([ROOT / f"config/{name}.yaml"])
    assert {task for task in study.config["tasks"] if "dino" in evaluators_of(study, task)} == tasks
    tables = {"micro": ["sessions"], "paper": ["sessions", "magicbrush"]}[name]
    assert all(set(NEW) <= set(study.tables[table]["metrics"]) for table in tables)
