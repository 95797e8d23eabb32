"""Training of the segmentation of scene objects, on renders whose classes are known at every pixel."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld import drags
from editfrontier.microworld.scenes import MAX_OBJECTS, Scene, render_scenes, sample_scenes, transform_object
from editfrontier.microworld.shapes import CLASSES
from editfrontier.microworld.zoo import corruptions
from editfrontier.microworld.zoo.evaluators import record, save_model, settings_of
from editfrontier.microworld.zoo.evaluators_data import augment, held_out_seed, to_bytes, to_float, to_input
from editfrontier.microworld.zoo.loop import train
from editfrontier.scoring.evaluators.segmentation import SegmentationEvaluator, build_segmentation

log = logging.getLogger(__name__)

HELD_OUT_SCENES = 600
DRAGGED_SHARE = 0.6
"""Share of the scenes in which every object is dragged, whether it then fits or not."""


def dragged(scene: Scene, rng: random.Random) -> Scene:
    """Apply a random drag of a random kind and size to each object of a scene."""
    for index, thing in enumerate(scene.objects):
        affine, _ = drags.sample_affine(thing, rng.choice(drags.KINDS), rng.choice(drags.GRADES), rng)
        scene = transform_object(scene, index, affine)
    return scene


def labelled_scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Render scenes with the class of every pixel.

    Args:
        count: number of scenes.
        seed: seed of the scenes and of the drags.

    Returns:
        Images uint8 [N, 3, 64, 64]; labels uint8 [N, 64, 64], 0 = background, 1 + k = the k-th of CLASSES.
    """
    scenes = sample_scenes(count, stable_seed("segmentation", seed))
    rng = random.Random(stable_seed("segmentation drags", seed))
    scenes = [dragged(scene, rng) if rng.random() < DRAGGED_SHARE else scene for scene in scenes]
    log.info("rendering %d scenes", count)
    images, masks = render_scenes(scenes)
    names = list(CLASSES)
    codes = torch.zeros(count, MAX_OBJECTS, 1, 1, dtype=torch.uint8)
    for row, scene in enumerate(scenes):
        for slot, thing in enumerate(scene.objects):
            codes[row, slot] = 1 + names.index(thing.shape)
    return images, (masks * codes).sum(1, dtype=torch.uint8)


def mean_iou(labels: Tensor, truth: Tensor, classes: int) -> float:
    """Return the mean over classes, the background included, of the intersection over union over all pixels."""
    ious = [((labels == k) & (truth == k)).sum() / ((labels == k) | (truth == k)).sum() for k in range(classes)]
    return float(torch.stack(ious).mean())


def segmentation_scores(judge: SegmentationEvaluator, images: Tensor, truth: Tensor, seed: int) -> dict[str, float]:
    """Return mean IoUs on renders, on renders after a mild round trip, and on visibly corrupted renders."""
    generator = Generator().manual_seed(stable_seed("segmentation scores", seed))
    pixels = to_float(images)
    variants = {
        "mean_iou": pixels,
        "mean_iou_resampled": corruptions.mild_resample(pixels, generator),
        "mean_iou_corrupted": augment(pixels, generator, share=1.0),
    }
    classes = 1 + len(judge.classes)
    return {name: mean_iou(judge.labels(to_bytes(values)), truth, classes) for name, values in variants.items()}


def train_segmentation(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train by cross-entropy at every pixel; a share of each batch is corrupted, as edited images are."""
    images, labels = labelled_scenes(config["scenes"], config["seed"])
    held_out, truth = labelled_scenes(HELD_OUT_SCENES, held_out_seed(config["seed"]))
    description = {"architecture": "segmentation", "classes": list(CLASSES), **config["network"]}
    model = build_segmentation(description).to(memory_format=torch.channels_last)

    def batch(step: int, generator: Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(images), (config["batch"],), generator=generator)
        flipped = torch.rand(len(rows), generator=generator) < 0.5  # no class depends on its handedness
        pixels, target = to_float(images[rows]), labels[rows].long()
        pixels = torch.where(flipped[:, None, None, None], pixels.flip(3), pixels)
        target = torch.where(flipped[:, None, None], target.flip(2), target)
        return to_input(augment(pixels, generator, share=config["corrupted_share"])), target

    def loss(network: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(network(data[0]).float(), data[1])

    result = train("segmentation", model, batch, loss, settings_of(config), work)
    save_model(result.model_state, description, out)
    scores = segmentation_scores(SegmentationEvaluator.load(out), held_out, truth, config["seed"])
    record("segmentation", out, config, result, scores)
