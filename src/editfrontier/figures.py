"""Figures of results (stub: signatures are final). Every function writes <stem>.pdf, <stem>.svg and <stem>.png."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def figure_frontier(table: Mapping[str, Any], statistics: Path, reported: Path, out_stem: Path, frontier: Path | None = None) -> None:
    """Trade-off figure of one table's rows: fidelity against controllability, intervals on both axes, Pareto front.

    Args:
        table: the table's entry of the config, as for `tables.write_table`.
        statistics: parquet of summaries (task, variant, metric, value, ci_low, ci_high, n, failed).
        reported: CSV of the values that the paper reports.
        out_stem: path without suffix; .pdf, .svg and .png are written.
        frontier: parquet of Pareto membership probabilities (variant, probability), optional.
    """
    raise NotImplementedError


def figure_ablation(table: Mapping[str, Any], statistics: Path, reported: Path, out_stem: Path) -> None:
    """Ablation figure of Table 3: metrics over guidance scale, and one panel of blending schedules. Arguments as above."""
    raise NotImplementedError


def figure_qualitative(
    table: Mapping[str, Any], root: Path, out_stem: Path, cases: int = 6, worst: int = 2, seed: int = 0
) -> None:
    """Grid of cases (rows, chosen by a fixed rule) and variants (columns), with a strip of worst cases.

    Args:
        table: the table's entry of the config; its rows give the columns of the grid.
        root: results folder of the scale; reads data/<task>, edits/<task>/<variant>, scores/<task>/<variant>.parquet.
        out_stem: path without suffix; .pdf, .svg and .png are written.
        cases: number of rows chosen by the balanced rule. worst: number of worst cases. seed: of the choice.
    """
    raise NotImplementedError


def figure_validation(validation: Path, out_stem: Path, curves: Path | None = None) -> None:
    """Metric validation against the renderer's truth.

    Args:
        validation: CSV (check, metric, statistic, value, ci_low, ci_high, n, expectation, holds).
        out_stem: path without suffix; .pdf, .svg and .png are written.
        curves: data behind the panels, optional.
    """
    raise NotImplementedError
