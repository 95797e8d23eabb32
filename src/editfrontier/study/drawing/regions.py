"""The figure of drift by region: a heat table of editors and regions, and maps of the mean deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.data.background import background_of
from editfrontier.data.cases import Case, read_image
from editfrontier.study.drawing.images import head

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs

COLUMNS = 5
_WIDTH = 7.6  # inches


def draw_regions(findings: Findings, inputs: Inputs, params: Any) -> Figure:
    """Draw a heat table of drift by editor and region, and maps of the mean deviation in the first experiment."""
    import matplotlib.pyplot as plt

    rows = [row for row in inputs.rows if row.editor not in ("source", "true_edit")]  # which change nothing there
    rows = list({row.variant: row for row in rows}.values())
    names = ("face", *params.meaningful, *params.others, *params.further)
    table = np.full((len(rows), len(names)), np.nan)
    for i, j in np.ndindex(*table.shape):
        if (drift := findings.one("drift", variant=rows[i].variant, level=names[j])) is not None:
            table[i, j] = drift.value
    maps = {row.label: gaps for row in rows if (gaps := deviation_map(inputs, row.variant)) is not None}
    above, below = 0.9 + 0.24 * len(rows), 1.45 * math.ceil(len(maps) / COLUMNS)
    figure = plt.figure(figsize=(_WIDTH, above + below), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=[above, max(below, 0.1)], squeeze=False)
    _draw_table(parts[0, 0], table, [row.label for row in rows], names)
    if maps:
        _draw_maps(parts[1, 0], maps)
    return figure


def deviation_map(inputs: Inputs, variant: str) -> npt.NDArray[np.float64] | None:
    """Return the mean absolute deviation [H, W] of a variant's images from their sources, pixels in [0, 1].

    Every case counts where its background is; NaN where that is no case's. None if no image is left, or if they differ
    in size.
    """
    table = next(iter(inputs.experiments.values()))
    folder, images = inputs.folder(table.task), inputs.images(table.task, variant)
    total: npt.NDArray[np.float64] | None = None
    count = np.zeros(1)
    for case in inputs.cases(table.task):
        if case.case_id not in images:
            continue
        source, edited = read_image(folder / case.image), read_image(images[case.case_id])
        if source.shape != edited.shape:
            continue
        kept = _background(case, folder, (source.shape[0], source.shape[1]))
        gap = np.abs(source.astype(np.float64) - edited).mean(axis=2) / 255 * kept
        if total is None:
            total, count = gap, kept.astype(np.float64)
        elif total.shape != gap.shape:
            return None
        else:
            total, count = total + gap, count + kept
    if total is None:
        return None
    return np.asarray(total / np.where(count > 0, count, np.nan))


def _background(case: Case, folder: Path, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    try:
        background = background_of(case, folder, size)
    except UserError:  # scoring says why
        return np.zeros(size, dtype=np.bool_)
    return np.ones(size, dtype=np.bool_) if background is None else background


def _draw_table(
    figure: FigureBase, table: npt.NDArray[np.float64], rows: Sequence[str], columns: Sequence[str]
) -> None:
    import seaborn

    axes, finite = figure.subplots(), table[np.isfinite(table)]
    # The colours tell editors apart, whose worst control would else take the whole scale.
    top = float(np.quantile(finite, 0.9)) if len(finite) else 1.0
    colours: dict[str, Any] = {"cmap": "YlOrRd", "vmin": 0, "vmax": top or 1.0, "cbar": False}
    names: dict[str, Any] = {"xticklabels": columns, "yticklabels": rows, "annot_kws": {"fontsize": 6.5}}
    seaborn.heatmap(table, annot=True, fmt=".3f", ax=axes, **colours, **names)
    axes.tick_params(length=0, labelrotation=0)
    axes.xaxis.tick_top()
    axes.axvline(1, color="white", linewidth=2)


def _draw_maps(figure: FigureBase, maps: dict[str, npt.NDArray[np.float64]]) -> None:
    grid = figure.subplots(math.ceil(len(maps) / COLUMNS), COLUMNS, squeeze=False)
    top = float(np.nanquantile(np.stack([np.nan_to_num(gaps) for gaps in maps.values()]), 0.98)) or 1.0
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (label, gaps) in zip(grid.flat, maps.items(), strict=False):
        axes.imshow(gaps, cmap="magma", vmin=0, vmax=top)
        head(axes, label, _WIDTH / COLUMNS - 0.35, 2, 6, loc="left")
    bar = figure.colorbar(grid.flat[0].images[0], ax=grid, shrink=0.7, pad=0.01)
    bar.set_label("mean deviation", fontsize=7)
    bar.outline.set_visible(False)
