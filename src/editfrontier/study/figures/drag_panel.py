"""The panel of drags: cases with the regions drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.data.cases import Case, read_image
from editfrontier.statistics.subsets import SPLITS
from editfrontier.study.drawing.images import draw_image, head, image_grid, label_left, outline
from editfrontier.study.drawing.theme import BLUE, INK, MASK, SOFT_INK
from editfrontier.study.figure import Figure, FigureInputs
from editfrontier.study.results.gallery import (
    TaskResults,
    balanced_choice,
    edited_image,
    read_task,
    readable,
    regions_of,
    source_image,
)
from editfrontier.study.results.naming import Row, metric_display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from editfrontier.data.regions import Region

SOURCE_COLOUR, TARGET_COLOUR = MASK, BLUE
_SHOWN_CONTROLS = ("copy_paste",)
_CELL, _TEXT, _NOTE = 1.0, 1.5, 0.17  # inches
_STILL = 1.0  # pixels; an arrow as short as this says nothing


def draw(inputs: FigureInputs) -> Drawing:
    """Draw one case of each kind of drag: source with its regions, every editor, the true result.

    The source's region has a solid outline, its target a dashed one, which every result repeats. Columns are the
    table's rows that are no controls, and copy and paste.
    """
    rows = [row for row in inputs.table.rows if not row.control or row.editor in _SHOWN_CONTROLS]
    results = read_task(inputs.root, inputs.table.task, [row.variant for row in rows])
    usable = [case for case in results.cases if readable(results, case)]
    order = list(dict.fromkeys(case.edit_type for case in usable))
    chosen = sorted(balanced_choice(usable, len(order), inputs.seed), key=lambda case: order.index(case.edit_type))
    columns = ["Source and drag", *(row.label for row in rows), "True result"]
    figure, grid = image_grid(len(chosen), len(columns), _CELL, left=_TEXT, above=0.54, below=_NOTE)
    for case, cells in zip(chosen, grid, strict=False):
        _draw_case(cells, case, results, rows)
    for axes, name in zip(grid[0], columns, strict=True):
        head(axes, name, _CELL - 0.06, 3)
    return figure


def _draw_case(cells: Sequence[Axes], case: Case, results: TaskResults, rows: Sequence[Row]) -> None:
    regions = regions_of(results, case)
    edited = [edited_image(results, row.variant, case) for row in rows]
    true = read_image(results.folder / case.true_edit) if case.true_edit else None
    for place, (axes, image) in enumerate(zip(cells, [source_image(results, case), *edited, true], strict=True)):
        draw_image(axes, image, "failed" if place else "")
        for region in regions if image is not None else ():
            if place == 0:
                outline(axes, region.source, SOURCE_COLOUR)
            outline(axes, region.target, TARGET_COLOUR, "dashed")
    for region in regions:
        _arrows(cells[0], region)
    kind = ", ".join(part for part in (case.edit_type, SPLITS["size"](case)) if part)
    label_left(cells[0], f"{kind}\n{case.instruction or case.target_caption}", _TEXT - 0.15, 5)
    for axes, row in zip(cells[1:], rows, strict=False):
        value = results.variants[row.variant].scores.get(case.case_id, {}).get("iou_target", math.nan)
        if math.isfinite(value):
            label = f"{metric_display('iou_target').label} {value:.2f}"
            axes.text(0.5, -0.03, label, transform=axes.transAxes, ha="center", va="top", fontsize=6.5, color=SOFT_INK)


def _arrows(axes: Axes, region: Region) -> None:
    """Draw where a region goes: its centroid if it is moved as a whole, else some of its points."""
    from editfrontier.data.regions import apply  # loads OpenCV, which a check of the config need not

    middle = np.argwhere(region.source)[:, ::-1].astype(np.float64).mean(0, keepdims=True)
    pairs = [(tuple(middle[0]), tuple(apply(region.affine, middle)[0]))]
    if region.kind != "relocation" and region.points:
        pairs = list(region.points)
    for start, end in pairs:
        if math.dist(start, end) > _STILL:
            for colour, width in (("white", 2.4), (INK, 1.1)):
                style = {"arrowstyle": "-|>,head_width=0.16,head_length=0.28", "color": colour, "linewidth": width}
                axes.annotate("", xy=end, xytext=start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


FIGURE = Figure(
    name="drag_panel",
    title="Drags",
    caption="One case of each kind of drag, chosen by a fixed rule: source with the region (solid outline), its target "
    "(dashed) and the way; the result of every editor with the target again, and below it the overlap with the target; "
    "the true result.",
    alt="Grid of drags: the source with its region and its target, the result of each editor, the true result",
    draw=draw,
    section="drags",
    needs=("scores", "cases"),
    pixels=True,
)
