"""Figure of prompt sensitivity: differences by their kind, and the worst pairs of wordings side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from editfrontier.data.cases import read_image
from editfrontier.study.drawing.images import draw_image, head
from editfrontier.study.drawing.intervals import Series, draw_intervals, handles, of_finding
from editfrontier.study.drawing.panels import name_rows
from editfrontier.study.drawing.theme import BLUE, VERMILION
from editfrontier.study.results.naming import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from editfrontier.study.findings import Finding, Findings
    from editfrontier.study.inputs import Inputs

_KINDS = {
    "two wordings": Style(VERMILION, "o", False),
    "two seeds": Style(BLUE, "s", False),
    "output and source": Style("#6B6B6B", "D", False),
}
_IMAGE = 1.3  # inches


def draw_wordings(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw the findings of the analysis "sensitivity".

    Above, the mean difference of outputs of two wordings, of two seeds, and of output and source, for every variant;
    below, for every variant in a row, the source and the outputs of the two wordings that are farthest apart.
    """
    import matplotlib.pyplot as plt

    variants = list(dict.fromkeys(row.variant for row in findings.select("distance")))
    worst = {name: rows for name in variants if (rows := findings.select("worst_pair", variant=name))}
    pairs = max(map(len, worst.values()), default=0)
    above, below = 0.42 * max(len(variants), 1) + 0.9, 1.95 * len(worst)
    figure = plt.figure(figsize=(max(3 * _IMAGE * pairs, 5.0), above + below), layout="constrained")
    heights = [above, below] if worst else [above]
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    _differences(parts[0, 0].subplots(), findings, inputs, variants)
    if worst:
        _pairs(parts[1, 0], worst, pairs, inputs)
    return figure


def _differences(axes: Axes, findings: Findings, inputs: Inputs, variants: list[str]) -> None:
    series = []
    for offset, (level, style) in zip((-0.2, 0.0, 0.2), _KINDS.items(), strict=True):
        rows = [(place, findings.one("distance", variant=name, level=level)) for place, name in enumerate(variants)]
        series.append(Series([of_finding(row, place + offset) for place, row in rows if row], style, level))
    draw_intervals(axes, series, horizontal=True, size=5)
    name_rows(axes, [inputs.labels.get(name, name) for name in variants])
    axes.set_xlim(left=0)
    axes.set_xlabel("mean RMS difference of pixels")
    entries = handles([kind for kind in series if kind.points], 5)
    axes.legend(handles=entries, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _pairs(part: SubFigure, worst: dict[str, list[Finding]], pairs: int, inputs: Inputs) -> None:
    (table,) = inputs.experiments.values()
    cases = {case.case_id: case for case in inputs.cases(table.task)}
    grid = part.subplots(len(worst), 3 * pairs, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (name, rows) in enumerate(worst.items()):
        images = inputs.images(table.task, name)
        for number, row in enumerate(rows):
            ids, words = row.level.split(" | "), row.note.split(" | ")
            files = [inputs.folder(table.task) / cases[ids[0]].image, *(images[case_id] for case_id in ids)]
            texts = [f"{inputs.labels.get(name, name)}: source", *words]
            for axes, file, text in zip(grid[line, 3 * number :], files, texts, strict=False):
                draw_image(axes, read_image(file))
                head(axes, text, _IMAGE - 0.1, 5, 6.5)
