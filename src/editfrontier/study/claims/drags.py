"""Claims on region drags and masks (section 5.4, Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.statistics.estimate import Estimate
from editfrontier.study.claim import claim
from editfrontier.study.judging.decision import Part
from editfrontier.study.judging.verdict import Absent, Verdict
from editfrontier.study.results.naming import editor_label, metric_display

if TYPE_CHECKING:
    from editfrontier.statistics.taskscores import TaskScores
    from editfrontier.study.judging.evidence import Evidence
    from editfrontier.study.results.naming import Row


@claim
def ordered(evidence: Evidence, *, table: str, rows: Sequence[str], metrics: Sequence[str], margin: float) -> Verdict:
    """In every metric each row is better than all that follow it."""
    ranked = [evidence.row(table, name) for name in rows]
    return evidence.decide(
        [
            evidence.better(table, first, later, metric, margin)
            for metric in metrics
            for place, first in enumerate(ranked)
            for later in ranked[place + 1 :]
        ]
    )


@claim
def struggles(
    evidence: Evidence,
    *,
    table: str,
    editor: str,
    metric: str,
    controls: Sequence[str],
    hard: dict[str, Sequence[str]],
    margin: float,
) -> Verdict:
    """A method achieves less of what can be achieved on hard parts of the cases than on easy ones.

    Parts differ in how good an unedited image already is, so the measure is the share of the way from the first control
    (nothing edited) to the second (the true edit) that the method goes, in a ratio of means.

    hard: how cases are split -> [hard part, easy parts...].
    """
    row = evidence.row(table, editor)
    ends = [evidence.row(table, name) for name in controls]
    data = evidence.scores(table, [row, *ends])
    parts = []
    for split, names in hard.items():
        groups = evidence.parts_of_cases(table, split)
        missing = [name for name in names if name not in groups]
        if missing:
            raise Absent(f"No case of the experiment '{table}' is '{missing[0]}' by {split}.")
        easy = [case for name in names[1:] for case in groups[name]]
        effect = gap_of_gains(evidence, data, metric, groups[names[0]], easy, row)
        what = f"{row.label}, {names[0]} minus {' and '.join(names[1:])}, share of the possible gain in {metric}"
        parts.append(Part(what=what, effect=effect, below=-margin))
    return evidence.decide(parts)


@claim
def suffers_from_masks(
    evidence: Evidence, *, analysis: str, editor: str, metric: str, mask: str, margin: float
) -> Verdict:
    """Masks that are not exact worsen a metric of a method, and more so than they do for mask-guided editing.

    mask: the kind of mask whose effect is taken; what worse masks cost in comparison is a mean over all kinds.
    """
    name, label = editor_label(editor), metric_display(metric).label
    loss = evidence.finding(analysis, "difference", editor, metric=metric, level=mask)
    extra = evidence.finding(analysis, "extra_loss", editor, metric=metric, level="")
    return evidence.decide(
        [
            Part(what=f"{name}, {label} with {mask} masks less with exact ones", effect=loss, above=margin),
            Part(what=f"{name}, further loss against mask-guided editing, {label}", effect=extra, above=margin),
        ]
    )


def gap_of_gains(
    evidence: Evidence, data: TaskScores, metric: str, hard: Sequence[str], easy: Sequence[str], row: Row
) -> Estimate:
    """Return gain(hard) - gain(easy), gain = mean of (editor - nothing) / mean of (truth - nothing).

    data: scores of the variants editor, nothing, truth, in this order.
    """
    from editfrontier.study.judging.resampling import resample, sums

    if metric not in data.metrics:
        raise Absent(f"No case has the metric '{metric}'.")
    edited, nothing, truth = data.values[:, :, data.metrics.index(metric)].T
    known = np.isfinite(edited) & np.isfinite(nothing) & np.isfinite(truth)
    totals = []
    for cases in (hard, easy):
        member = np.isin(np.array(data.case_ids), list(cases)) & known
        totals.append([sums(np.where(member, v - nothing, 0.0), data.cluster, data.clusters) for v in (edited, truth)])

    def gap(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            first, second = ((weights @ done) / (weights @ possible) for done, possible in totals)
        return first - second

    return resample(gap, data.clusters, evidence.settings, int(known.sum()), "gains", row.variant, *map(str, hard))
