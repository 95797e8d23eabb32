"""The qualitative grid as a figure: cases chosen by rule, and the worst cases of every editor."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from editfrontier.data.cases import Case, read_image
from editfrontier.study.drawing.images import draw_image
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.gallery import (
    TaskResults,
    balanced_choice,
    edited_image,
    mask_image,
    read_task,
    readable,
    source_image,
    worst_cases,
)
from editfrontier.study.results.naming import Row, styles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure as Drawing
    from matplotlib.gridspec import GridSpec

_CELL = 0.92  # inches
_TEXT = 1.55


def draw(inputs: FigureInputs, cases: int = 6, worst: int = 2) -> Drawing:
    """Draw source with mask, true edit and every editor of a table for some cases, then each editor's worst cases.

    Args:
        inputs: the rows of the table that are no controls give the columns.
        cases: rows of the grid, chosen by `gallery.balanced_choice`.
        worst: worst cases of each editor, those with the least identity similarity.
    """
    import matplotlib.pyplot as plt
    from matplotlib.gridspec import GridSpec

    rows = [row for row in inputs.table.rows if not row.control]
    results = read_task(inputs.root, inputs.table.task, [row.variant for row in rows])
    usable = [case for case in results.cases if readable(results, case)]
    chosen = balanced_choice(usable, cases, inputs.seed)
    truth = any(case.true_edit for case in chosen)
    columns = ["Source and mask", *(["True edit"] if truth else []), *(row.label for row in rows)]
    look = styles([row.editor for row in rows])
    count = max(len(columns), 1)
    width = _TEXT + _CELL * count
    widths = _widths(len(rows), worst) if worst else []
    tile = width / sum(widths) if widths else 0.0
    strip_height = tile + 0.55 if widths else 0.0
    height = _CELL * len(chosen) + 0.35 + strip_height
    figure = plt.figure(figsize=(width, height))
    top = 1 - 0.35 / height
    bottom = strip_height / height
    left = _TEXT / width
    grid = GridSpec(
        max(len(chosen), 1),
        count,
        figure=figure,
        left=left,
        right=0.998,
        top=top,
        bottom=bottom,
        wspace=0.05,
        hspace=0.05,
    )
    for position, case in enumerate(chosen):
        _case_row(figure, grid, position, case, results, rows, truth, columns)
    if widths:
        strip = GridSpec(
            1,
            len(widths),
            figure=figure,
            left=0.004,
            right=0.998,
            top=(tile + 0.02) / height,
            bottom=0.02 / height,
            width_ratios=widths,
            wspace=0.04,
        )
        title = "Worst cases of each editor: least identity similarity (source, edit)"
        figure.text(0.004, (tile + 0.3) / height, title, fontsize=8, weight="bold")
        for index, row in enumerate(rows):
            _worst_strip(figure, strip, index, row, results, worst, look[row.editor].colour)
    return figure


def _widths(editors: int, worst: int) -> list[float]:
    widths: list[float] = []
    for index in range(editors):
        widths += ([0.18] if index else []) + [1.0] * (2 * worst)
    return widths


def _case_row(
    figure: Drawing,
    grid: GridSpec,
    position: int,
    case: Case,
    results: TaskResults,
    rows: Sequence[Row],
    truth: bool,
    columns: Sequence[str],
) -> None:
    images: list[npt.NDArray[np.uint8] | None] = [source_image(results, case)]
    if truth:
        images.append(read_image(results.folder / case.true_edit) if case.true_edit else None)
    images += [edited_image(results, row.variant, case) for row in rows]
    for column, image in enumerate(images):
        axes = figure.add_subplot(grid[position, column])
        draw_image(axes, image)
        if column == 0:
            mask = mask_image(results, case)
            if mask is not None and mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors=["white"], linewidths=1.8)
                axes.contour(mask, levels=[0.5], colors=["#D5006D"], linewidths=0.9)
            text = "\n".join(textwrap.wrap(case.instruction or case.target_caption, 26)[:4])
            axes.text(-0.08, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=7)
        if position == 0:
            axes.set_title("\n".join(textwrap.wrap(columns[column], 16)[:2]), fontsize=7.5)


def _worst_strip(
    figure: Drawing, strip: GridSpec, index: int, row: Row, results: TaskResults, worst: int, colour: str
) -> None:
    start = index * (2 * worst + 1)  # one narrow column stands between two editors
    for rank, case_id in enumerate(worst_cases(results.variants[row.variant], worst)):
        case = results.by_id.get(case_id)
        pair = (source_image(results, case), edited_image(results, row.variant, case)) if case else (None, None)
        for side, image in enumerate(pair):
            axes = figure.add_subplot(strip[0, start + 2 * rank + side])
            draw_image(axes, image)
            if rank == 0 and side == 0:
                name = textwrap.shorten(row.label, 13 * worst, placeholder="…")
                axes.set_title(name, fontsize=7, loc="left", color=colour)


FIGURE = Figure(
    name="qualitative",
    title="Images",
    caption="Cases chosen by a fixed rule, one of each kind of edit in turn in a seeded order: source with the outline "
    "of its edit mask, the true edit, and every editor. The strip below shows the cases in which each editor kept "
    "least of the identity.",
    alt="Grid of source, true edit and the result of each editor for cases chosen by rule",
    draw=draw,
    needs=("scores", "cases"),
    pixels=True,
)
