"""The panel of drags: cases with the regions drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.data.cases import Case, read_image
from editfrontier.statistics.subsets import SPLITS
from editfrontier.study.drawing.images import draw_image
from editfrontier.study.drawing.theme import INK
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
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from editfrontier.data.regions import Region

SOURCE_COLOUR, TARGET_COLOUR = "#D5006D", "#0072B2"
_SHOWN_CONTROLS = ("copy_paste",)
_CELL, _TEXT, _NOTE = 1.0, 1.5, 0.17  # inches
_STILL = 1.0  # pixels; an arrow as short as this says nothing


def draw(inputs: FigureInputs) -> Drawing:
    """Draw one case of each kind of drag: source with its regions, every editor, the true result.

    The source's region has a solid outline, its target a dashed one, which every result repeats. Columns are the
    table's rows that are no controls, and copy and paste.
    """
    import matplotlib.pyplot as plt

    rows = [row for row in inputs.table.rows if not row.control or row.editor in _SHOWN_CONTROLS]
    results = read_task(inputs.root, inputs.table.task, [row.variant for row in rows])
    usable = [case for case in results.cases if readable(results, case)]
    order = list(dict.fromkeys(case.edit_type for case in usable))
    chosen = sorted(balanced_choice(usable, len(order), inputs.seed), key=lambda case: order.index(case.edit_type))
    columns = ["Source and drag", *(row.label for row in rows), "True result"]
    heads = [textwrap.wrap(name, 17)[:3] for name in columns]
    top = 0.12 + 0.14 * max(map(len, heads))
    width, height = _TEXT + _CELL * len(columns), (_CELL + _NOTE) * max(len(chosen), 1) + top + 0.04
    figure, grid = plt.subplots(
        max(len(chosen), 1), len(columns), figsize=(width, height), squeeze=False,
        gridspec_kw={"left": _TEXT / width, "right": 0.998, "top": 1 - top / height, "bottom": 0.04 / height,
                     "wspace": 0.05, "hspace": _NOTE / _CELL + 0.04},
    )  # fmt: skip
    for axes in grid.flat:
        axes.set_axis_off()
    for case, cells in zip(chosen, grid, strict=False):
        _case_row(cells, case, results, rows)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title("\n".join(head), fontsize=7.5)
    return figure


def _case_row(cells: Sequence[Axes], case: Case, results: TaskResults, rows: Sequence[Row]) -> None:
    regions = regions_of(results, case)
    _draw(cells[0], source_image(results, case), regions, source=True)
    for region in regions:
        _arrows(cells[0], region)
    kind = ", ".join(part for part in (case.edit_type, SPLITS["size"](case)) if part)
    text = textwrap.wrap(case.instruction or case.target_caption, 25)[:4]
    cells[0].text(
        -0.08, 0.5, "\n".join([kind, *text]), transform=cells[0].transAxes, ha="right", va="center", fontsize=7
    )
    for axes, row in zip(cells[1:], rows, strict=False):
        _draw(axes, edited_image(results, row.variant, case), regions)
        value = results.variants[row.variant].scores.get(case.case_id, {}).get("iou_target", math.nan)
        if math.isfinite(value):
            label = f"{metric_display('iou_target').label} {value:.2f}"
            axes.text(0.5, -0.03, label, transform=axes.transAxes, ha="center", va="top", fontsize=6.5, color="#555555")
    _draw(cells[-1], read_image(results.folder / case.true_edit) if case.true_edit else None, regions)


def _draw(axes: Axes, image: npt.NDArray[np.uint8] | None, regions: Sequence[Region], *, source: bool = False) -> None:
    draw_image(axes, image, "failed" if not source else "")
    if image is None:
        return
    for region in regions:
        if source:
            _outline(axes, region.source, SOURCE_COLOUR, "solid")
        _outline(axes, region.target, TARGET_COLOUR, "dashed")


def _outline(axes: Axes, mask: npt.NDArray[np.bool_], colour: str, dashes: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=["white"], linewidths=1.9)
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0, linestyles=[dashes])


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
    alt="Grid of drags: the source with its region and where it shall go, the result of each editor, the true result",
    draw=draw,
    needs=("scores", "cases"),
    pixels=True,
)
