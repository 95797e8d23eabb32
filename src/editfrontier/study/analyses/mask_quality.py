"""Effect of worse masks on edits: seams, background, success; and which editor tolerates them better (claim C16)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics import contrasts
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.masks import mask_table
from editfrontier.study.drawing.intervals import Series, draw_intervals, handles, of_finding
from editfrontier.study.drawing.panels import axis_label, legend_below, panels, scale_of, title
from editfrontier.study.drawing.theme import GREY
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import metric_display, row_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from editfrontier.statistics.bootstrap import Array
    from editfrontier.statistics.estimate import Effect, Estimate
    from editfrontier.study.designs.masks import MaskTable
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row, Table


@dataclass(frozen=True)
class MaskQualityParams:
    """Parameters of the analysis.

    Attributes:
        metrics: that masks are compared by; those that no case has are left out with a note.
        against: editor whose loss by worse masks every other editor's is compared with (the paper says that mask-guided
            editing bears them better than DragFlow).
    """

    metrics: tuple[str, ...] = ("boundary", "lpips_bg_masked", "success", "id_sim", "l2_true")
    against: str = "mask_guided"


QUANTITIES = {
    "iou": "mean IoU of a kind of mask with the exact mask",
    "mean": "mean of the metric with a kind of mask",
    "difference": "metric with a kind of mask less that with the exact mask, on the same edits",
    "difference_p": "p value of the difference, Holm's adjustment over editors and masks",
    "slope": "change of the metric from a mask without overlap to the exact one, within edits",
    "extra_loss": "how much more worse masks cost this editor than the one compared with; positive = more",
    "extra_loss_p": "p value of the extra loss, Holm's adjustment over editors",
}


@dataclass(frozen=True)
class _Data:
    """Scores of one experiment by mask, with the table's labels."""

    table: Table
    masks: MaskTable
    variants: list[str]
    metrics: list[str]
    rows: list[Row]


def _read(inputs: Inputs) -> _Data:
    name, table = inputs.only_experiment("on a task of the data set mask_quality")
    scores = inputs.scores(name)
    masks = mask_table(inputs.cases(table.task), scores)
    return _Data(table, masks, scores.variants, scores.metrics, list(table.rows))


def run(inputs: Inputs, params: MaskQualityParams) -> Sequence[Finding]:
    """Compare masks within editors, then editors by what masks cost them."""
    data = _read(inputs)
    weights = contrasts.resamples(data.masks.cluster, inputs.settings, inputs.name)
    findings = list(_overlaps(data, inputs, weights))
    editors = [row.variant for row in data.rows if not row.control]
    named = (row.variant for row in data.rows if not row.control and row.editor == params.against)
    against = next(named, params.against)
    for metric in params.metrics:
        if metric not in data.metrics:
            findings.append(Finding(quantity="mean", metric=metric, value=math.nan, note="no case has this metric"))
            continue
        findings += _means(data, inputs, weights, metric)
        findings += _differences(data, inputs, weights, metric, editors)
        findings += _slopes(data, inputs, weights, metric, editors)
    for metric in params.metrics:
        if metric in data.metrics:
            findings += _extra_losses(data, inputs, weights, metric, editors, against)
    return findings


def _finding(mean: Estimate, quantity: str, note: str = "", **keys: Any) -> Finding:
    return Finding(
        quantity=quantity, **mean.fields(), note=note or ("" if mean.n else "no edit has a value with both"), **keys
    )


def _overlaps(data: _Data, inputs: Inputs, weights: Array) -> Iterator[Finding]:
    means = contrasts.means(data.masks.iou, data.masks.cluster, weights, inputs.settings)
    for kind, mean in zip(data.masks.kinds, means, strict=True):
        yield _finding(mean, "iou", level=kind)


def _of(data: _Data, metric: str, variant: str) -> Array:
    """Return the values [U, K] of one variant and metric."""
    values: Array = data.masks.values[:, data.variants.index(variant), data.metrics.index(metric)]
    return values


def _places(data: _Data) -> list[float]:
    """Return the mean IoU of each kind of mask."""
    return [float(value) for value in np.nanmean(data.masks.iou, axis=0)]


def _means(data: _Data, inputs: Inputs, weights: Array, metric: str) -> Iterator[Finding]:
    kinds, binary = data.masks.kinds, METRICS[metric].binary
    for row in data.rows:
        values = _of(data, metric, row.variant)
        means = contrasts.means(values, data.masks.cluster, weights, inputs.settings, [binary] * len(kinds))
        for kind, place, mean in zip(kinds, _places(data), means, strict=True):
            note = "" if mean.n else "no case of this editor has the metric with this mask"
            yield _finding(mean, "mean", note, variant=row.variant, metric=metric, level=kind, x=place)


def _differences(data: _Data, inputs: Inputs, weights: Array, metric: str, editors: Sequence[str]) -> Iterator[Finding]:
    kinds = data.masks.kinds[1:]
    effects: dict[tuple[str, str], Effect] = {}
    for variant in editors:
        values = _of(data, metric, variant)
        gaps = values[:, 1:] - values[:, :1]
        tested = contrasts.paired(gaps, data.masks.cluster, weights, inputs.settings, METRICS[metric].binary)
        effects |= {(variant, kind): contrast for kind, contrast in zip(kinds, tested, strict=True)}
    places = dict(zip(data.masks.kinds, _places(data), strict=True))
    adjusted = contrasts.adjusted(list(effects.values()))
    for ((variant, kind), contrast), p in zip(effects.items(), adjusted, strict=True):
        keys: dict[str, Any] = {"variant": variant, "metric": metric, "level": kind, "x": places[kind]}
        yield _finding(contrast, "difference", **keys)
        yield Finding(quantity="difference_p", value=p, n=contrast.n, **keys)


def _slopes(data: _Data, inputs: Inputs, weights: Array, metric: str, editors: Sequence[str]) -> Iterator[Finding]:
    for variant in editors:
        values = _of(data, metric, variant)
        estimates = contrasts.slope_within(data.masks.iou, values, data.masks.cluster, weights)
        slopes = contrasts.of_estimates(
            estimates, values.mean(axis=1, keepdims=True), data.masks.cluster, inputs.settings
        )
        yield _finding(slopes[0], "slope", "per unit of IoU, edits as fixed effects", variant=variant, metric=metric)


def _extra_losses(
    data: _Data, inputs: Inputs, weights: Array, metric: str, editors: Sequence[str], against: str
) -> Iterator[Finding]:
    if against not in editors:
        note = f"'{against}' is no editor of the experiment"
        yield Finding(quantity="extra_loss", metric=metric, value=math.nan, note=note)
        return
    sign = -1.0 if metric_display(metric).direction == "higher" else 1.0
    losses = {}
    for variant in editors:
        values = _of(data, metric, variant)
        losses[variant] = sign * (values[:, 1:] - values[:, :1])
    others = [variant for variant in editors if variant != against]
    kinds = data.masks.kinds[1:]
    extra = {}
    for variant in others:
        gaps = losses[variant] - losses[against]
        held = ~np.isnan(gaps)
        overall = np.where(held, gaps, 0.0).sum(axis=1) / np.where(held.any(axis=1), held.sum(axis=1), np.nan)
        columns = np.column_stack([overall, gaps])
        extra[variant] = contrasts.paired(columns, data.masks.cluster, weights, inputs.settings)
    adjusted = contrasts.adjusted([extra[variant][0] for variant in others])
    name = inputs.labels[against]
    for variant, p in zip(others, adjusted, strict=True):
        keys: dict[str, Any] = {"variant": variant, "metric": metric}
        yield _finding(extra[variant][0], "extra_loss", f"mean over all worse masks, against {name}", **keys)
        yield Finding(quantity="extra_loss_p", value=p, n=extra[variant][0].n, **keys)
        for kind, contrast in zip(kinds, extra[variant][1:], strict=True):
            yield _finding(contrast, "extra_loss", f"against {name}", level=kind, **keys)


def draw(findings: Findings, inputs: Inputs, params: MaskQualityParams) -> Figure:
    """Draw each metric over the masks, from the exact one to the least like it, and the differences below."""
    kinds = [row.level for row in findings.select("iou")]
    metrics = [name for name in params.metrics if findings.select("difference", metric=name)]
    rows = [row for table in inputs.experiments.values() for row in table.rows]
    editors, look = [row for row in rows if not row.control], row_styles(rows)
    count = max(len(metrics), 1)
    figure, grid = panels(2 * count, (2.5, 2.3), columns=count, sharex=True)
    for line, quantity in enumerate(("mean", "difference")):
        for axes, metric in zip(grid[line * count :], metrics, strict=False):
            series = []
            for number, row in enumerate(editors):
                shift = 0.14 * (number - (len(editors) - 1) / 2)
                values = findings.select(quantity, metric=metric, variant=row.variant)
                points = [of_finding(value, kinds.index(value.level) + shift, scale_of(metric)) for value in values]
                series.append(Series(points, look[row.variant]))
            draw_intervals(axes, series, size=5.5)
            if quantity == "mean":
                title(axes, axis_label(metric))
            else:
                axes.axhline(0, color=GREY, linewidth=0.8)
            axes.set_xticks(range(len(kinds)), kinds, rotation=45, ha="right")
    grid[0].set_ylabel("mean")
    grid[count].set_ylabel("less the exact mask")
    entries = [Series((), look[row.variant], row.label) for row in editors]
    legend_below(figure, handles(entries), columns=len(editors))
    return figure


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say what masks cost, and who bears them better."""
    sentences = []
    overlaps = ", ".join(f"{row.level} {row.value:.2f}" for row in findings.select("iou") if row.level != "exact")
    images = max((row.n for row in findings.select("iou")), default=0)
    sentences.append(f"Mean IoU with the exact mask over {images} edits: {overlaps}.")
    tested = [row for row in findings.select("difference_p") if math.isfinite(row.value)]
    clear = [row for row in tested if row.value < 1 - inputs.settings.level]
    sentences.append(
        f"{len(clear)} of {len(tested)} differences to the exact mask are distinguishable from zero after Holm's "
        "adjustment within each metric."
    )
    for row in clear:
        (gap,) = findings.select("difference", variant=row.variant, metric=row.metric, level=row.level)
        sentences.append(
            f"{inputs.labels[row.variant]}, {row.level} mask: {metric_display(row.metric).label} changes by "
            f"{gap.value:+.3g} [{gap.low:+.3g}, {gap.high:+.3g}]."
        )
    sentences += _losses(findings, inputs)
    return sentences


def _losses(findings: Findings, inputs: Inputs) -> list[str]:
    """Say what worse masks cost more than the editor compared with: in seams, and wherever the data tell."""
    sentences, tested, clear = [], 0, 0
    for row in findings.select("extra_loss", level=""):
        p = findings.one("extra_loss_p", variant=row.variant, metric=row.metric)
        if p is None or not math.isfinite(row.value):
            continue
        sure = p.value < 1 - inputs.settings.level
        tested, clear = tested + 1, clear + sure
        if row.metric != "boundary" and not sure:
            continue
        word = "more" if row.value > 0 else "less"
        doubt = "" if sure else ", which the data do not tell from zero"
        sentences.append(
            f"Worse masks cost {inputs.labels[row.variant]} {abs(row.value):.3g} {word} in "
            f"{metric_display(row.metric).label} ({row.note.partition(', ')[2]}){doubt}."
        )
    if tested:
        sentences.append(f"{clear} of {tested} such comparisons between editors tell them apart.")
    return sentences


ANALYSIS = Analysis("mask_quality", run, draw, say, QUANTITIES, MaskQualityParams)
