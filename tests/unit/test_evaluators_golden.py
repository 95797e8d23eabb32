"""The shipped evaluators on fixed renders give the numbers that were committed with them.

Tolerances: 2e-3 absolute on probabilities and cosines, 0.2 on the quality score, 1 % on LPIPS and features; fp32 on
another CPU differs by less than a hundredth of that. Running this file as a script writes the values anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editfrontier.data.language import load_language, portrait_caption
from editfrontier.microworld import portraits as world
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.scenes import render_scenes, sample_scenes
from editfrontier.microworld.zoo import corruptions
from editfrontier.scoring.evaluator import load_evaluator
from editfrontier.scoring.evaluators.attributes import AttributeEvaluator
from editfrontier.scoring.evaluators.clip import ClipEvaluator
from editfrontier.scoring.evaluators.features import FeatureEvaluator
from editfrontier.scoring.evaluators.identity import IdentityEvaluator
from editfrontier.scoring.evaluators.lpips import LpipsEvaluator
from editfrontier.scoring.evaluators.quality import QualityEvaluator
from editfrontier.scoring.evaluators.segmentation import SegmentationEvaluator
from editfrontier.scoring.evaluators.vqa import VqaEvaluator
from editfrontier.scoring.metrics.alignment import cosine

MODELS = Path(__file__).parents[2] / "resources" / "micro"
GOLDEN = Path(__file__).with_name("golden_evaluators.json")
ABSOLUTE = {"attributes": 2e-3, "identity": 2e-3, "clip": 2e-3, "quality": 0.2, "artifact": 2e-3, "segmentation": 2e-3}
ABSOLUTE |= {"vqa": 2e-3, "clip_image": 2e-3, "dino": 2e-3}
RELATIVE = {"lpips": 1e-2, "features": 1e-2}


def portraits() -> world.Portraits:
    """Three portraits of each population; the second of each shows the person of the first."""
    parts = [world.sample_portraits(3, seed=2024, population=population) for population in world.POPULATIONS]
    joined = world.concatenate(parts)
    identity = joined.identity.clone()
    identity[1], identity[4] = identity[0], identity[3]
    return world.Portraits(identity, joined.attributes, joined.nuisance, joined.population)


def blurred(images: Tensor) -> Tensor:
    severity = torch.linspace(0.0, 1.0, len(images))
    found = corruptions.blur(images.float() / 255, severity, torch.Generator().manual_seed(0))
    return (found * 255).round().to(torch.uint8)


def measure(name: str) -> list[float]:
    """What the evaluator `name` says about the fixed images, as one list of numbers."""
    people = portraits()
    images = render_portraits(people).images
    if name == "attributes":
        return AttributeEvaluator.load(MODELS / name).probabilities(images).flatten().tolist()
    if name == "identity":
        unit = IdentityEvaluator.load(MODELS / name).embed(images)
        return (unit @ unit.T).flatten().tolist()
    if name == "clip":
        judge = ClipEvaluator.load(MODELS / name)
        texts = [portrait_caption(load_language(), people.attributes_of(row), None) for row in range(len(people))]
        return (judge.image(images) @ judge.text(texts).T).flatten().tolist()
    if name == "features":
        return FeatureEvaluator.load(MODELS / name).features(images).norm(dim=1).tolist()
    if name in ("clip_image", "dino"):  # similarity of images, as `clip_image_true` and `dino_true` have it
        embed = ClipEvaluator.load(MODELS / "clip").image
        if name == "dino":
            embed = load_evaluator("dino", MODELS / "features").features
        pairs = ((images, blurred(images)), (images, images.roll(1, 0)))
        return [value for pair in pairs for value in cosine(*(embed(batch) for batch in pair)).tolist()]
    if name == "lpips":
        judge = LpipsEvaluator.load(MODELS / name)
        return judge.distance(images, images.roll(1, 0)).tolist() + judge.distance(images, blurred(images)).tolist()
    if name == "vqa":
        texts = [portrait_caption(load_language(), people.attributes_of(row), None) for row in range(len(people))]
        judge = VqaEvaluator.load(MODELS / name)
        return judge.probability(images, texts, texts[1:] + texts[:1]).flatten().tolist()
    if name == "segmentation":
        scenes = render_scenes(sample_scenes(4, seed=2024))[0]
        return SegmentationEvaluator.load(MODELS / name).probabilities(scenes).mean((2, 3)).flatten().tolist()
    quality, artifact = QualityEvaluator.load(MODELS / "quality").scores(blurred(images))
    return (quality if name == "quality" else artifact).tolist()


@pytest.mark.parametrize("name", [*ABSOLUTE, *RELATIVE])
def test_golden_values(name: str) -> None:
    expected = json.loads(GOLDEN.read_text())[name]
    assert measure(name) == pytest.approx(expected, abs=ABSOLUTE.get(name, 1e-4), rel=RELATIVE.get(name, 0))


def test_attributes_of_the_fixed_portraits_are_read_right() -> None:
    truth = portraits().attributes.flatten().float()
    assert torch.equal((torch.tensor(measure("attributes")) > 0.5).float(), truth)


def test_the_same_person_is_nearer_than_any_other() -> None:
    cosine = torch.tensor(measure("identity")).reshape(6, 6)
    same = torch.stack([cosine[0, 1], cosine[3, 4]])
    assert float(same.min()) > max(float(cosine[row, other]) for row in (0, 3) for other in (2, 5))


def test_the_own_caption_is_nearest() -> None:
    assert torch.tensor(measure("clip")).reshape(6, 6).argmax(1).tolist() == list(range(6))


@pytest.mark.parametrize("name", ["clip_image", "dino"])
def test_a_blurred_picture_is_nearer_than_another_one(name: str) -> None:
    similarity = measure(name)
    assert similarity[0] == pytest.approx(1)
    assert similarity[1] > similarity[3] > similarity[5]
    assert similarity[1] > max(similarity[6:])


def test_blur_lowers_quality_and_raises_distance() -> None:
    quality, distance = measure("quality"), measure("lpips")[6:]
    assert quality[0] > quality[2] > quality[5]
    assert distance[0] == 0
    assert distance[5] > distance[2] > distance[0]


if __name__ == "__main__":
    values = {name: [round(value, 5) for value in measure(name)] for name in [*ABSOLUTE, *RELATIVE]}
    GOLDEN.write_text(json.dumps(values) + "\n", encoding="utf-8")
