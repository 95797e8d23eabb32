"""The trade-off over tasks: who stands on the Pareto front (C19), and whether editors form regimes (C18)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.params import at_least
from editfrontier.base.seeding import stable_seed
from editfrontier.statistics import bootstrap, regimes
from editfrontier.statistics.estimate import Estimate
from editfrontier.statistics.regimes import adjusted_rand, front_shares
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.planes import planes_of, together
from editfrontier.study.drawing.regimes import draw_regimes
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    from editfrontier.statistics.bootstrap import Estimates
    from editfrontier.statistics.regimes import Stability
    from editfrontier.study.designs.planes import TradeoffPlane
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

ALL = "all"
"""Level of what is said of all tasks together (`planes.ALL`, which a check of the config need not import)."""

LEAST_EDITORS = 4
"""That groups are looked for among; fewer points form any number of them."""

PAPER = {
    "drag_flow": "high fidelity",
    "point_drag": "high fidelity",
    "instruct_pix2pix": "high controllability",
    "ultraedit": "high controllability",
    "mask_guided": "balanced",
    "tf_icon": "balanced",
}
"""Editor -> its regime in section 5.5 of the paper."""


@dataclass(frozen=True)
class RegimesParams:
    """Parameters of the analysis.

    Attributes:
        most: largest number of regimes that is considered.
        paper: number of regimes that the paper names.
        references: reference sets of the gap statistic.
        resamples: of the bootstrap in which the gap statistic chooses a number again.
    """

    most: int = 5
    paper: int = 3
    references: int = 100
    resamples: int = 200

    def __post_init__(self) -> None:
        at_least(self, most=2, paper=2, references=10, resamples=10)


QUANTITIES = {
    "fidelity": "composite fidelity, 0 and 1 at the controls",
    "controllability": "composite controllability, 0 and 1 at the controls",
    "on_front": "share of resamples in which the editor is on the Pareto front of the task's editors",
    "dominates": "share of resamples in which the editor is better than every other editor of the task",
    "on_front_everywhere": "share of resamples in which the editor is on the front in every task that it ran in",
    "dominates_everywhere": "share of resamples in which the editor (or any) dominates in every task",
    "regimes": "number of groups that the gap statistic chooses",
    "regimes_p": "p value of one group only: share of sets of points without groups whose gap statistic rises as much",
    "regimes_share": "share of resamples in which it chooses this number (x)",
    "gap": "gap statistic of this number of groups (x), with one standard error either way",
    "regime": "group that the editor belongs to, of x groups",
    "jaccard": "how well a group of x is found again in resamples (Hennig), 1 = always",
    "agreement": "adjusted Rand index of the grouping into x and the groupings of resamples, 1 = the same",
    "together": "share of resamples in which two editors are in one of x groups",
    "paper_agreement": "adjusted Rand index of the grouping into x with the paper's regimes; 0 = by chance",
}


def run(inputs: Inputs, params: RegimesParams) -> Sequence[Finding]:
    """Place editors, find the fronts, then groups, task by task and over all of them."""
    planes, absent = planes_of(inputs)
    findings = [
        Finding(quantity="fidelity", level=task, value=math.nan, note=f"no composites: {reason}")
        for task, reason in absent.items()
    ]
    if not planes:
        return findings
    shown = [*planes, together(planes)] if len(planes) > 1 else planes
    for plane in shown:
        findings += _places(plane, inputs)
    findings += _fronts(planes)
    for plane in shown:
        findings += _groups(plane, inputs, params)
    return findings


def _places(plane: TradeoffPlane, inputs: Inputs) -> Iterator[Finding]:
    settings = inputs.settings
    for axis in ("fidelity", "controllability"):
        estimates: Estimates = getattr(plane, axis)
        if len(estimates.jackknife):
            low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
        else:  # tasks have clusters of their own, so that there is no jackknife over all of them
            low, high = np.nanquantile(estimates.resampled, inputs.settings.tails, axis=0)
        for i, variant in enumerate(plane.variants):
            note = f"tasks: {plane.cases[i]}" if plane.name == ALL else ""
            estimate = Estimate(float(estimates.point[i]), float(low[i]), float(high[i]), plane.cases[i])
            yield Finding(quantity=axis, variant=variant, level=plane.name, note=note, **estimate.fields())


def _fronts(planes: Sequence[TradeoffPlane]) -> Iterator[Finding]:
    for plane in planes:
        if len(plane.rows) == 1:
            note = "the only editor of the task"
            keys: dict[str, Any] = {"variant": plane.variants[0], "level": plane.name, "n": plane.cases[0]}
            yield Finding(quantity="on_front", value=math.nan, note=note, **keys)
    planes = [plane for plane in planes if len(plane.rows) > 1]
    names = {key: row.variant for plane in reversed(planes) for key, row in zip(plane.keys, plane.rows, strict=True)}
    order = list(dict.fromkeys(key for plane in planes for key in plane.keys))
    everywhere = {key: [np.ones(len(planes[0].resampled), dtype=bool)] * 2 for key in order}
    for plane in planes:
        shares = front_shares(plane.resampled[..., 0], plane.resampled[..., 1])
        for i, key in enumerate(plane.keys):
            for quantity, share in zip(("on_front", "dominates"), shares, strict=True):
                keys = {"variant": plane.variants[i], "level": plane.name, "n": plane.cases[i]}
                yield Finding(quantity=quantity, value=float(share[:, i].mean()), **keys)
            everywhere[key] = [kept & share[:, i] for kept, share in zip(everywhere[key], shares, strict=True)]
    for place, quantity in enumerate(("on_front_everywhere", "dominates_everywhere")):
        several = []
        value, note = math.nan, "no editor ran in several tasks"
        for key in order:
            count = sum(key in plane.keys for plane in planes)
            if count < 2:
                continue
            several.append(everywhere[key][place])
            probability, where = float(everywhere[key][place].mean()), f"in {count} of {len(planes)} tasks"
            yield Finding(quantity=quantity, variant=names[key], level=ALL, value=probability, n=count, note=where)
        if several:
            value, note = float(np.any(several, axis=0).mean()), "any editor that ran in several tasks"
        yield Finding(quantity=quantity, level=ALL, value=value, n=len(planes), note=note)


def _groups(plane: TradeoffPlane, inputs: Inputs, params: RegimesParams) -> Iterator[Finding]:
    count = len(plane.rows)
    if count < LEAST_EDITORS:
        note = f"{count} editors, expected at least {LEAST_EDITORS}"
        yield Finding(quantity="regimes", level=plane.name, value=math.nan, n=count, note=note)
        return
    resampled = plane.resampled[np.isfinite(plane.resampled).all(axis=(1, 2))]
    rng = np.random.default_rng(stable_seed(inputs.name, plane.name, inputs.settings.seed))
    most = min(params.most, count - 1)
    gap = regimes.gap_statistic(plane.points, most, params.references, rng)
    yield Finding(quantity="regimes", level=plane.name, value=float(gap.chosen), n=count, note="gap statistic")
    yield Finding(quantity="regimes_p", level=plane.name, value=gap.p, n=count)
    chosen = [
        regimes.gap_statistic(points, most, max(10, params.references // 5), rng).chosen
        for points in resampled[: params.resamples]
    ]
    for k in range(1, most + 1):
        keys: dict[str, Any] = {"level": plane.name, "x": float(k), "n": count}
        share = float(np.mean([number == k for number in chosen])) if chosen else math.nan
        yield Finding(quantity="regimes_share", value=share, **keys)
        value, error = float(gap.value[k - 1]), float(gap.error[k - 1])
        yield Finding(quantity="gap", value=value, low=value - error, high=value + error, **keys)
    for k in sorted({gap.chosen, params.paper}):
        if 1 < k < count and len(resampled):
            yield from _partition(plane, regimes.stability(plane.points, resampled, k), k, inputs)
    if params.paper < count and len(resampled):
        yield _against_paper(plane, regimes.stability(plane.points, resampled, params.paper), inputs, params)


def _partition(plane: TradeoffPlane, held: Stability, k: int, inputs: Inputs) -> Iterator[Finding]:
    keys: dict[str, Any] = {"x": float(k), "n": len(plane.rows)}
    for row, label in zip(plane.rows, held.labels, strict=True):
        yield Finding(quantity="regime", variant=row.variant, level=plane.name, value=float(label + 1), **keys)
    for number, value in enumerate(held.jaccard):
        members = "; ".join(row.label for row, label in zip(plane.rows, held.labels, strict=True) if label == number)
        yield Finding(quantity="jaccard", level=plane.name, value=float(value), note=members, **keys)
    low, high = np.quantile(held.rand, inputs.settings.tails)
    value = float(held.rand.mean())
    yield Finding(quantity="agreement", level=plane.name, value=value, low=float(low), high=float(high), **keys)
    for i, a in enumerate(plane.rows):
        for j in range(i + 1, len(plane.rows)):
            b = plane.rows[j]
            level, note = f"{plane.name}/{b.variant}", f"{a.label} and {b.label}"
            pair: dict[str, Any] = {"variant": a.variant, "level": level, "note": note}
            yield Finding(quantity="together", value=float(held.together[i, j]), **pair, **keys)


def _against_paper(plane: TradeoffPlane, held: Stability, inputs: Inputs, params: RegimesParams) -> Finding:
    first: dict[str, int] = {}
    for place, row in enumerate(plane.rows):
        if row.editor in PAPER:
            first.setdefault(row.editor, place)
    keys: dict[str, Any] = {"quantity": "paper_agreement", "level": plane.name, "x": float(params.paper)}
    names = {PAPER[editor] for editor in first}
    if not 2 <= len(names) < len(first):
        note = "needs editors of two of the paper's regimes, and two of one"
        return Finding(value=math.nan, n=len(first), note=note, **keys)
    numbers = {name: i for i, name in enumerate(sorted(names))}
    paper = np.array([numbers[PAPER[editor]] for editor in first], dtype=np.intp)
    places = list(first.values())
    drawn = [adjusted_rand(paper, labels[places]) for labels in held.resampled]
    low, high = np.quantile(drawn, inputs.settings.tails)
    agreement = Estimate(adjusted_rand(paper, held.labels[places]), float(low), float(high), len(first))
    note = "; ".join(plane.rows[place].label for place in places)
    return Finding(**keys, **agreement.fields(), note=note)


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say who is on the fronts, whether one dominates, and how many groups there are and how stable."""
    sentences = []
    for row in findings.select("fidelity"):
        if row.note.startswith("no composites"):
            sentences.append(f"{row.level}: {row.note}.")
    for task in dict.fromkeys(row.level for row in findings.select("dominates")):
        sure = [row for row in findings.select("on_front", level=task) if row.value >= inputs.settings.level]
        names = "; ".join(inputs.labels[row.variant] for row in sure) or "none"
        best = max(findings.select("dominates", level=task), key=lambda row: row.value)
        beats = f"{inputs.labels[best.variant]} most often beats all others in both, in {best.value:.0%}"
        sentences.append(
            f"{task}: on the front in at least {inputs.settings.level:.0%} of resamples: {names}. "
            f"{beats if best.value >= 0.01 else 'No editor beats all others in both in even 1% of them'}."
        )
    if (any_one := findings.one("dominates_everywhere", variant="", level=ALL)) is not None:
        sentences.append(f"One editor dominates in every task that it ran in, in {any_one.value:.0%} of resamples.")
    everywhere: Mapping[str, float] = {
        inputs.labels[row.variant]: row.value
        for row in findings.select("on_front_everywhere")
        if row.variant and row.value >= inputs.settings.level
    }
    names = "; ".join(everywhere) or "none"
    sentences.append(f"On the front in every task that they ran in, of those that ran in several: {names}.")
    for row in findings.select("regimes"):
        if not math.isfinite(row.value):
            sentences.append(f"{row.level}: no groups are looked for ({row.note}).")
            continue
        share = findings.one("regimes_share", level=row.level, x=row.value)
        part = f" (in {share.value:.0%} of resamples)" if share else ""
        groups = findings.select("jaccard", level=row.level, x=float(params_paper(findings)))
        stable = "; ".join(f"{group.note}: {group.value:.2f}" for group in groups)
        sentences.append(
            f"{row.level}: the gap statistic finds {row.value:.0f} group{'s' if row.value > 1 else ''} of "
            f"{row.n} editors{part}. "
            + (f"Three groups would be found again so well (Jaccard): {stable}." if stable else "")
        )
    for row in findings.select("paper_agreement"):
        if math.isfinite(row.value):
            sentences.append(
                f"{row.level}: the grouping into {row.x:.0f} agrees with the paper's regimes by {row.value:.2f} "
                f"[{row.low:.2f}, {row.high:.2f}] (adjusted Rand index, {row.n} editors)."
            )
    return sentences


def params_paper(findings: Findings) -> float:
    """Return the number of regimes that the paper names, as the findings have it."""
    return next((row.x for row in findings.select("paper_agreement")), math.nan)


ANALYSIS = Analysis("regimes", run, draw_regimes, say, QUANTITIES, RegimesParams)
