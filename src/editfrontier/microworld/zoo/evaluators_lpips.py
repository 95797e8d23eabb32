"""Training of LPIPS: a SqueezeNet trunk on the content of images, then non-negative heads on known severities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.zoo import corruptions
from editfrontier.microworld.zoo.evaluators import record, save_model
from editfrontier.microworld.zoo.evaluators_data import to_bytes, to_float, to_input
from editfrontier.microworld.zoo.evaluators_features import WorldReader, load_world, reading_scores, train_world
from editfrontier.microworld.zoo.evaluators_scores import spearman
from editfrontier.microworld.zoo.loop import TrainSettings, train
from editfrontier.scoring.evaluators.lpips import LpipsEvaluator, build_lpips, nonnegative_heads, resize

TEMPERATURE = 0.4
UNRELATED_DISTANCE = 0.6
"""Mean distance between two random portraits after calibration, close to that of two photographs of faces."""
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]


class SqueezeTrunk(nn.Module):
    """The trunk of `lpips.LPIPS`, scaled as LPIPS scales its inputs, averaged over the last map."""

    def __init__(self, network: nn.Module, input_size: int) -> None:
        super().__init__()
        self.net, self.scaling_layer = network.get_submodule("net"), network.get_submodule("scaling_layer")
        self.input_size = input_size

    def forward(self, images: Tensor) -> Tensor:
        maps: tuple[Tensor, ...] = self.net(self.scaling_layer(resize(images, self.input_size)))
        return maps[-1].mean((2, 3))


def corrupted_pairs(images: Tensor, generator: Generator) -> Pairs:
    """Draw two corruptions of each image, float [B, 3, H, W] in [0, 1], of different severity, mostly of two families.

    Equal severities of two families are equally visible (see `corruptions`), so the more severe one should be farther.

    Returns:
        The images and both corruptions in [-1, 1], and 1 where the second is the more severe one, [B].
    """
    count = len(images)
    gap = 0.1 + 0.5 * torch.rand(count, generator=generator)
    low = torch.rand(count, generator=generator) * (1 - gap)
    swap = torch.rand(count, generator=generator) < 0.5
    first, second = torch.where(swap, low + gap, low), torch.where(swap, low, low + gap)
    corrupted = []
    for severity in (first, second):
        families = torch.randint(len(corruptions.CORRUPTIONS), (count,), generator=generator)
        corrupted.append(to_input(corruptions.corrupt(images, families, severity, generator)))
    return to_input(images), corrupted[0], corrupted[1], (second > first).float()


class PairRanker(nn.Module):
    """Log-ratio of the LPIPS distances of two corruptions to their image; only the linear heads are trained."""

    def __init__(self, network: nn.Module, input_size: int) -> None:
        super().__init__()
        self.network, self.input_size = network, input_size

    def forward(self, image: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return [B] for three batches in [-1, 1], positive where the second is farther."""
        image, first, second = (resize(x, self.input_size) for x in (image, first, second))
        near = self.network(image, first).float().mean((1, 2, 3))
        far = self.network(image, second).float().mean((1, 2, 3))
        return torch.log((far + 1e-6) / (near + 1e-6))


def heads(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the linear heads."""
    return [parameter for name, parameter in network.named_parameters() if name.startswith("lin")]


def ranking_loss(network: nn.Module, pairs: Pairs) -> Tensor:
    """Return the logistic loss of the log-ratio of distances: a forced choice of two alternatives."""
    image, first, second, farther = pairs
    return functional.binary_cross_entropy_with_logits(network(image, first, second) / TEMPERATURE, farther)


def calibrate(network: nn.Module, input_size: int, images: Tensor) -> None:
    """Scale the heads in place so that two random images are UNRELATED_DISTANCE apart: distances stay comparable."""
    half = len(images) // 2
    distance = LpipsEvaluator(network, input_size).distance(images[:half], images[half : 2 * half]).mean()
    with torch.no_grad():
        for parameter in heads(network):
            parameter.mul_(UNRELATED_DISTANCE / float(distance))


def lpips_scores(judge: LpipsEvaluator, images: Tensor, seed: int) -> dict[str, float]:
    """Return the held-out forced choice, also of the squared error, and rank correlations with severity by family."""
    generator = Generator().manual_seed(stable_seed("lpips scores", seed))
    image, one, two, farther = corrupted_pairs(to_float(images), generator)
    image8, one8, two8 = (((x + 1) * 127.5).round().to(torch.uint8) for x in (image, one, two))
    chosen = judge.distance(image8, two8) > judge.distance(image8, one8)
    error = (image - two).square().mean((1, 2, 3)) > (image - one).square().mean((1, 2, 3))
    severity = torch.rand(len(images), generator=generator)
    correlations = {}
    for name, corruption in corruptions.CORRUPTIONS.items():
        corrupted = to_bytes(corruption(to_float(images), severity, generator))
        correlations[f"spearman_{name}"] = spearman(judge.distance(images, corrupted), severity)
    return {
        "two_alternatives": float((chosen == farther.bool()).float().mean()),
        "two_alternatives_of_squared_error": float((error == farther.bool()).float().mean()),
        "spearman_severity": sum(correlations.values()) / len(correlations),
        "identical": float(judge.distance(images, images).max()),
        **correlations,
    }


def train_lpips(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train the trunk on the content of images, then the heads on which of two corruptions is more severe."""
    data, held_out, scenes, labels = load_world(config, work)
    description = {"architecture": "lpips", "net": "squeeze", "input_size": config["input_size"]}
    network = build_lpips(description, trainable=True)
    reader = WorldReader(SqueezeTrunk(network, config["input_size"]), 512).to(memory_format=torch.channels_last)
    result = train_world("lpips", config, reader, data, work)
    known = reading_scores(reader, held_out, scenes, labels)
    network.net.requires_grad_(False)
    with torch.no_grad():
        for parameter in heads(network):
            parameter.fill_(1.0)  # every channel and layer counts equally at the start
    ranker = PairRanker(network, config["input_size"])

    def pairs(step: int, generator: Generator) -> Pairs:
        sample = data.batch(config["head_batch"], config["scene_share"], generator)
        return corrupted_pairs((sample.images + 1) / 2, generator)

    head_settings = TrainSettings(seed=config["seed"], **config["head_settings"])
    nonnegative = (1, lambda step, model: nonnegative_heads(model.network))
    ranked = train("lpips-heads", ranker, pairs, ranking_loss, head_settings, work / "heads", [nonnegative])
    nonnegative_heads(network)
    network.eval()
    order = torch.randperm(len(held_out), generator=Generator().manual_seed(0))
    calibrate(network, config["input_size"], held_out.images[order][:512])
    save_model(network.state_dict(), description, out)
    judge = LpipsEvaluator.load(out)
    mixed = torch.cat([held_out.images[::12], scenes[:100]])
    scores = lpips_scores(judge, mixed, config["seed"]) | {f"trunk_{name}": value for name, value in known.items()}
    record("lpips", out, config, result.plus(ranked), scores)
