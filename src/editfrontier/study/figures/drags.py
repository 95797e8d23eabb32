"""Figures of drags: a panel of cases with the regions drawn, and accuracy over the size of the motion."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_image
from editfrontier.data.regions import apply
from editfrontier.statistics.subsets import SPLITS, groups_of
from editfrontier.study.drawing.plotting import INK, axis_label, draw_marker, error_bars, figure_style, save_figure
from editfrontier.study.figures.qualitative import draw_image
from editfrontier.study.results.gallery import (
    TaskResults,
    balanced_choice,
    edited_image,
    read_task,
    readable,
    regions_of,
    source_image,
)
from editfrontier.study.results.grids import Line, build_grid
from editfrontier.study.results.naming import (
    Row,
    Style,
    Table,
    metric_display,
    read_reported,
    read_statistics,
    row_styles,
    statistics_file,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from editfrontier.data.regions import Region

SOURCE_COLOUR, TARGET_COLOUR = "#D5006D", "#0072B2"
ACCURACY = ("iou_target", "centroid_shift")
"""Metrics of the panels over the size of the motion, those of them that the table has."""
_SHOWN_CONTROLS = ("copy_paste",)
_FLOORS = ("source", "copy_paste")
_CELL, _TEXT, _NOTE = 1.0, 1.5, 0.17  # inches
_STILL = 1.0  # pixels; an arrow as short as this says nothing


def motion_of(regions: Sequence[Region]) -> float:
    """Return the mean shift of the regions' pixels in pixels, NaN without regions."""
    pixels = [np.argwhere(region.source)[:, ::-1].astype(np.float64) for region in regions]
    shifts = [
        np.linalg.norm(apply(region.affine, place) - place, axis=1)
        for region, place in zip(regions, pixels, strict=True)
    ]
    return float(np.concatenate(shifts).mean()) if shifts else math.nan


# --- panel of cases --------------------------------------------------------------------------------------------------


def draw_panel(table: Table, root: Path, out_stem: Path, seed: int = 0) -> None:
    """Draw one case of each kind of drag: source with its regions, every editor, the true result.

    The source's region has a solid outline, its target a dashed one, which every result repeats.

    Args:
        table: its rows that are no controls give the columns, and copy and paste.
        root: results folder of the scale.
        out_stem: path without suffix; .pdf, .svg and .png are written.
        seed: of the choice of cases.
    """
    rows = [row for row in table.rows if not row.control or row.editor in _SHOWN_CONTROLS]
    results = read_task(root, table.task, [row.variant for row in rows])
    usable = [case for case in results.cases if readable(results, case)]
    order = list(dict.fromkeys(case.edit_type for case in usable))
    chosen = sorted(balanced_choice(usable, len(order), seed), key=lambda case: order.index(case.edit_type))
    columns = ["Source and drag", *(row.label for row in rows), "True result"]
    heads = [textwrap.wrap(name, 17)[:3] for name in columns]
    with figure_style():
        import matplotlib.pyplot as plt

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
        save_figure(figure, out_stem)


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
    middle = np.argwhere(region.source)[:, ::-1].astype(np.float64).mean(0, keepdims=True)
    pairs = [(tuple(middle[0]), tuple(apply(region.affine, middle)[0]))]
    if region.kind != "relocation" and region.points:
        pairs = list(region.points)
    for start, end in pairs:
        if math.dist(start, end) > _STILL:
            for colour, width in (("white", 2.4), (INK, 1.1)):
                style = {"arrowstyle": "-|>,head_width=0.16,head_length=0.28", "color": colour, "linewidth": width}
                axes.annotate("", xy=end, xytext=start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


# --- size of the motion ----------------------------------------------------------------------------------------------


def draw_motion(spec: Table, root: Path, reported: Path, out_stem: Path) -> None:
    """Draw accuracy over the size of the motion, one line an editor with intervals; controls in grey.

    Args:
        spec: a table that is split, by size.
        root: results folder of the scale.
        reported: CSV of the values that the paper reports (it has none by size).
        out_stem: path without suffix; .pdf, .svg and .png are written.

    Raises:
        UserError: the table is not split.
    """
    if not spec.by:
        raise UserError(
            f"table '{spec.name}': its cases are not split, expected a table by size. "
            f"Give the experiment `by: [size]` and the figure the table {spec.name}_size."
        )
    accuracy = [name for name in ACCURACY if name in spec.metrics]
    statistics = read_statistics(statistics_file(root, spec), subsets=True)
    grid = build_grid(replace(spec, metrics=tuple(accuracy)), statistics, read_reported(reported))
    shown = [row for row in spec.rows if not row.control or row.editor in _FLOORS]
    names = list(dict.fromkeys(line.subset for line in grid.lines))
    place = dict(zip(names, _places(root, spec, names), strict=True))
    found = {(line.row.variant, line.subset): line for line in grid.lines if line.status == "ok"}
    look = row_styles(spec.rows)
    with figure_style():
        import matplotlib.pyplot as plt

        count = max(len(accuracy), 1)
        figure, panels = plt.subplots(1, count, figsize=(4.3 * count, 3.3), layout="constrained", squeeze=False)
        span = max(place.values(), default=1.0) - min(place.values(), default=0.0) or 1.0
        handles: dict[str, Line2D] = {}
        for column, name in enumerate(accuracy):
            axes = panels[0][column]
            for rank, row in enumerate(shown):
                # A little apart, so that intervals can be told apart.
                nudge = 0.0 if row.control else 0.012 * span * (rank - (len(shown) - 1) / 2)
                lines = [(place[n] + nudge, found[row.variant, n]) for n in names if (row.variant, n) in found]
                scale = 100.0 if metric_display(name).percent else 1.0
                handles[row.variant] = _draw_editor(axes, lines, column, scale, look[row.variant], row)
            axes.set_xticks([place[n] for n in names])
            axes.set_xticklabels([f"{n}\n{place[n]:.1f} px" for n in names])
            axes.set_xlabel(f"{spec.by} and mean motion of the region's pixels")
            axes.set_ylabel(axis_label(name))
            axes.set_title(f"({'ab'[column]}) {metric_display(name).label}", loc="left")
        # get_legend_handles_labels would leave out what starts with an underscore.
        figure.legend(
            handles=list(handles.values()), loc="outside lower center", ncols=4, columnspacing=1.6, handlelength=2.6
        )
        save_figure(figure, out_stem)


def _places(root: Path, spec: Table, names: Sequence[str]) -> list[float]:
    results = read_task(root, spec.task, [])
    groups = groups_of(results.cases, spec.by)
    places = []
    for position, name in enumerate(names):
        cases = [results.by_id[case_id] for case_id in groups.get(name, [])]
        motions = [motion_of(regions_of(results, case)) for case in cases if readable(results, case)]
        known = [motion for motion in motions if math.isfinite(motion)]
        places.append(sum(known) / len(known) if known else float(position))
    return places


def _draw_editor(
    axes: Axes, lines: Sequence[tuple[float, Line]], column: int, scale: float, style: Style, row: Row
) -> Line2D:
    points = [(x, line.cells[column]) for x, line in lines if math.isfinite(line.cells[column].value)]
    (drawn,) = axes.plot(
        [x for x, _ in points],
        [cell.value * scale for _, cell in points],
        color=style.colour,
        linewidth=1.2 if not style.control else 0.9,
        linestyle="-" if not style.control else (0, (4, 2)),
        marker=style.marker,
        markersize=5.5,
        markerfacecolor="white" if style.control else style.colour,
        label=row.label,
    )
    for x, cell in points:
        bars = error_bars(cell)
        if bars is not None and not style.control:
            lengths = [[length[0] * scale] for length in bars]
            axes.errorbar(
                x, cell.value * scale, yerr=lengths, fmt="none", ecolor=style.colour, elinewidth=1.0, alpha=0.8
            )
        draw_marker(axes, x, cell.value * scale, style, zorder=3)
    return drawn
