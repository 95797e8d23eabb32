"""How often intervals hold the truth: studies drawn from a large population of rendered edits with known means."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import load_language
from editfrontier.microworld.edits import portrait_edits
from editfrontier.scoring.metrics import background, truth
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.taskscores import Settings

EDITORS = ("weak", "strong")
BINARY = ("success",)


@dataclass(frozen=True)
class Population:
    """Values [P, 2, M] of two classical editors on P clusters of `draws` edits each, P first.

    values: [P, draws, 2, M]; metrics: names of M.
    """

    metrics: tuple[str, ...]
    values: Array


def render_population(clusters: int, draws: int, seed: int, attributes: Path | None = None) -> Population:
    """Edit many rendered portraits by cheap means and measure the edits.

    An edit goes a random part of the way to the true one and adds noise of a random strength; `strong` goes further and
    adds more noise than `weak`. Both share the portrait and most of their luck, as editors share a case's difficulty.

    Args:
        clusters: portraits.
        draws: edits of each, with luck of their own.
        seed: of everything.
        attributes: folder of the attribute classifier that judges success; None leaves success out.
    """
    edits = portrait_edits(clusters, stable_seed("coverage", seed), load_language())
    rng = np.random.default_rng(seed)
    judge = None
    if attributes is not None:
        from editfrontier.scoring.evaluators.attributes import AttributeEvaluator

        judge = AttributeEvaluator.load(attributes)
    source = np.stack([edit.before for edit in edits]).astype(np.float64)
    target = np.stack([edit.after for edit in edits]).astype(np.float64)
    kept = torch.from_numpy(np.stack([~edit.mask for edit in edits]))[:, None]
    truths, sources = _tensor(target), _tensor(source)
    found = np.empty((clusters, draws, len(EDITORS), 4 if judge else 3))
    for draw in range(draws):
        luck = rng.normal(size=clusters)
        for place, (way, noise) in enumerate(((0.6, 4.0), (0.9, 7.0))):
            own = 0.7 * luck + 0.7 * rng.normal(size=clusters)
            part = np.clip(way + 0.25 * own, 0, 1)[:, None, None, None]
            level = (noise * np.exp(0.5 * rng.normal(size=clusters)))[:, None, None, None]
            images = _tensor(source + part * (target - source) + level * rng.normal(size=source.shape))
            columns = [
                truth.l2_distance(images, truths),
                truth.changed_area(sources, images),
                background.psnr_background(sources, images, kept),
            ]
            if judge:
                names = [judge.names.index(edit.attribute) for edit in edits]
                wanted = torch.tensor([edit.desired for edit in edits])
                probability = judge.probabilities(images)[torch.arange(clusters), names]
                columns.append(((probability >= 0.5) == wanted).double())
            found[:, draw, place] = torch.stack(columns, dim=1).numpy()
    return Population(("l2_true", "changed_area", "psnr_bg", *(BINARY if judge else ())), found)


def _tensor(images: Array) -> torch.Tensor:
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def coverage(
    population: Population, studies: int, clusters: int, seed: int, level: float = 0.95, resamples: int = 1000
) -> Mapping[str, Mapping[str, float]]:
    """Draw studies from a population and count how often their intervals hold its mean.

    Args:
        population: of `render_population`.
        studies: how many.
        clusters: of a study, drawn with replacement, as the population stands for an infinite one.
        seed: of the studies.
        level: of the intervals.
        resamples: of the bootstrap.

    Returns:
        quantity -> kind of interval -> share of studies. Quantities are "<editor> <metric>" and "difference <metric>";
        kinds are those of `bootstrap.INTERVALS` and "reported", the one that the study reports: for rates
        `bootstrap.rate_interval`, for their differences on single cases `bootstrap.rate_difference_bounds`, else the
        default of `Settings`.
    """
    rng = random.Random(seed)
    size, draws, editors, m = population.values.shape
    names = [f"{editor} {metric}" for editor in EDITORS for metric in population.metrics]
    names += [f"difference {metric}" for metric in population.metrics]
    gaps = population.values[:, :, :1] - population.values[:, :, 1:]
    table = np.concatenate([population.values, gaps], axis=2).reshape(size, draws, (editors + 1) * m)
    means = table.mean(axis=(0, 1))
    hits: dict[str, dict[str, int]] = {name: {} for name in names}
    cluster = np.repeat(np.arange(clusters), draws)
    for study in range(studies):
        chosen = np.array(rng.choices(range(size), k=clusters))
        values = table[chosen].reshape(clusters * draws, -1)
        weights = bootstrap.cluster_weights(clusters, resamples, stable_seed("coverage study", seed, study))
        estimates = bootstrap.means(values, cluster, weights)
        for kind in bootstrap.INTERVALS:
            low, high = bootstrap.intervals(estimates, level, kind)
            _count(hits, names, kind, (low <= means) & (means <= high))
            if kind == Settings().interval:
                held = (low <= means) & (means <= high)
        for k, name in enumerate(names):
            if name.split()[1] in BINARY:
                bounds = _rate_bounds(values, k, names, cluster, level)
                if bounds is not None:
                    held[k] = bounds[0] <= means[k] <= bounds[1]
        _count(hits, names, "reported", held)
    return {name: {kind: count / studies for kind, count in found.items()} for name, found in hits.items()}


def _rate_bounds(
    values: Array, k: int, names: list[str], cluster: npt.NDArray[np.intp], level: float
) -> tuple[float, float] | None:
    """The interval of a rate or of a difference of rates, None where it is an ordinary mean's."""
    editor, metric = names[k].split()
    if editor != "difference":
        return bootstrap.rate_interval(values[:, k], cluster, level)
    if len(np.unique(cluster)) < len(cluster):
        return None
    first, second = (values[:, names.index(f"{name} {metric}")] for name in EDITORS)
    return bootstrap.rate_difference_bounds(first, second, level)


def _count(hits: dict[str, dict[str, int]], names: list[str], kind: str, held: npt.NDArray[np.bool_]) -> None:
    for name, hit in zip(names, held.tolist(), strict=True):
        hits[name][kind] = hits[name].get(kind, 0) + int(hit)
