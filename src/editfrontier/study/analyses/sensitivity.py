"""Prompt sensitivity (C08): how far outputs differ between wordings of one instruction, and between seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.editing.editor import get_editor
from editfrontier.scoring.metrics import get_metric
from editfrontier.statistics import bootstrap
from editfrontier.statistics.components import crossed_components, pair_means
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.sweeps import short
from editfrontier.study.designs.wordings import clip_towards_first, compare_outputs, read_design
from editfrontier.study.drawing.wordings import draw_wordings
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import metric_display

if TYPE_CHECKING:
    from editfrontier.statistics.bootstrap import Array
    from editfrontier.study.designs.wordings import Outputs, WordingDesign
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row


@dataclass(frozen=True)
class SensitivityParams:
    """Parameters.

    Attributes:
        metrics: whose variance is taken apart. clip_directional is measured against the captions of the first wording.
        worst: pairs of wordings that are shown for each variant.
    """

    metrics: tuple[str, ...] = ("success", "clip_directional", "id_sim")
    worst: int = 2


QUANTITIES = {
    "distance": "mean RMS pixel difference of outputs of the kind that the level names",
    "distance_ratio": "difference between wordings over that between seeds",
    "distance_share": "difference between wordings over the change that the edit makes",
    "variance": "variance component of the factor that the level names",
    "variance_ratio": "variance of the wording over the variance of the seed",
    "pair_difference": "mean absolute difference of the metric between two outputs of the kind that the level names",
    "worst_pair": "largest RMS difference of two wordings at one seed, of the edit and wordings that the level names",
}
WORDINGS, SEEDS, CHANGE = "two wordings", "two seeds", "output and source"
FACTORS = ("wording", "seed", "rest")


def run(inputs: Inputs, params: SensitivityParams) -> Sequence[Finding]:
    """Measure every variant of the one experiment; edits with a failed cell are left out, and the notes count them."""
    experiment, table = inputs.only_experiment("on a task of the data set 'wordings'")
    for name in params.metrics:
        get_metric(name)
    design = read_design(inputs.cases(table.task), inputs.name)
    findings: list[Finding] = []
    for row in inputs.editors(experiment):
        outputs = compare_outputs(inputs, table.task, row.variant, design)
        findings += _distances(inputs, row, design, outputs)
        for metric in params.metrics:
            findings += _components(inputs, experiment, row, design, metric)
        findings += _worst(row, design, outputs, params.worst)
    return findings


def _distances(inputs: Inputs, row: Row, design: WordingDesign, outputs: Outputs) -> list[Finding]:
    columns = np.stack([outputs.wordings, outputs.seeds, outputs.change], axis=1)
    cells = design.cells.shape[1] * design.cells.shape[2]
    names = [("distance", level) for level in (WORDINGS, SEEDS, CHANGE)]
    ratios = [("distance_ratio", "", 0, 1), ("distance_share", "", 0, 2)]
    return _means(inputs, row, "", columns, names, ratios, (len(design.cells), cells))


def _components(inputs: Inputs, experiment: str, row: Row, design: WordingDesign, metric: str) -> list[Finding]:
    values = _values(inputs, experiment, row, design, metric)[design.cells]  # [E, W, S]
    values = values[~np.isnan(values).any(axis=(1, 2))]
    between = np.abs(values[:, :, :, None, None] - values[:, None, None])
    parts = [crossed_components(values), *(part[:, None] for part in pair_means(between))]
    names = [*(("variance", factor) for factor in FACTORS), ("pair_difference", WORDINGS), ("pair_difference", SEEDS)]
    shape = len(design.cells), design.cells.shape[1] * design.cells.shape[2]
    return _means(inputs, row, metric, np.concatenate(parts, axis=1), names, [("variance_ratio", "", 0, 1)], shape)


def _values(inputs: Inputs, experiment: str, row: Row, design: WordingDesign, metric: str) -> Array:
    """Return a metric [N] of every case of the task, NaN where it has none."""
    if metric == "clip_directional":
        return clip_towards_first(inputs, inputs.experiments[experiment].task, row.variant, design)
    data = inputs.scores(experiment, [row.variant])
    if metric not in data.metrics:
        return np.full(len(design.cases), np.nan)
    values = dict(zip(data.case_ids, data.values[:, 0, data.metrics.index(metric)], strict=True))
    return np.array([values.get(case.case_id, math.nan) for case in design.cases], dtype=np.float64)


def _means(
    inputs: Inputs,
    row: Row,
    metric: str,
    columns: Array,
    names: Sequence[tuple[str, str]],
    ratios: Sequence[tuple[str, str, int, int]],
    shape: tuple[int, int],
) -> list[Finding]:
    """Return means over edits of columns [e, K], and ratios of two of them, with intervals over edits.

    Args:
        names: (quantity, level) of each column.
        ratios: (quantity, level, column above, column below).
        shape: edits of the design, and cases of each.
    """
    edits, settings = len(columns), inputs.settings
    missing = shape[0] - edits
    note = f"{missing} of {shape[0]} edits left out that lack a value" if missing else ""
    about = Finding(quantity="", variant=row.variant, metric=metric, value=math.nan, n=edits * shape[1], note=note)
    if not edits:
        empty = [*names, *((quantity, level) for quantity, level, *_ in ratios)]
        return [replace(about, quantity=quantity, level=level) for quantity, level in empty]
    estimates = bootstrap.means(columns, np.arange(edits), inputs.weights(edits))
    low, high = bootstrap.intervals(estimates, settings.level, settings.interval)
    findings = []
    for (quantity, level), *numbers in zip(names, estimates.point, low, high, strict=True):
        value, lower, upper = map(float, numbers)
        findings.append(replace(about, quantity=quantity, level=level, value=value, low=lower, high=upper))
    for quantity, level, above, below in ratios:
        if estimates.point[below] <= 0:
            why = "nothing to divide by: the seed changes nothing that can be told from the rest"
            findings.append(replace(about, quantity=quantity, level=level, note=why))
            continue
        value = float(estimates.point[above] / estimates.point[below])
        # Where the divisor is not positive in a resample, the ratio is beyond any bound.
        divisor = estimates.resampled[:, below]
        spread = np.where(divisor > 0, estimates.resampled[:, above] / np.where(divisor > 0, divisor, 1.0), np.inf)
        ends = np.quantile(spread, settings.tails, method="nearest") if edits > 1 else np.full(2, np.nan)
        low_end, high_end = float(ends[0]), float(ends[1])
        findings.append(replace(about, quantity=quantity, level=level, value=value, low=low_end, high=high_end))
    return findings


def _worst(row: Row, design: WordingDesign, outputs: Outputs, count: int) -> list[Finding]:
    """Return the pairs of wordings whose outputs differ most, one an edit."""
    order = sorted(range(len(outputs.worst)), key=lambda i: -outputs.worst[i][0])[:count]
    findings = []
    for i in order:
        distance, first, second, seed = outputs.worst[i]
        cases = [design.cases[int(design.cells[outputs.edits[i], wording, seed])] for wording in (first, second)]
        ids, words = (" | ".join(parts) for parts in zip(*((c.case_id, words_of(row, c)) for c in cases), strict=True))
        about: dict[str, Any] = {"variant": row.variant, "level": ids, "note": words}
        findings.append(Finding(quantity="worst_pair", value=distance, n=2, **about))
    return findings


def words_of(row: Row, case: object) -> str:
    """Return the words that a row's editor reads of a case: the instruction, or the target caption."""
    name = "instruction" if "instruction" in get_editor(row.editor).needs else "target_caption"
    return str(getattr(case, name))


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how the difference between wordings compares with that between seeds and with the edit itself."""
    sentences = []
    for variant in dict.fromkeys(row.variant for row in findings.rows):
        label = inputs.labels.get(variant, variant)
        ratio, share = (findings.one(name, variant=variant) for name in ("distance_ratio", "distance_share"))
        if ratio is None or share is None:
            notes = [row.note for row in findings.select("distance_ratio", variant=variant)]
            sentences.append(f"{label}: no edit can be compared ({notes[0] if notes else 'nothing was run'}).")
            continue
        sentences.append(
            f"{label}: outputs of two wordings at one seed differ {short(ratio.value)} times as much as those of two "
            f"seeds at one wording ({short(ratio.low)} to {short(ratio.high)}); other words "
            f"move {100 * share.value:.0f}% of what the edit changes ({100 * share.low:.0f}% to "
            f"{100 * share.high:.0f}%)."
        )
        flips = [
            findings.one("pair_difference", variant=variant, metric="success", level=of) for of in (WORDINGS, SEEDS)
        ]
        if all(row is not None for row in flips):
            rates = [f"{100 * row.value:.0f}%" for row in flips if row is not None]
            sentences.append(
                f"{label}: of two wordings, one succeeds and the other fails in {rates[0]} of the pairs; of two seeds "
                f"in {rates[1]}."
            )
        for ratio in findings.select("variance_ratio", variant=variant):
            if math.isfinite(ratio.value) and ratio.metric != "success":
                sentences.append(
                    f"{label}, {metric_display(ratio.metric).label}: the wording's variance is {short(ratio.value)} "
                    f"times the seed's ({short(ratio.low)} to {short(ratio.high)})."
                )
    return sentences


ANALYSIS = Analysis(
    name="sensitivity",
    run=run,
    draw=draw_wordings,
    say=say,
    quantities=QUANTITIES,
    params=SensitivityParams,
    pixels=True,
)
