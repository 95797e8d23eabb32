"""The figure of drift by region: a heat table of editors and regions, and maps of the mean deviation."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.data.background import background_of
from editfrontier.data.cases import Case, read_image
from editfrontier.study.drawing.plotting import save_figure
from editfrontier.study.drawing.theme import figure_style
from editfrontier.study.findings import Findings
from editfrontier.study.inputs import Inputs

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

COLUMNS = 5


def draw_regions(findings: Findings, inputs: Inputs, regions: Sequence[str], stem: Path) -> None:
    """Draw the figure.

    Args:
        findings: "drift" by variant and region.
        inputs: of the analysis; the maps show its first experiment.
        regions: columns of the table.
        stem: path without suffix.
    """
    rows = [row for row in inputs.rows if row.editor not in ("source", "true_edit")]  # which change nothing there
    rows = list({row.variant: row for row in rows}.values())
    names = ("face", *regions)
    table = np.full((len(rows), len(names)), np.nan)
    for i, row in enumerate(rows):
        for j, region in enumerate(names):
            found = findings.one("drift", variant=row.variant, level=region)
            table[i, j] = found.value if found else np.nan
    maps = {row.label: deviation_map(inputs, row.variant) for row in rows}
    shown = {label: found for label, found in maps.items() if found is not None}
    with figure_style():
        import matplotlib.pyplot as plt

        lines = math.ceil(len(shown) / COLUMNS)
        figure = plt.figure(figsize=(7.6, 0.9 + 0.24 * len(rows) + 1.45 * lines), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=[0.9 + 0.24 * len(rows), max(1.45 * lines, 0.1)], squeeze=False)
        _draw_table(parts[0, 0], table, [row.label for row in rows], names)
        _draw_maps(parts[1, 0], shown, lines)
        save_figure(figure, stem)


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
    axes = figure.subplots()
    finite = table[np.isfinite(table)]
    # The colours tell editors apart, whose worst control would else take the whole scale.
    top = float(np.quantile(finite, 0.9)) if len(finite) else 1.0
    axes.imshow(table, cmap="YlOrRd", aspect="auto", vmin=0, vmax=top or 1.0)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.axvline(0.5, color="white", linewidth=2)
    for i, j in np.ndindex(*table.shape):
        if np.isfinite(table[i, j]):
            dark = table[i, j] > 0.65 * top
            axes.text(
                j, i, f"{table[i, j]:.3f}", ha="center", va="center", fontsize=6.5, color="white" if dark else "#222222"
            )


def _draw_maps(figure: FigureBase, maps: dict[str, npt.NDArray[np.float64]], lines: int) -> None:
    if not maps:
        return
    panels = figure.subplots(lines, COLUMNS, squeeze=False)
    top = float(np.nanquantile(np.stack([np.nan_to_num(found) for found in maps.values()]), 0.98)) or 1.0
    shown = None
    for axes in panels.flat:
        axes.axis("off")
    for axes, (label, found) in zip(panels.flat, maps.items(), strict=False):
        shown = axes.imshow(found, cmap="magma", vmin=0, vmax=top)
        axes.set_title(textwrap.fill(label, 24), fontsize=6, loc="left")
    if shown is not None:
        bar = figure.colorbar(shown, ax=panels, shrink=0.7, pad=0.01)
        bar.set_label("mean deviation", fontsize=7)
        bar.outline.set_visible(False)
