"""Training side of the evaluators: corruptions, data, objectives and held-out scores."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from editfrontier.microworld import portraits as world
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.scenes import sample_scenes
from editfrontier.microworld.zoo import corruptions, evaluators_data
from editfrontier.microworld.zoo.__main__ import EVALUATORS
from editfrontier.microworld.zoo.evaluators_clip import WordTokens, captioned
from editfrontier.microworld.zoo.evaluators_data import held_out_seed, portrait_pool, scene_labels, to_float
from editfrontier.microworld.zoo.evaluators_portrait import ArcFace
from editfrontier.microworld.zoo.evaluators_quality import artifact_target, corrupted_batch
from editfrontier.microworld.zoo.evaluators_scores import balanced_accuracy, best_logit_shift, spearman
from editfrontier.scoring.evaluators.identity import build_identity
from editfrontier.statistics.detection import auroc


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return to_float(render_portraits(world.sample_portraits(8, seed=3)).images)


@pytest.mark.parametrize("name", list(corruptions.CORRUPTIONS))
def test_corruption_grows_with_severity(name: str, pixels: Tensor) -> None:
    corruption = corruptions.CORRUPTIONS[name]
    errors = []
    for severity in (0.0, 0.15, 0.4, 0.7, 1.0):
        found = corruption(pixels, torch.full((len(pixels),), severity), generator())
        assert found.shape == pixels.shape
        errors.append(float((found.clamp(0, 1) - pixels).square().mean()))
    assert errors[0] < 1e-12
    assert errors == sorted(errors)
    assert errors[1] > 0


def test_corrupt_is_deterministic_and_leaves_severity_zero_alone(pixels: Tensor) -> None:
    families = torch.arange(len(pixels))
    severity = torch.linspace(0, 1, len(pixels))
    first, second = (corruptions.corrupt(pixels, families, severity, generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first[0], pixels[0])
    assert not torch.equal(first[-1], pixels[-1])


def test_mild_resample_is_nearly_clean(pixels: Tensor) -> None:
    error = (corruptions.mild_resample(pixels, generator()) - pixels).square().mean()
    assert 20 < float(-10 * torch.log10(error)) < 45  # dB, as a good autoencoder


def test_quality_batches_hold_clean_and_corrupted_images(pixels: Tensor) -> None:
    images = pixels.repeat(5, 1, 1, 1)
    found, severity = corrupted_batch(images, generator())
    untouched = (found == images).flatten(1).all(1)
    assert torch.equal(untouched, severity == 0)
    assert 0.15 <= float(untouched.float().mean()) <= 0.25
    assert float(severity.max()) > 0.5
    assert artifact_target(torch.tensor([0.0, 0.1, 0.2, 0.3, 0.9])).tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_pool_is_kept_and_balanced(tmp_path: Path) -> None:
    first = portrait_pool(3, 4, 7, tmp_path)
    assert len(first) == 12
    assert torch.bincount(first.person).tolist() == [4, 4, 4]
    assert torch.bincount(first.population).tolist() == [6, 6]
    for person in range(3):
        assert len(first.identity[first.person == person].unique(dim=0)) == 1
    assert len(list(tmp_path.iterdir())) == 1
    again = portrait_pool(3, 4, 7, tmp_path)
    assert torch.equal(first.images, again.images)
    other = portrait_pool(3, 4, held_out_seed(7), tmp_path)
    assert not torch.equal(first.identity, other.identity)


def test_scene_labels_name_what_is_there() -> None:
    scenes = sample_scenes(4, 1)
    labels = scene_labels(scenes)
    for row, scene in zip(labels, scenes, strict=True):
        named = {evaluators_data.SCENE_LABELS[index] for index in row.nonzero()[:, 0].tolist()}
        expected = {o.shape for o in scene.objects} | {o.colour for o in scene.objects} | {scene.background}
        assert named == expected


def test_augmentation_touches_only_a_share(pixels: Tensor) -> None:
    found = evaluators_data.augment(pixels, generator(), share=0.5)
    assert int((found == pixels).flatten(1).all(1).sum()) == 4


def test_margin_makes_the_task_harder() -> None:
    torch.manual_seed(0)
    description = {"embedding": 8, "widths": [4, 4, 4], "blocks": [1, 1, 1], "pooling": "flatten"}
    head = ArcFace(build_identity(description), 8, 5, 16.0).eval()
    images, person = torch.randn(6, 3, 64, 64), torch.arange(6) % 5
    losses = [head(images, person, margin)[0].item() for margin in (0.0, 0.2, 0.4)]
    assert losses[0] < losses[1] < losses[2]


def test_roc_auc_counts_ties_half() -> None:
    scores, positive = torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([False, False, True, True])
    assert auroc(scores[positive], scores[~positive]) == pytest.approx(3.5 / 4)
    assert spearman(torch.tensor([1.0, 2, 3]), torch.tensor([10.0, 30, 20])) == pytest.approx(0.5)


def test_logit_shift_restores_a_moved_threshold() -> None:
    truth = torch.arange(200) % 4 == 0
    logits = torch.where(truth, 5.0, 3.0)[:, None] + 0.5 * torch.rand(200, 1, generator=generator())
    before = balanced_accuracy(torch.sigmoid(logits), truth[:, None])
    after = balanced_accuracy(torch.sigmoid(logits + best_logit_shift(logits, truth[:, None])), truth[:, None])
    assert float(before) == pytest.approx(0.5)
    assert float(after) == pytest.approx(1.0)


def test_remembered_words_equal_the_tokenizer() -> None:
    from editfrontier.data.language import DEFAULT_PATH
    from editfrontier.microworld.zoo.tokenizer import build_tokenizer, language_words

    tokenizer = build_tokenizer(language_words(DEFAULT_PATH), 40)
    images = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    data = captioned(images, world.sample_portraits(4, seed=1).attributes, images, sample_scenes(4, 2))
    texts = data.captions(list(range(8)), random.Random(0))
    expected = tokenizer(texts, padding="max_length", max_length=40, return_tensors="pt").input_ids
    assert torch.equal(WordTokens(tokenizer, 40)(texts), expected)
    assert data.words.any()


def test_every_evaluator_has_a_trainer_and_an_entry_in_the_config() -> None:
    import yaml

    path = Path(__file__).parents[2] / "config" / "zoo_evaluators.yaml"
    assert set(yaml.safe_load(path.read_text())) == set(EVALUATORS)
