"""What repeated edits look like: the images of one chain, an editor a row.

The chain is chosen by rule and never by hand: over the editors, its mean deviation in pixels after the last edit is the
median of all chains (the lower one of an even number); a chain that failed for some editor is only taken if all did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.data.cases import read_image
from editfrontier.study.analysis import Analysis, NoParams
from editfrontier.study.designs.chains import chain_data
from editfrontier.study.drawing.images import draw_image, head, image_grid, label_left
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import row_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from editfrontier.study.designs.chains import ChainData
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row

_CELL = 0.82  # inches
_TEXT = 1.6


def run(inputs: Inputs, params: NoParams) -> Sequence[Finding]:
    """Return the deviation of each image that is shown; the level is the chain."""
    data = chain_data(inputs, inputs.only_experiment("on a task that has chains")[0])
    rows = shown_rows(inputs)
    number = typical_chain(data, rows)
    chain = data.chains[number]
    findings = []
    for row in rows:
        for k, value in enumerate(data.values(row.variant, "l2_source")[number, : len(chain)], start=1):
            note = "" if math.isfinite(value) else "there is no image"
            findings.append(
                Finding(
                    quantity="l2_source",
                    variant=row.variant,
                    metric="l2_source",
                    level=chain[0].chain,
                    x=k,
                    value=float(value),
                    n=int(math.isfinite(value)),
                    note=note,
                )
            )
    return findings


def shown_rows(inputs: Inputs) -> list[Row]:
    """Return the rows of the strip, without the control that shows the original once more."""
    return [row for row in {row.variant: row for row in inputs.rows}.values() if row.editor != "source"]


def typical_chain(data: ChainData, rows: Sequence[Row]) -> int:
    """Return the number of the chain whose deviation after the last edit, averaged over the editors, is the median."""
    editors = [row.variant for row in rows if not row.control] or [row.variant for row in rows]
    values = np.stack([data.values(variant, "l2_source") for variant in editors])  # [V, C, K]
    last = np.array([values[:, number, len(chain) - 1] for number, chain in enumerate(data.chains)])  # [C, V]
    complete = np.isfinite(last).all(1)
    usable = complete if complete.any() else np.isfinite(last).any(1)
    if not usable.any():
        return 0
    numbers = np.flatnonzero(usable)
    means = np.nanmean(last[numbers], axis=1)
    order = sorted(range(len(numbers)), key=lambda i: (means[i], data.chains[numbers[i]][0].chain))
    return int(numbers[order[(len(order) - 1) // 2]])


def draw(findings: Findings, inputs: Inputs, params: NoParams) -> Figure:
    """Draw the original and the image after every edit, a row an editor."""
    data = chain_data(inputs, inputs.only_experiment("on a task that has chains")[0])
    rows, task = shown_rows(inputs), data.scores.task
    chain = data.chains[typical_chain(data, rows)]
    source, look = read_image(inputs.folder(task) / chain[0].image), row_styles(rows)
    figure, grid = image_grid(len(rows), len(chain) + 1, _CELL, left=_TEXT, above=0.42, foot=0.03)
    for cells, row in zip(grid, rows, strict=False):
        images = inputs.images(task, row.variant)
        edited = [read_image(images[case.case_id]) if case.case_id in images else None for case in chain]
        for axes, image in zip(cells, [source, *edited], strict=True):
            draw_image(axes, image, "no image")
        label_left(cells[0], row.label, _TEXT - 0.15, 3, look[row.variant].colour)
    for k, axes in enumerate(grid[0]):
        head(axes, f"k = {k}" if k else "original", _CELL)
    instructions = "; then ".join(f"\u201c{text}\u201d" for text in dict.fromkeys(case.instruction for case in chain))
    height = figure.get_figheight()
    figure.text(0.004, 1 - 0.13 / height, instructions, fontsize=8, weight="bold", va="center")
    return figure


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say which editor keeps the shown image nearest to the original, and which takes it farthest."""
    ends = []
    for row in inputs.rows:
        held = [finding for finding in findings.select(variant=row.variant) if math.isfinite(finding.value)]
        if held and not row.control:
            ends.append((held[-1].value, row.label, int(held[-1].x)))
    if len(ends) < 2:
        return []
    (near, first, k), (far, last, _) = min(ends), max(ends)
    return [
        f"Of the shown images {first} stays nearest to the original ({near:.3f} root mean square after {k} edits) and "
        f"{last} ends farthest from it ({far:.3f})."
    ]


ANALYSIS = Analysis(
    name="film_strip",
    run=run,
    draw=draw,
    say=say,
    quantities={"l2_source": "root mean squared difference to the original of the shown image after x edits"},
    params=NoParams,
    pixels=True,
)
