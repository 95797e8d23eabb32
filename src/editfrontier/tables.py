"""Tables of results: long CSV, Markdown and LaTeX (stub: signatures are final)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_table(
    table: Mapping[str, Any],
    statistics: Path,
    reported: Path,
    out_csv: Path,
    out_markdown: Path,
    out_latex: Path,
) -> None:
    """Write one table of the study in its three forms.

    Args:
        table: the table's entry of the config, with variants resolved to their names:
            ``{"name": "table1", "title": str, "task": "portraits", "metrics": ["fid", ...],
            "rows": [{"variant": "mask_guided+guidance_scale=3", "editor": "mask_guided",
            "label": "w = 3, cosine" (optional), "paper": "w=3 cosine" (optional, the configuration in
            the reported values), "group": "errata" (optional, a rule is drawn where it changes)}]}``.
        statistics: parquet with columns task, variant, metric, value, ci_low, ci_high, n, failed.
        reported: CSV of the values that the paper reports.
        out_csv, out_markdown, out_latex: files to write.
    """
    raise NotImplementedError
