"""Where in a face edits drift: deviation inside eyes, nose, mouth, skin, hair and background (claim C31)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import get_editor
from editfrontier.models.kinds import MODEL_KINDS
from editfrontier.statistics import bootstrap, contrasts
from editfrontier.study.analysis import Analysis
from editfrontier.study.drawing.regions import draw_regions
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    import numpy.typing as npt

    from editfrontier.statistics.estimate import Effect, Estimate
    from editfrontier.statistics.taskscores import TaskScores
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row

    Weights = npt.NDArray[np.float64]
    Values = npt.NDArray[np.float64]

METRIC = "drift_{}"


@dataclass(frozen=True)
class RegionsParams:
    """Parameters of the analysis.

    Attributes:
        meaningful: regions in which identity is said to drift.
        others: regions that they are compared with.
        further: regions that are shown in addition.
        floor: variant that is the floor of editors on the diffusion model's autoencoder.
        flow_floor: variant that is the floor of editors on the flow model's autoencoder.
    """

    meaningful: tuple[str, ...] = ("eyes", "nose", "mouth")
    others: tuple[str, ...] = ("skin", "hair", "background")
    further: tuple[str, ...] = ("brows", "ears", "clothes")
    floor: str = "autoencoder_round_trip"
    flow_floor: str = "flow_reconstruction+method=none"


QUANTITIES = {
    "drift": "mean absolute deviation from the source inside a region, outside of the edit; pixels in [0, 1]",
    "relative": "drift of a region over the drift of the whole face",
    "excess": "drift of a region beyond the drift by the editor's autoencoder alone, on the same images",
    "region_difference": "drift of one region less the drift of another, on the same images",
    "region_difference_p": "p value of that difference, Holm's adjustment over the pairs of regions of an editor",
    "concentration": "drift of the meaningful regions less the drift of the others, on the same images",
    "concentration_p": "p value of the concentration, Holm's adjustment over editors",
    "concentration_excess": "the same of the excess over the autoencoder",
    "concentration_excess_p": "p value of that, Holm's adjustment over editors",
}


def run(inputs: Inputs, params: RegionsParams) -> Sequence[Finding]:
    """Compare regions within each variant, as they are and beyond the floor of its autoencoder."""
    if not inputs.experiments:
        raise UserError(f"analysis '{inputs.name}': names no experiment, expected one on portraits. Add `experiments`.")
    findings: list[Finding] = []
    for name, table in inputs.experiments.items():
        scores = inputs.scores(name)
        if METRIC.format("face") not in scores.metrics:
            note = f"no case of '{name}' has regions"
            findings.append(Finding(quantity="drift", metric=METRIC.format("face"), value=math.nan, note=note))
            continue
        weights = contrasts.resamples(scores.cluster, inputs.settings, inputs.name, name)
        rows = list({row.variant: row for row in table.rows}.values())
        floors = {row.variant: _floor(row, params, scores) for row in rows}
        findings += _levels(scores, rows, floors, weights, inputs, params)
        findings += _region_differences(scores, rows, weights, inputs, params)
        findings += _concentrations(scores, rows, floors, weights, inputs, params)
    return findings


def regions_of(params: RegionsParams) -> tuple[str, ...]:
    """Return the regions in the order in which they are shown."""
    return (*params.meaningful, *params.others, *params.further)


def _floor(row: Row, params: RegionsParams, scores: TaskScores) -> str:
    """Return the variant that is a row's floor, "" if it has none or none was run."""
    if row.control:
        return ""
    try:
        model = get_editor(row.editor).model
    except UserError:
        return ""
    if model is None:
        return ""
    floor = params.flow_floor if MODEL_KINDS.get(model).flow else params.floor
    return floor if floor in scores.variants else ""


def _values(scores: TaskScores, variant: str, regions: Sequence[str]) -> Values:
    """Return the drift [N, K] of a variant in regions; NaN where no case has the region at all."""
    place = scores.variants.index(variant)
    empty = np.full(len(scores.values), np.nan)
    names = [METRIC.format(region) for region in regions]
    columns = [scores.values[:, place, scores.metrics.index(n)] if n in scores.metrics else empty for n in names]
    return np.column_stack(columns)


def _finding(quantity: str, mean: Estimate, note: str = "", **keys: Any) -> Finding:
    return Finding(
        quantity=quantity,
        **mean.fields(),
        note=note if mean.n else "no case shows the region outside of its edit",
        **keys,
    )


def _levels(
    scores: TaskScores,
    rows: Sequence[Row],
    floors: Mapping[str, str],
    weights: Weights,
    inputs: Inputs,
    params: RegionsParams,
) -> Iterator[Finding]:
    shown = ("face", *regions_of(params))
    for row in rows:
        values = _values(scores, row.variant, shown)
        for region, mean in zip(shown, contrasts.means(values, scores.cluster, weights, inputs.settings), strict=True):
            yield _finding("drift", mean, variant=row.variant, metric=METRIC.format(region), level=region)
        for region, ratio in zip(shown[1:], _ratios(values, scores, weights, inputs), strict=True):
            yield _finding("relative", ratio, variant=row.variant, metric=METRIC.format(region), level=region)
        if not (floor := floors[row.variant]):
            continue
        gaps = values - _values(scores, floor, shown)
        for region, gap in zip(shown, contrasts.means(gaps, scores.cluster, weights, inputs.settings), strict=True):
            note = f"floor: {inputs.labels[floor]}"
            yield _finding("excess", gap, note, variant=row.variant, metric=METRIC.format(region), level=region)


def _ratios(values: Values, scores: TaskScores, weights: Weights, inputs: Inputs) -> list[Effect]:
    """Return mean drift of each region (columns from 1) over mean drift of the face (column 0), on the same cases."""
    ratios = []
    for k in range(1, values.shape[1]):
        pair = values[:, [0, k]]
        pair = np.where(np.isnan(pair.sum(axis=1, keepdims=True)), np.nan, pair)
        means = bootstrap.means(pair, scores.cluster, weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = (part[..., 1:] / part[..., :1] for part in (means.point, means.resampled, means.jackknife))
            ratio = bootstrap.Estimates(*parts)
        ratios += contrasts.of_estimates(ratio, pair[:, 1:], scores.cluster, inputs.settings)
    return ratios


def _region_differences(
    scores: TaskScores, rows: Sequence[Row], weights: Weights, inputs: Inputs, params: RegionsParams
) -> Iterator[Finding]:
    pairs = [(a, b) for a in params.meaningful for b in params.others]
    for row in rows:
        first, second = (_values(scores, row.variant, [pair[side] for pair in pairs]) for side in (0, 1))
        differences = contrasts.paired(np.asarray(first - second), scores.cluster, weights, inputs.settings)
        for (a, b), contrast, p in zip(pairs, differences, contrasts.adjusted(differences), strict=True):
            keys: dict[str, Any] = {"variant": row.variant, "level": f"{a} - {b}"}
            yield _finding("region_difference", contrast, **keys)
            yield Finding(quantity="region_difference_p", value=p, n=contrast.n, **keys)


def _concentrations(
    scores: TaskScores,
    rows: Sequence[Row],
    floors: Mapping[str, str],
    weights: Weights,
    inputs: Inputs,
    params: RegionsParams,
) -> Iterator[Finding]:
    editors = [row.variant for row in rows if not row.control]
    for quantity in ("concentration", "concentration_excess"):
        gaps = {}
        for row in rows:
            floor = floors[row.variant]
            if quantity == "concentration_excess" and not floor:
                continue
            sides = []
            for group in (params.meaningful, params.others):
                values = _values(scores, row.variant, group)
                sides.append(values if quantity == "concentration" else values - _values(scores, floor, group))
            gap = _row_means(sides[0]) - _row_means(sides[1])
            (gaps[row.variant],) = contrasts.paired(gap[:, None], scores.cluster, weights, inputs.settings)
        tested = [variant for variant in editors if variant in gaps]
        adjusted = dict(zip(tested, contrasts.adjusted([gaps[v] for v in tested]), strict=True))
        for variant, contrast in gaps.items():
            note = f"{', '.join(params.meaningful)} against {', '.join(params.others)}"
            yield _finding(quantity, contrast, note, variant=variant)
            if variant in adjusted:
                yield Finding(quantity=f"{quantity}_p", variant=variant, value=adjusted[variant], n=contrast.n)


def _row_means(values: Values) -> Values:
    """Return the mean [N] of each case's regions, those that it shows; NaN where it shows none."""
    held = ~np.isnan(values)
    count = held.sum(axis=1)
    return np.asarray(np.where(held, values, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan))


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say for how many editors drift concentrates, with and without the floor, and which region drifts most."""
    alpha, sentences = 1 - inputs.settings.level, []
    for quantity, words in (
        ("concentration", "Mean deviation"),
        ("concentration_excess", "Deviation beyond the autoencoder's alone"),
    ):
        tested = [row for row in findings.select(f"{quantity}_p") if math.isfinite(row.value)]
        if not tested:
            continue
        gaps = {row.variant: findings.one(quantity, variant=row.variant) for row in tested}
        clear = [row.variant for row in tested if row.value < alpha]
        more = [inputs.labels[v] for v in clear if (gap := gaps[v]) is not None and gap.value > 0]
        less = [inputs.labels[v] for v in clear if (gap := gaps[v]) is not None and gap.value < 0]
        note = next((gap.note for gap in gaps.values() if gap is not None), "")
        sentences.append(
            f"{words} ({note}): greater in the former for {len(more)} of {len(tested)} editors"
            f"{f' ({_list(more)})' if more else ''}, smaller for {len(less)}{f' ({_list(less)})' if less else ''}, "
            f"not told apart for {len(tested) - len(clear)}."
        )
    editors = [row for row in inputs.rows if not row.control]
    for row in editors:
        ratios = [ratio for ratio in findings.select("relative", variant=row.variant) if math.isfinite(ratio.value)]
        if ratios:
            most = max(ratios, key=lambda ratio: ratio.value)
            sentences.append(
                f"{row.label}: most in the region {most.level}, {most.value:.2f} times the drift of the whole face "
                f"[{most.low:.2f}, {most.high:.2f}]."
            )
    return sentences


def _list(names: Sequence[str]) -> str:
    return "; ".join(names)


ANALYSIS = Analysis("regions", run, draw_regions, say, QUANTITIES, RegionsParams)
