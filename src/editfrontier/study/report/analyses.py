"""The analyses of a study as the page shows them: what was found in words, the figure, the findings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.study.analysis import Analysis, get_analysis
from editfrontier.study.findings import Finding, read_findings
from editfrontier.study.report.ledger import decimals, interval, signed
from editfrontier.study.report.plots import NO_PLOT, Plot, plot_of
from editfrontier.study.results.naming import metric_display, variant_label

ELSEWHERE = "More analyses"
_MOST = 400  # findings that the page shows; the CSV file has all of them
_ENLARGED, _WIDEST, _PNG_DPI = 150.0, 1180, 220.0  # CSS pixels an inch of a figure, and at most; of saved PNGs
_LARGE = 900_000  # bytes; a drawing larger than this is shown as its PNG if that is smaller


def groups(root: Path, config: Mapping[str, Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the analyses that the config runs, in its order, under the headings of their groups.

    Args:
        root: results folder of the scale.
        config: of the study.
        labels: variant -> what readers call it.

    Returns:
        Groups of a title, a name for links, and items; an item has the anchor "analysis-<name>".
    """
    by_title: dict[str, list[dict[str, Any]]] = {}
    for name in config.get("analyse") or []:
        entry = config["analyses"][name]
        by_title.setdefault(str(entry.get("group") or ELSEWHERE), []).append(_item(root, str(name), entry, labels))
    return [
        {"title": title, "id": f"group-{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}", "entries": entries}
        for title, entries in by_title.items()
    ]


def sources(root: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the CSV files of the analyses, for copying."""
    paths = {f"analysis-{name}-csv": root / "analyses" / f"{name}.csv" for name in config.get("analyse") or []}
    return {name: path for name, path in paths.items() if path.is_file()}


def own_tables(config: Mapping[str, Any], placed: Sequence[str]) -> dict[str, str]:
    """Return the experiments that analyses read and that have no section -> the first analysis that reads each."""
    owners: dict[str, str] = {}
    for name in config.get("analyse") or []:
        for experiment in config["analyses"][name].get("experiments") or []:
            if experiment not in placed:
                owners.setdefault(str(experiment), str(name))
    return owners


def _item(root: Path, name: str, entry: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    path = root / "analyses" / f"{name}.parquet"
    about = {
        "id": f"analysis-{name}",
        "name": name,
        "title": str(entry["title"]),
        "caption": str(entry.get("caption") or ""),
    }
    if not path.is_file():
        return {**about, "run": False, "sentences": [], "plot": NO_PLOT, "columns": {}, "rows": [], "total": 0}
    findings = read_findings(path)
    analysis = _analysis(str(entry.get("analysis") or name))
    columns = {
        key: any(getattr(row, key) for row in findings.rows) for key in ("variant", "metric", "level", "n", "note")
    }
    columns["x"] = any(row.x == row.x for row in findings.rows)
    return {
        **about,
        "run": True,
        "sentences": [str(sentence) for sentence in findings.provenance.get("sentences") or []],
        "plot": _plot(path.with_suffix(""), analysis is not None and analysis.pixels),
        "columns": columns,
        "rows": [_row(row, labels, analysis.quantities if analysis else {}) for row in findings.rows[:_MOST]],
        "total": len(findings.rows),
    }


def _analysis(name: str) -> Analysis | None:
    try:
        return get_analysis(name)
    except UserError:  # results of an analysis that is no longer there
        return None


def _row(row: Finding, labels: Mapping[str, str], meanings: Mapping[str, str]) -> dict[str, Any]:
    return {
        "quantity": row.quantity.replace("_", " "),
        "meaning": meanings.get(row.quantity, ""),
        "variant": labels.get(row.variant) or (variant_label(row.variant) if row.variant else ""),
        "metric": metric_display(row.metric).label if row.metric else "",
        "level": row.level,
        "x": f"{row.x:.5g}" if row.x == row.x else "",
        "value": signed(row.value, decimals(row)) or "–",
        "interval": interval(row),
        "n": row.n or "",
        "note": row.note,
    }


def _plot(stem: Path, pixels: bool) -> Plot:
    """Return the figure, images and drawings of very many marks as PNG.

    The width grows with the figure's own, so that the letters of all figures have about the same size.
    """
    svg, png = (stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png"))
    large = svg.is_file() and svg.stat().st_size > _LARGE
    path = png if png.is_file() and (pixels or not svg.is_file() or large) else svg
    if not path.is_file():
        return NO_PLOT
    return plot_of(path, min(round(_ENLARGED * _inches(path.read_bytes())), _WIDEST))


def _inches(content: bytes) -> float:
    """Return the width of a figure as it was drawn; what does not say so counts as wide."""
    if drawn := re.search(rb'<svg[^>]*\swidth="([0-9.]+)pt"', content[:4000]):
        return float(drawn[1]) / 72
    if content[:4] == b"\x89PNG" and len(content) >= 20:
        return int.from_bytes(content[16:20], "big") / _PNG_DPI
    return _WIDEST / _ENLARGED
