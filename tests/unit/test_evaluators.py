"""Evaluators with tiny random networks: loading, batching, input checks, and what each class promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.microworld.zoo.evaluators import save_model
from editfrontier.scoring.evaluators.attributes import AttributeEvaluator, build_attributes
from editfrontier.scoring.evaluators.clip import CONFIG, ClipEvaluator
from editfrontier.scoring.evaluators.features import FeatureEvaluator, build_features
from editfrontier.scoring.evaluators.identity import IdentityEvaluator, build_identity
from editfrontier.scoring.evaluators.lpips import LpipsEvaluator, build_lpips, nonnegative_heads
from editfrontier.scoring.evaluators.quality import QualityEvaluator, build_quality
from editfrontier.scoring.networks import common
from editfrontier.scoring.networks.blocks import ResidualNet

TINY: dict[str, Any] = {"widths": [4, 8, 8], "blocks": [1, 1, 1], "pooling": "average_max"}


def random_images(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 64, 64), generator=generator, dtype=torch.uint8)


def save_attributes(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    description = {"architecture": "attributes", "names": ["smile", "hat"], **TINY}
    network = build_attributes(description).eval()
    save_model(network.state_dict(), description, folder)
    return network


def test_saved_evaluator_gives_the_same_numbers_after_loading(tmp_path: Path) -> None:
    network = save_attributes(tmp_path)
    images = random_images(3)
    before = AttributeEvaluator(network, ("smile", "hat")).probabilities(images)
    loaded = AttributeEvaluator.load(tmp_path)
    assert loaded.names == ("smile", "hat")
    assert torch.allclose(loaded.probabilities(images), before, atol=2e-3)  # fp16 on disk
    assert (tmp_path / "model.safetensors").stat().st_size < 2.5 * sum(p.numel() for p in network.parameters()) + 8192


def test_bf16_is_near_fp32_and_unknown_precision_is_refused(tmp_path: Path) -> None:
    save_attributes(tmp_path)
    images = random_images(2)
    exact = AttributeEvaluator.load(tmp_path).probabilities(images)
    assert torch.allclose(AttributeEvaluator.load(tmp_path, precision="bf16").probabilities(images), exact, atol=0.03)
    with pytest.raises(UserError, match="precision: 'fp8'"):
        AttributeEvaluator.load(tmp_path, precision="fp8")


def test_missing_config_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json.*snakemake zoo"):
        AttributeEvaluator.load(tmp_path)


def test_missing_weights_name_the_file(tmp_path: Path) -> None:
    save_attributes(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors"):
        AttributeEvaluator.load(tmp_path)


def test_truncated_weights_name_the_file(tmp_path: Path) -> None:
    save_attributes(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        AttributeEvaluator.load(tmp_path)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_attributes(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "widths": [4, 8, 12]}))
    with pytest.raises(UserError, match="does not fit"):
        AttributeEvaluator.load(tmp_path)


def test_folder_of_another_evaluator_is_refused(tmp_path: Path) -> None:
    save_attributes(tmp_path)
    with pytest.raises(UserError, match="architecture is 'attributes', expected 'identity'"):
        IdentityEvaluator.load(tmp_path)


def test_only_uint8_images_are_taken(tmp_path: Path) -> None:
    save_attributes(tmp_path)
    judge = AttributeEvaluator.load(tmp_path)
    for wrong in (random_images(1).float(), random_images(1)[0], random_images(1)[:, :1]):
        with pytest.raises(ValueError, match="uint8 images"):
            judge.probabilities(wrong)


def test_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_attributes(tmp_path)
    judge, images = AttributeEvaluator.load(tmp_path), random_images(5)
    whole = judge.probabilities(images)
    seen: list[int] = []
    judge.network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(common, "BATCH", 2)
    assert torch.allclose(judge.probabilities(images), whole, atol=1e-5)
    assert seen == [2, 2, 1]


def test_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling 'sum'"):
        ResidualNet(2, [4, 4, 4], [1, 1, 1], "sum")


def test_identity_embeddings_are_unit_vectors() -> None:
    torch.manual_seed(0)
    network = build_identity({"embedding": 16, **TINY, "pooling": "flatten"}).eval()
    found = IdentityEvaluator(network).embed(random_images(3))
    assert found.shape == (3, 16)
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)


def test_features_are_not_negative() -> None:
    torch.manual_seed(0)
    found = FeatureEvaluator(build_features({"width": 4, "features": 12}).eval()).features(random_images(2))
    assert found.shape == (2, 12)
    assert float(found.min()) >= 0
    assert float(found.max()) > 0


def test_quality_and_artifact_stay_in_range() -> None:
    torch.manual_seed(0)
    judge = QualityEvaluator(build_quality(TINY).eval())
    images = random_images(3)
    quality, artifact = judge.scores(images)
    assert torch.equal(judge.quality(images), quality)
    assert torch.equal(judge.artifact(images), artifact)
    assert bool(((quality >= 0) & (quality <= 100)).all())
    assert bool(((artifact >= 0) & (artifact <= 1)).all())


@pytest.fixture(scope="module")
def lpips_judge() -> LpipsEvaluator:
    torch.manual_seed(0)
    network = build_lpips({"net": "squeeze"})
    nonnegative_heads(network)
    return LpipsEvaluator(network.eval(), 128)


def test_lpips_is_zero_for_equal_images_and_symmetric(lpips_judge: LpipsEvaluator) -> None:
    a, b = random_images(2), random_images(2, seed=1)
    assert float(lpips_judge.distance_map(a, a).abs().max()) == 0
    forth, back = lpips_judge.distance(a, b), lpips_judge.distance(b, a)
    assert float(forth.min()) > 0
    assert torch.allclose(forth, back, atol=1e-6)


def test_lpips_map_is_local_and_its_mean_is_the_distance(lpips_judge: LpipsEvaluator) -> None:
    a = random_images(1)
    b = a.clone()
    b[:, :, :16, :16] = 255 - b[:, :, :16, :16]
    found = lpips_judge.distance_map(a, b)
    assert found.shape == (1, 64, 64)
    assert float(found.min()) >= 0
    assert float(found[:, :16, :16].mean()) > 3 * float(found[:, 40:, 40:].mean())
    assert torch.allclose(found.mean((1, 2)), lpips_judge.distance(a, b))


def test_lpips_refuses_batches_of_different_shape(lpips_judge: LpipsEvaluator) -> None:
    with pytest.raises(ValueError, match="one shape"):
        lpips_judge.distance(random_images(2), random_images(1))


def test_lpips_survives_saving(lpips_judge: LpipsEvaluator, tmp_path: Path) -> None:
    description = {"architecture": "lpips", "net": "squeeze", "input_size": 128}
    save_model(lpips_judge.network.state_dict(), description, tmp_path)
    a, b = random_images(1), random_images(1, seed=1)
    assert torch.allclose(LpipsEvaluator.load(tmp_path).distance(a, b), lpips_judge.distance(a, b), rtol=1e-2)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from open_clip.model import CLIP

    from editfrontier.microworld.zoo.tokenizer import build_tokenizer, save_tokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer(["a", "portrait", "of", "person", "with", "hat", "smile"], 8)
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 4, "head_width": 32}
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    model = CLIP(16, vision, text)
    model_config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": {**text, "hf_tokenizer_name": "micro"}}
    save_model(model.state_dict(), {"architecture": "clip"}, folder, "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess}))
    save_tokenizer(tokenizer, folder)
    return folder


def test_clip_loads_from_a_local_folder(clip_folder: Path) -> None:
    judge = ClipEvaluator.load(clip_folder)
    image, text = judge.image(random_images(2)), judge.text(["a portrait of a person", "a hat"])
    assert image.shape == text.shape == (2, 16)
    for vectors in (image, text):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(text[0], text[1], atol=1e-3)


def test_clip_resizes_images_of_another_size(clip_folder: Path) -> None:
    judge = ClipEvaluator.load(clip_folder)
    small = random_images(1)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float((judge.image(small) * judge.image(large)).sum()) > 0.95


def test_clip_refuses_a_caption_beyond_the_token_limit(clip_folder: Path) -> None:
    judge = ClipEvaluator.load(clip_folder)
    assert judge.text(["a portrait of a person with"]).shape == (1, 16)  # 8 tokens: just fits
    with pytest.raises(UserError, match="9 tokens, expected at most 8"):
        judge.text(["a hat", "a portrait of a person with hat"])


def test_clip_folder_without_weights_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text((clip_folder / CONFIG).read_text())
    with pytest.raises(UserError, match="cannot be loaded as a CLIP"):
        ClipEvaluator.load(tmp_path)
