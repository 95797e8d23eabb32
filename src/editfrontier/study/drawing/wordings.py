"""Figure of prompt sensitivity: differences by their kind, and the worst pairs of wordings side by side."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.data.cases import read_image
from editfrontier.study.drawing.plotting import save_figure
from editfrontier.study.drawing.theme import figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from editfrontier.study.findings import Finding, Findings
    from editfrontier.study.inputs import Inputs

_KINDS = {"two wordings": ("#D55E00", "o"), "two seeds": ("#0072B2", "s"), "output and source": ("#6B6B6B", "D")}


def draw_wordings(findings: Findings, inputs: Inputs, stem: Path) -> None:
    """Draw the findings of the analysis "sensitivity".

    Above, the mean difference of outputs of two wordings, of two seeds, and of output and source, for every variant;
    below, for every variant in a row, the source and the outputs of the two wordings that are farthest apart.
    """
    variants = list(dict.fromkeys(row.variant for row in findings.select("distance")))
    worst = {name: findings.select("worst_pair", variant=name) for name in variants}
    shown = [name for name in variants if worst[name]]
    pairs = max((len(rows) for rows in worst.values()), default=0)
    with figure_style():
        import matplotlib.pyplot as plt

        top, below = 0.42 * max(len(variants), 1) + 0.9, 1.55 * len(shown)
        figure = plt.figure(figsize=(max(3.9 * pairs, 5.0), top + below), layout="constrained")
        parts = figure.subfigures(2 if shown else 1, 1, height_ratios=[top, below] if shown else None, squeeze=False)
        _differences(parts[0, 0].subplots(), findings, inputs, variants)
        if shown:
            _pairs(parts[1, 0], {name: worst[name] for name in shown}, pairs, inputs)
        save_figure(figure, stem)


def _differences(axes: Axes, findings: Findings, inputs: Inputs, variants: list[str]) -> None:
    for offset, (level, (colour, marker)) in zip((-0.2, 0.0, 0.2), _KINDS.items(), strict=True):
        for place, name in enumerate(variants):
            row = findings.one("distance", variant=name, level=level)
            if row is None:
                continue
            if math.isfinite(row.ci_low):
                axes.plot([row.ci_low, row.ci_high], [place + offset] * 2, color=colour, linewidth=1.1)
            label = level if place == 0 else None
            axes.plot(
                row.value, place + offset, marker=marker, color=colour, markersize=4.5, linestyle="none", label=label
            )
    axes.set_yticks(range(len(variants)))
    axes.set_yticklabels([inputs.labels.get(name, name) for name in variants])
    axes.set_ylim(max(len(variants), 1) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("mean RMS difference of pixels")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


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
            source = inputs.folder(table.task) / cases[ids[0]].image
            title = f"{inputs.labels.get(name, name)}: source"
            for column, (file, text) in enumerate(
                zip([source, *(images[case_id] for case_id in ids)], [title, *words], strict=True)
            ):
                axes = grid[line, 3 * number + column]
                axes.imshow(read_image(file), interpolation="nearest")
                axes.set_title("\n".join(textwrap.wrap(text, 24, max_lines=5, placeholder=" ...")), fontsize=6.5)
