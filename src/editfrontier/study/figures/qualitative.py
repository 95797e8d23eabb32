"""The qualitative grid as a figure: cases chosen by rule, and the worst cases of every editor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from editfrontier.data.cases import read_image
from editfrontier.study.drawing.images import draw_image, head, image_grid, label_left, outline
from editfrontier.study.drawing.theme import MASK
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
    from matplotlib.figure import Figure as Drawing

_CELL, _TEXT, _HEAD = 0.92, 1.55, 0.35  # inches
_GAP = 0.18  # between the worst cases of two editors, as a part of an image


def draw(inputs: FigureInputs, cases: int = 6, worst: int = 2) -> Drawing:
    """Draw source with mask, true edit and every editor of a table for some cases, then each editor's worst cases.

    Args:
        inputs: the rows of the table that are no controls give the columns.
        cases: rows of the grid, chosen by `gallery.balanced_choice`.
        worst: worst cases of each editor, those with the least identity similarity.
    """
    rows = [row for row in inputs.table.rows if not row.control]
    results = read_task(inputs.root, inputs.table.task, [row.variant for row in rows])
    usable = [case for case in results.cases if readable(results, case)]
    chosen = balanced_choice(usable, cases, inputs.seed)
    truth = any(case.true_edit for case in chosen)
    columns = ["Source and mask", *(["True edit"] if truth else []), *(row.label for row in rows)]
    width = _TEXT + _CELL * len(columns)
    strip = len(rows) * 2 * worst + max(len(rows) - 1, 0) * _GAP  # in images
    tile = width / strip if strip else 0.0
    figure, grid = image_grid(
        len(chosen), len(columns), _CELL, left=_TEXT, above=_HEAD, foot=tile + 0.55 if strip else 0.04
    )
    for cells, case in zip(grid, chosen, strict=False):
        true = [read_image(results.folder / case.true_edit) if case.true_edit else None] if truth else []
        edited = [edited_image(results, row.variant, case) for row in rows]
        for axes, image in zip(cells, [source_image(results, case), *true, *edited], strict=True):
            draw_image(axes, image)
        outline(cells[0], mask_image(results, case), MASK)
        label_left(cells[0], case.instruction or case.target_caption, _TEXT - 0.15)
    for axes, name in zip(grid[0], columns, strict=True):
        head(axes, name, _CELL - 0.06)
    if strip:
        _draw_worst(figure, tile, rows, results, worst)
    return figure


def _draw_worst(figure: Drawing, tile: float, rows: Sequence[Row], results: TaskResults, worst: int) -> None:
    """Draw the worst cases of every editor side by side at the foot of the figure, images of `tile` inches."""
    height, look = figure.get_figheight(), styles([row.editor for row in rows])
    title = "Worst cases of each editor: least identity similarity (source, edit)"
    figure.text(0.004, (tile + 0.4) / height, title, fontsize=8, weight="bold")
    widths = [part for _ in rows for part in (*[1.0] * (2 * worst), _GAP)][:-1]
    place = {"top": (tile + 0.02) / height, "bottom": 0.02 / height, "left": 0.004, "right": 0.998, "wspace": 0.04}
    strip = figure.add_gridspec(1, len(widths), width_ratios=widths, **place)
    for index, row in enumerate(rows):
        start = index * (2 * worst + 1)  # one narrow column stands between two editors
        for rank, case_id in enumerate(worst_cases(results.variants[row.variant], worst)):
            case = results.by_id.get(case_id)
            pair = (source_image(results, case), edited_image(results, row.variant, case)) if case else (None, None)
            for side, image in enumerate(pair):
                axes = figure.add_subplot(strip[0, start + 2 * rank + side])
                draw_image(axes, image)
                if rank == 0 and side == 0:
                    inches = 2 * worst * tile - 0.04
                    head(axes, row.label, inches, 1 if worst > 1 else 2, 7, loc="left", color=look[row.editor].colour)


FIGURE = Figure(
    name="qualitative",
    title="Images",
    caption="Cases chosen by a fixed rule, one of each kind of edit in turn in a seeded order: source with the outline "
    "of its edit mask, the true edit, and every editor. The strip below shows the cases in which each editor kept "
    "least of the identity.",
    alt="Grid of source, true edit and the result of each editor for cases chosen by rule",
    draw=draw,
    section="images",
    needs=("scores", "cases"),
    pixels=True,
)
