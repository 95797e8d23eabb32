"""Validate the metrics against the renderer's truth: does a metric follow the quantity that it measures?

Portraits are drawn with separate seeds, so no network was trained on them. Each check states its expectation before
any number is seen; a check that does not hold is reported as such and changes nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from editfrontier.base.csv_files import frame_as_csv
from editfrontier.base.files import write_bytes
from editfrontier.base.parquet import write_parquet
from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import HAIR_COLOURS, load_language, portrait_caption
from editfrontier.microworld.edits import portrait_edits, scene_edits
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import ATTRIBUTES, Portraits, set_attribute
from editfrontier.microworld.validation_report import (
    COLUMNS,
    RESAMPLES,
    Array,
    Report,
    clustered,
    clustered_mean,
    portraits,
    rate,
    spearman,
)
from editfrontier.microworld.zoo.corruptions import CORRUPTIONS, corrupt
from editfrontier.microworld.zoo.evaluators_data import to_bytes, to_float
from editfrontier.scoring.metrics import PSNR_CAP, alignment, background, quality
from editfrontier.scoring.metrics.distribution import fid, kid
from editfrontier.scoring.metrics.identity import identity_similarity
from editfrontier.scoring.sources import load_evaluators, provenance_of
from editfrontier.statistics.detection import auroc

log = logging.getLogger(__name__)

IDENTITY_STEPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
LPIPS_PAIRS = 6
SEVERITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_NO_INTERVAL = (np.nan, np.nan)


def validate(
    evaluators: Mapping[str, Any], out: Path, points_out: Path, *, n: int = 200, seed: int = 0, device: str = "cpu"
) -> None:
    """Write validation.csv (`out`) and the points behind it (`points_out`, parquet). Command line: `validate`.

    Args:
        evaluators: kind -> model folder, or an evaluator; checks of a kind that is absent are not made.
        out: columns check, metric, statistic, value, ci_low, ci_high, n, expectation, holds.
        points_out: columns check, metric, group, x (the truth), y (the metric).
        n: portraits for each check; checks of single attributes or corruptions take an eighth.
        seed: of the portraits.
    """
    networks = load_evaluators(evaluators, device)
    report = Report()
    checks: tuple[tuple[str, Callable[[Report, Mapping[str, Any], int, int], None]], ...] = (
        ("identity", check_identity),
        ("attributes", check_attribute_edits),
        ("corruption", check_corruptions),
        ("quality", check_artifact_rate),
        ("clip", check_captions),
        ("vqa", check_questions),
    )
    for name, check in checks:
        check(report, networks, n, seed)
        log.info("validation: %s done", name)
    frame = pd.DataFrame(report.rows, columns=list(COLUMNS))
    write_bytes(out, frame_as_csv(frame, "%.6g"))
    points = pd.DataFrame(report.points, columns=["check", "metric", "group", "x", "y"])
    write_parquet(points_out, points, provenance_of("validation", evaluators) | {"n": n, "seed": seed})
    for row in frame[~frame["holds"].astype(bool)].itertuples():
        log.warning("validation: %s of %s is %.3g, expected %s", row.statistic, row.metric, row.value, row.expectation)


def check_identity(report: Report, networks: Mapping[str, Any], n: int, seed: int) -> None:
    """Check the identity cosine against the distance of the identity parameters, in the same and in another picture."""
    if "identity" not in networks:
        return
    embed = networks["identity"].embed
    base, other = portraits(n, seed, "identity"), portraits(n, seed, "another identity")
    reference = embed(render_portraits(base).images)
    distance = np.empty((n, len(IDENTITY_STEPS)))
    cosine = {picture: np.empty((n, len(IDENTITY_STEPS))) for picture in ("same picture", "other picture")}
    for k, step in enumerate(IDENTITY_STEPS):
        moved = base.identity + step * (other.identity - base.identity)
        distance[:, k] = (moved - base.identity).square().mean(dim=1).sqrt().numpy()
        for picture, rest in (("same picture", base), ("other picture", other)):
            drawn = render_portraits(replace(rest, identity=moved)).images
            cosine[picture][:, k] = identity_similarity(reference, embed(drawn)).numpy()
    for picture, values in cosine.items():
        report.plot("identity", "id_sim", picture, distance, values)
        expected = ("<=", -0.9 if picture == "same picture" else -0.7)
        statistic = f"Spearman with identity distance, {picture}"
        report.add("identity", "id_sim", statistic, clustered(spearman, distance, values), n, expected)
    same, different = cosine["other picture"][:, :1], cosine["other picture"][:, -1:]
    statistic = "ROC AUC, same against other person, other picture"
    report.add("identity", "id_sim", statistic, clustered(auroc, same, different), n, (">=", 0.98))


def check_attribute_edits(report: Report, networks: Mapping[str, Any], n: int, seed: int) -> None:
    """Check pairs without and with each attribute: the classifier's verdict, the direction of CLIP, the background."""
    pairs = max(4, n // 8)
    before, after, names = _attribute_pairs(pairs, seed)
    if "attributes" in networks:
        _check_success(report, networks["attributes"], before, after, names, pairs)
    if "lpips" in networks:
        # A few pairs of each attribute: LPIPS costs more than all other networks together.
        chosen = torch.arange(len(names)).reshape(len(ATTRIBUTES), pairs)[:, :LPIPS_PAIRS].flatten()
        _check_background(report, networks["lpips"], before[chosen], after[chosen])
    if "clip" in networks:
        _check_direction(report, networks["clip"], seed, pairs)


def _attribute_pairs(pairs: int, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """Draw images [20 * pairs, 3, H, W] without and with an attribute; return them and the attribute of each pair."""
    without, with_it, names = [], [], []
    for name in ATTRIBUTES:
        people = portraits(pairs, seed, f"pairs {name}")
        without.append(render_portraits(_cleared(people, name)).images)
        with_it.append(render_portraits(set_attribute(people, name, True)).images)
        names += [name] * pairs
    return torch.cat(without), torch.cat(with_it), names


def _without(people: Portraits, name: str) -> Portraits:
    """Return the portraits without an attribute; for a hair colour, with another one."""
    if name in HAIR_COLOURS:
        return set_attribute(people, HAIR_COLOURS[HAIR_COLOURS.index(name) - 1], True)
    return set_attribute(people, name, False)


def _cleared(people: Portraits, name: str) -> Portraits:
    """Return the portraits without an attribute and without what it clears, so that a pair differs in it alone."""
    return _without(people if name in HAIR_COLOURS else set_attribute(people, name, True), name)


def _check_success(report: Report, judge: Any, before: Tensor, after: Tensor, names: list[str], pairs: int) -> None:
    columns = [list(judge.names).index(name) for name in names]
    verdicts = [
        judge.probabilities(images)[torch.arange(len(names)), columns].numpy() >= 0.5 for images in (before, after)
    ]
    right = ((~verdicts[0]).astype(float) + verdicts[1]) / 2
    for start, name in zip(range(0, len(names), pairs), names[::pairs], strict=True):
        part = right[start : start + pairs]
        # A pair has two judged images; the pair is the unit, and a rate of 1 still has an interval.
        report.add("success", "success", f"balanced accuracy, {name}", rate(part), pairs, (">=", 0.9))
        report.plot("success", "success", name, np.array([ATTRIBUTES.index(name)]), part.mean(keepdims=True))
    mean = clustered_mean(right[:, None])
    report.add("success", "success", "balanced accuracy, mean", mean, len(right), (">=", 0.97))


def _check_background(report: Report, lpips: Any, before: Tensor, after: Tensor) -> None:
    area = ~_closed((before != after).any(dim=1, keepdim=True))
    unrelated = after.roll(len(after) // 2, dims=0)

    def masked(edited: Tensor) -> Array:
        return lpips.distance(*(background.fill_outside(images, area) for images in (before, edited))).numpy()

    def spatial(edited: Tensor) -> Array:
        radius = background.erosion_radius(before.shape[2])
        return background.lpips_spatial(lpips.distance_map(before, edited), area, radius).numpy()

    n = len(before)
    worst = {
        "lpips_bg_masked": (float(masked(after).max()), ("<=", 0.0)),
        "psnr_bg": (float(background.psnr_background(before, after, area).min()), (">=", PSNR_CAP)),
        "ssim_bg": (float(background.ssim_background(before, after, area).min()), (">=", 1 - 1e-9)),
    }
    for metric, (value, expected) in worst.items():
        report.add("background", metric, "worst value of the true edit", (value, _NO_INTERVAL), n, expected)
    values = {"true edit": spatial(after), "another portrait": spatial(unrelated)}
    kept = np.isfinite(values["true edit"])
    for code, (group, numbers) in enumerate(values.items()):
        report.plot("background", "lpips_bg_spatial", group, np.full(int(kept.sum()), float(code)), numbers[kept])
    true, other = (numbers[kept, None] for numbers in values.values())
    # The share of the edit that the network's receptive field carries over the eroded border.
    ratio = clustered(lambda x, y: float(x.mean() / y.mean()), true, other)
    statistic = "mean of the true edit over mean of another portrait"
    report.add("background", "lpips_bg_spatial", statistic, ratio, len(true), ("<=", 0.1))


def _closed(mask: Tensor) -> Tensor:
    """Close a mask with radius 1, as the masks of the portrait cases are."""
    grown = torch.nn.functional.max_pool2d(mask.float(), 3, stride=1, padding=1) > 0.5
    return background.erode(grown, 1) | mask


def _check_direction(report: Report, clip: Any, seed: int, pairs: int) -> None:
    """Check CLIP's directional similarity of the true edit against an edit of another attribute."""
    language = load_language()
    scores: list[Array] = []
    for k, name in enumerate(ATTRIBUTES):
        start = _cleared(portraits(pairs, seed, f"direction {name}"), name)
        wrong = ATTRIBUTES[(k + 7) % len(ATTRIBUTES)]
        source, right = start, set_attribute(start, name, True)
        # An edit that was not asked for: the other attribute is taken away where it is there, and else added.
        has = start.attribute(wrong)
        other = set_attribute(start, wrong, True)
        if wrong not in HAIR_COLOURS:
            off = set_attribute(start, wrong, False).attributes
            other = replace(start, attributes=torch.where(has[:, None], off, other.attributes))
        texts = [
            clip.text([portrait_caption(language, p.attributes_of(i)) for i in range(pairs)]) for p in (source, right)
        ]
        images = [clip.image(render_portraits(p).images) for p in (source, right, other)]
        both = [alignment.clip_directional(images[0], edited, *texts).numpy() for edited in images[1:]]
        scores.append(np.stack(both, axis=1))
    values = np.concatenate(scores)
    values = values[np.isfinite(values).all(axis=1)]
    wins = (values[:, 0] > values[:, 1]).astype(float)
    report.plot("direction", "clip_directional", "asked edit", np.ones(len(values)), values[:, 0])
    report.plot("direction", "clip_directional", "other edit", np.zeros(len(values)), values[:, 1])
    statistic = "share of edits scored above an edit of another attribute"
    report.add("direction", "clip_directional", statistic, rate(wins), len(wins), (">=", 0.9))


def check_corruptions(report: Report, networks: Mapping[str, Any], n: int, seed: int) -> None:
    """Check quality, LPIPS, FID and KID against the severity of known corruptions."""
    m = max(4, n // 8)
    few = min(m, 2 * LPIPS_PAIRS)
    clean = render_portraits(portraits(m, seed, "corruptions")).images
    generator = torch.Generator().manual_seed(stable_seed("validation", "corruptions", seed))
    severity = np.tile(np.array(SEVERITIES), (m, 1))
    measured: dict[str, list[Array]] = {"quality": [], "lpips_true": []}
    for family, corruption in CORRUPTIONS.items():
        levels = [corruption(to_float(clean), torch.full((m,), level), generator) for level in SEVERITIES]
        images = [to_bytes(damaged.clamp(0, 1)) for damaged in levels]
        if "quality" in networks:
            values = np.stack([networks["quality"].quality(part).numpy() for part in images], axis=1)
            measured["quality"].append(values)
            report.plot("corruption", "quality", family, severity, values)
            name = f"Spearman with severity, {family}"
            report.add("corruption", "quality", name, clustered(spearman, severity, values), m, ("<=", -0.8))
        if "lpips" in networks:
            values = np.stack([networks["lpips"].distance(clean[:few], part[:few]).numpy() for part in images], axis=1)
            measured["lpips_true"].append(values)
    for metric, expected in (("quality", ("<=", -0.8)), ("lpips_true", (">=", 0.7))):
        if measured[metric]:
            values = np.concatenate(measured[metric], axis=1)
            truth = np.tile(severity[: len(values)], (1, len(CORRUPTIONS)))
            # The portrait is the unit: all its corrupted copies are resampled together.
            rho = clustered(spearman, truth, values)
            report.add("corruption", metric, "Spearman with severity, all families", rho, len(values), expected)
    if "features" in networks:
        _check_set_metrics(report, networks["features"], n, seed)


def _check_set_metrics(report: Report, features: Any, n: int, seed: int) -> None:
    """Check FID and KID of different portraits at each severity; copies of one would raise FID by themselves."""
    reference = features.features(render_portraits(portraits(n, seed, "reference")).images).numpy()
    clean = render_portraits(portraits(n, seed, "corrupted sets")).images
    families = torch.arange(n) % len(CORRUPTIONS)
    generator = torch.Generator().manual_seed(stable_seed("validation", "sets", seed))
    levels = [corrupt(to_float(clean), families, torch.full((n,), level), generator) for level in SEVERITIES]
    outputs = [features.features(to_bytes(images)).numpy() for images in levels]
    for metric, distance in (("fid", fid), ("kid", kid)):
        values = np.array([distance(output, reference) for output in outputs])
        report.plot("corruption", metric, "all families", np.array(SEVERITIES), values)
        rho = spearman(np.array(SEVERITIES), values)
        report.add("corruption", metric, "Spearman with severity, its levels", (rho, _NO_INTERVAL), n, (">=", 0.99))


def check_artifact_rate(report: Report, networks: Mapping[str, Any], n: int, seed: int) -> None:
    """Check the artifact rate of sources that were not used for the calibration, and of visibly corrupted ones."""
    judge = networks.get("artifact", networks.get("quality"))
    if judge is None:
        return
    score = judge.artifact
    calibration = score(render_portraits(portraits(n, seed, "calibration")).images)
    threshold = quality.artifact_threshold(calibration)
    images = render_portraits(portraits(n, seed, "held out")).images
    held_out = score(images)
    rng = np.random.default_rng(stable_seed("validation", "threshold", seed))
    rates = []
    for _ in range(RESAMPLES):
        # The threshold is estimated too, so the calibration is resampled with the rest.
        calibrated, judged = (torch.from_numpy(rng.integers(0, n, size=n)) for _ in range(2))
        resampled = quality.artifact_threshold(calibration[calibrated])
        rates.append(float(quality.artifact(held_out[judged], resampled).mean()))
    value, bounds = float(quality.artifact(held_out, threshold).mean()), np.quantile(rates, [0.025, 0.975])
    limit = quality.FALSE_POSITIVE_RATE
    expectation, holds = f"<= {limit:g} within the interval", bool(bounds[0] <= limit)
    report.rows.append(("artifact", "artifact", "rate, held-out sources", value, *bounds, n, expectation, holds))
    generator = torch.Generator().manual_seed(stable_seed("validation", "artifacts", seed))
    families = torch.arange(n) % len(CORRUPTIONS)
    damaged = to_bytes(corrupt(to_float(images), families, torch.full((n,), 0.5), generator))
    artifacts = rate(quality.artifact(score(damaged), threshold))
    report.add("artifact", "artifact", "rate, corruptions of severity 0.5", artifacts, n, (">=", 0.5))


def check_captions(report: Report, networks: Mapping[str, Any], n: int, seed: int) -> None:
    """Check CLIP's cosine of the true caption against a caption with one attribute flipped."""
    if "clip" not in networks:
        return
    language, clip = load_language(), networks["clip"]
    people = portraits(n, seed, "captions")
    image = clip.image(render_portraits(people).images)
    true, flipped = [], []
    for i in range(n):
        person, name = people[i], ATTRIBUTES[i % len(ATTRIBUTES)]
        has = bool(person.attribute(name)[0])
        changed = _without(person, name) if has else set_attribute(person, name, True)
        true.append(portrait_caption(language, person.attributes_of(0)))
        flipped.append(portrait_caption(language, changed.attributes_of(0)))
    cosines = [alignment.clip_cosine(image, clip.text(texts)).numpy() for texts in (true, flipped)]
    wins = (cosines[0] > cosines[1]).astype(float)
    attributes = np.arange(n) % len(ATTRIBUTES)
    report.plot("captions", "clip_cos", "margin of the true caption", attributes, cosines[0] - cosines[1])
    statistic = "share of images closer to the true than to the flipped caption"
    report.add("captions", "clip_cos", statistic, rate(wins), n, (">=", 0.9))


def check_questions(report: Report, networks: Mapping[str, Any], n: int, seed: int) -> None:
    """Check the model for questions on true edits of scenes and portraits: both images with both captions."""
    if "vqa" not in networks:
        return
    where = stable_seed("validation", "questions", seed)
    for kind, make in (("scenes", scene_edits), ("portraits", portrait_edits)):
        edits = make(n, where, load_language())
        texts = [edit.source_caption for edit in edits], [edit.target_caption for edit in edits]
        # [n, 2]: the image after the edit, then the one before it.
        images = [torch.from_numpy(np.stack([getattr(edit, name) for edit in edits])) for name in ("after", "before")]
        own_caption, other_caption = np.empty((n, 2)), np.empty((n, 2))
        for side, pixels in enumerate(images):
            answers = networks["vqa"].probability(pixels.permute(0, 3, 1, 2).contiguous(), *texts).numpy()
            own_caption[:, side], other_caption[:, side] = answers[:, 1 - side], answers[:, side]
        report.plot("questions", "vqa_score", f"own, {kind}", np.ones((n, 2)), own_caption)
        report.plot("questions", "vqa_score", f"other, {kind}", np.zeros((n, 2)), other_caption)
        statistic = f"balanced accuracy of the forced choice, {kind}"
        right = clustered_mean((own_caption > other_caption).astype(float))
        report.add("questions", "vqa_choice", statistic, right, n, (">=", 0.85))
        statistic = f"ROC AUC, own against other caption, {kind}"
        separation = clustered(auroc, own_caption, other_caption)
        report.add("questions", "vqa_score", statistic, separation, n, (">=", 0.85))
