"""The HTML report of a scale: one self-contained page, readable from a file without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editfrontier.study.report.page import build_page


def build_report(
    root: Path,
    config: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
    reported: Path,
    out_html: Path,
    benchmarks: Path | None = None,
) -> None:
    """Write the self-contained page of one scale.

    Args:
        root: results folder of the scale (results/<scale>). Reads what is there of data/<task>/cases.parquet,
            edits/<task>/<variant>/shard-*.parquet, scores/<task>/<variant>.parquet, statistics/<task>*.parquet,
            tables/<name>.{csv,md,tex}, figures/*.svg and validation.csv; a missing part becomes a note on the page.
        config: the whole validated config of the scale (shown, hashed and searched for seeds and models).
        tables: name -> table entry with resolved variants, as for `tables.write_table`.
        reported: CSV of the values that the paper reports.
        out_html: page to write (atomically).
        benchmarks: folder of Snakemake's benchmark files (*.tsv below it), for run times per stage.

    Raises:
        UserError: a file that is there is unreadable.
    """
    build_page(root, config, tables, reported, out_html, benchmarks)
