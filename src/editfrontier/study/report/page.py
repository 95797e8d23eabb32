"""The page itself: everything that it shows, and its rendering to one file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editfrontier.base.files import write_bytes
from editfrontier.base.parquet import read_parquet
from editfrontier.scoring.metrics import METRICS
from editfrontier.study.report import analyses, sentences, study_data
from editfrontier.study.report.gallery_data import BUDGET, gallery, metric_table, rounded
from editfrontier.study.report.ledger import ledger
from editfrontier.study.report.plots import shown_figures
from editfrontier.study.report.webpage import render_page
from editfrontier.study.results.gallery import TaskResults, read_task
from editfrontier.study.results.grids import REFERENCE, Grid, Line, build_grid
from editfrontier.study.results.naming import (
    Row,
    Style,
    Table,
    group_styles,
    number,
    parse_table,
    read_reported,
    read_statistics,
    row_styles,
    statistics_file,
    styles,
)

_FORMS = ("csv", "md", "tex")
_PLACED = ("table1", "table2", "table3", "table4")  # tables that have a section of their own
_FIX = "Make it again with `snakemake statistics`."


def build_page(
    root: Path,
    config: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
    reported: Path,
    out_html: Path,
    benchmarks: Path | None = None,
) -> None:
    """Collect and render the page; see `editfrontier.study.report.build_report`."""
    write_bytes(out_html, render(collect(root, config, tables, reported, benchmarks)).encode())


def collect(
    root: Path,
    config: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Any]],
    reported: Path,
    benchmarks: Path | None = None,
) -> dict[str, Any]:
    """Return everything that the template needs; `data` is what the page's script reads."""
    specs = {name: parse_table({"name": name, **table}) for name, table in tables.items()}
    tasks = list(dict.fromkeys(table.task for table in specs.values()))
    rows = {task: study_data.tables_of(specs, task) for task in tasks}
    results = [read_task(root, task, [row.variant for row in rows[task]]) for task in tasks]
    paper = read_reported(reported)
    grids: dict[str, Grid] = {}
    for name, spec in specs.items():
        summary = statistics_file(root, spec)
        if summary.exists():
            grids[name] = build_grid(spec, read_statistics(summary, bool(spec.by)), paper)
    labels = {row.variant: row.label for task in reversed(tasks) for row in reversed(rows[task])}
    first = {name: [row.variant for row in spec.rows] for name, spec in specs.items()}
    seed = int(config.get("seed") or 0)
    main = next(iter(grids), "")
    inner = analyses.own_tables(config, _PLACED)
    # The images of a sweep or a chain are many and alike, and their analyses show what matters of them.
    browsed = {name: spec for name, spec in specs.items() if name not in inner} or specs
    shown = {task: kept for task in tasks if (kept := study_data.tables_of(browsed, task))}
    shares = {task.task: max(len(task.cases) * len(shown[task.task]), 1) for task in results if task.task in shown}
    galleries = [
        gallery(
            task,
            shown[task.task],
            first[next(name for name, s in browsed.items() if s.task == task.task)],
            seed,
            BUDGET * shares[task.task] // sum(shares.values()),
        )
        for task in results
        if task.task in shown
    ]
    groups = analyses.groups(root, config, labels)
    anchors = {*grids, *(entry["id"] for group in groups for entry in group["entries"])}
    names = list(dict.fromkeys([*METRICS, *(m for g in galleries for m in g["metrics"])]))
    data = {
        "metrics": metric_table(names),
        "planes": [_plane(root, spec, rows[spec.task], grids[name]) for name, spec in specs.items() if name == main],
        "differences": _differences(root, specs[main]) if main else [],
        "galleries": galleries,
        "sources": {f"{name}-{kind}": _text(root / "tables" / f"{name}.{kind}") for name in grids for kind in _FORMS}
        | analyses.sources(root, config)
        | {"claims-csv": _text(root / "claims.csv")},
    }
    return {
        "title": "On the Controllability–Fidelity Frontier in Diffusion Editing",
        "scale": Path(str(config.get("results") or root)).name,
        "built": study_data.built_at(),
        "revision": study_data.revision(),
        "versions": study_data.versions(),
        "config": json.dumps(config, indent=2, default=str, ensure_ascii=False),
        "config_hash": study_data.config_hash(config),
        "seed": seed,
        "facts": _facts(results),
        "findings": sentences.findings(grids[main], grids.get("table3")) if main else [],
        "told": {
            "table2": sentences.inversion_sentences(grids["table2"]) if "table2" in grids else [],
            "table4": sentences.drag_sentences(grids["table4"], grids.get("table4_size")) if "table4" in grids else [],
        },
        "ledger": ledger(root, anchors),
        "groups": groups,
        "inner_tables": {
            entry["name"]: [n for n, owner in inner.items() if owner == entry["name"] and n in grids]
            for group in groups
            for entry in group["entries"]
        },
        "other_tables": [
            name
            for name, spec in specs.items()
            if name in grids and not spec.by and name not in _PLACED and name not in inner
        ],
        "tables": {name: _table(root, grid) for name, grid in grids.items()},
        "absent": [name for name in specs if name not in grids],
        "splits": {name: [n for n in grids if specs[n].parent == name] for name in grids},
        "controls": study_data.control_checks(grids[main]) if main else [],
        "coverage": study_data.coverage(results, rows, tasks),
        "failures": study_data.failures(results, labels),
        "checks": study_data.checks(root / "validation.csv"),
        "figures": shown_figures(root, config),
        "stages": study_data.stages(benchmarks),
        "models": study_data.models(config),
        "specs": [
            entry for task in tasks for entry in study_data.run_specs(root, task, [row.variant for row in rows[task]])
        ],
        "licences": sorted({case.licence for task in results for case in task.cases if case.licence}),
        "data": data,
    }


def _facts(results: list[TaskResults]) -> dict[str, Any]:
    records = [record for task in results for variant in task.variants.values() for record in variant.records.values()]
    return {
        "cases": sum(len(task.cases) for task in results),
        "variants": len({name for task in results for name, variant in task.variants.items() if variant.run}),
        "edits": sum(record.status == "ok" for record in records),
        "failures": sum(record.status != "ok" for record in records),
        "seconds": sum(record.seconds for record in records),
    }


def _table(root: Path, grid: Grid) -> dict[str, Any]:
    look = _look(grid)
    spans = [_span(grid, column) for column in range(len(grid.metrics))]
    parts: dict[str, list[dict[str, Any]]] = {}
    previous: Line | None = None
    for line in grid.lines:
        kind = "control" if line.row.control else "paper" if line.status == "not run" else "editor"
        cells = []
        for column, cell in enumerate(line.cells):
            low, high = spans[column]
            bounds = grid.interval(column, cell)
            cells.append(
                {
                    "value": grid.text(column, cell.value),
                    "low": bounds[0],
                    "high": bounds[1],
                    "paper": grid.paper_text(column, cell.paper),
                    "rank": cell.rank,
                    "n": cell.n,
                    "fewer": grid.fewer(line, cell),
                    "reason": cell.reason,
                    "unranked": cell.unranked,
                    "sort": f"{cell.value:.9g}" if math.isfinite(cell.value) else "",
                    "bar": _bar(cell.value, cell.low, cell.high, low, high),
                    "metric": grid.metrics[column].name,
                }
            )
        parts.setdefault(line.subset, []).append(
            {
                "label": line.row.label,
                "kind": kind,
                "status": line.status,
                "n": line.n,
                "failed": line.failed,
                "failures": line.failures,
                "counted": line.counted,
                "colour": look[line.row.variant or line.row.label].colour,
                "cells": cells,
                "floor": line.row.variant == REFERENCE,
                "rule": previous is not None
                and previous.subset == line.subset
                and (previous.row.control, previous.status == "not run", previous.row.group)
                != (line.row.control, line.status == "not run", line.row.group),
            }
        )
        previous = line
    return {
        "name": grid.table.name,
        "by": grid.table.by,
        "title": grid.table.title,
        "caption": grid.table.caption,
        "remarks": [*grid.unranked(), *grid.missing()],
        "task": grid.table.task,
        "heads": [
            {
                "label": metric.label,
                "unit": "%" if metric.percent else metric.unit,
                "arrow": metric.arrow,
                "direction": metric.direction,
                "name": metric.name,
                "group": metric.group,
            }
            for metric in grid.metrics
        ],
        "parts": [{"name": name, "lines": lines} for name, lines in parts.items()],
        "forms": [kind for kind in _FORMS if (root / "tables" / f"{grid.table.name}.{kind}").exists()],
    }


def _look(grid: Grid) -> dict[str, Style]:
    """Return the styles of a table's rows as its figures have them, by variant, or by label where there is none."""
    rows = [line.row for line in grid.lines]
    editors = styles([row.editor for row in rows])
    look = {row.variant or row.label: editors[row.editor] for row in rows}
    match grid.table.parent or grid.table.name:
        case "table2":
            look |= group_styles(grid.table.rows)
        case "table4":
            look |= row_styles(grid.table.rows)
    return look


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _span(grid: Grid, column: int) -> tuple[float, float]:
    # The little bars span the editors: a control far off goes without rather than squeezing all others.
    lines = [line for line in grid.lines if not line.row.control] or list(grid.lines)
    cells = [line.cells[column] for line in lines]
    ends = [v for cell in cells for v in (cell.value, cell.low, cell.high) if math.isfinite(v)]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _bar(value: float, low: float, high: float, least: float, most: float) -> dict[str, float] | None:
    if not least <= value <= most or most <= least:
        return None

    def place(v: float) -> float:
        return round(100 * min(max((v - least) / (most - least), 0.0), 1.0), 1)

    ends = (low, high) if math.isfinite(low) and math.isfinite(high) else (value, value)
    return {"at": place(value), "from": place(ends[0]), "width": round(place(ends[1]) - place(ends[0]), 1)}


def _plane(root: Path, spec: Table, rows: list[Row], grid: Grid) -> dict[str, Any]:
    # Every variant of the task with every metric, so that a reader may choose the axes.
    everything = Table(spec.name, spec.title, "", spec.task, tuple(METRICS), tuple(rows))
    statistics = read_statistics(root / "statistics" / f"{spec.task}.parquet")
    found: dict[str, dict[str, Any]] = {}
    for entry in statistics[statistics["task"] == spec.task].to_dict(orient="records"):
        if math.isnan(number(entry["value"])):
            continue
        values = [rounded(number(entry[key]), 5) for key in ("value", "ci_low", "ci_high")]
        found.setdefault(str(entry["variant"]), {})[str(entry["metric"])] = values
    look = styles([row.editor for row in rows])
    composites, settings = _composites(root, spec.task)
    main = {line.row.variant for line in grid.lines}
    points = []
    for row in everything.rows:
        metrics = found.get(row.variant, {})
        extra = composites.get(row.variant, {})
        for axis in ("fidelity", "controllability"):
            if axis in extra:
                metrics[f"composite_{axis}"] = [
                    rounded(number(extra[f"{axis}{end}"]), 5) for end in ("", "_low", "_high")
                ]
        points.append(
            {
                "variant": row.variant,
                "editor": row.editor,
                "label": row.label,
                "control": row.control,
                "main": row.variant in main,
                "colour": look[row.editor].colour,
                "marker": look[row.editor].marker,
                "probability": rounded(number(extra.get("probability")), 3),
                "metrics": metrics,
            }
        )
    return {"task": spec.task, "points": points, "settings": settings, "composite": bool(composites)}


def _composites(root: Path, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    path = root / "statistics" / f"{task}.frontier.parquet"
    if not path.exists():
        return {}, {}
    frame, provenance = read_parquet(path, _FIX)
    settings = provenance.get("settings") or {}
    kept = {key: list(value) for key, value in settings.items() if key.startswith(("fidelity", "controllability"))}
    return {str(entry["variant"]): entry for entry in frame.to_dict(orient="records")}, kept


def _differences(root: Path, spec: Table) -> list[dict[str, Any]]:
    path = root / "statistics" / f"{spec.task}.differences.parquet"
    if not path.exists():
        return []
    frame, _ = read_parquet(path, _FIX)
    editors = {row.variant: row.label for row in spec.rows if not row.control}
    kept = frame[
        frame["variant_a"].isin(editors) & frame["variant_b"].isin(editors) & (frame["experiment"] == spec.name)
    ]
    return [
        {
            "metric": str(entry["metric"]),
            "a": editors[str(entry["variant_a"])],
            "b": editors[str(entry["variant_b"])],
            **{
                key: rounded(number(entry[name]), 4)
                for key, name in (
                    ("d", "difference"),
                    ("low", "ci_low"),
                    ("high", "ci_high"),
                    ("p", "p_holm"),
                    ("n", "n"),
                )
            },
        }
        for entry in kept.to_dict(orient="records")
    ]


def render(context: Mapping[str, Any]) -> str:
    """Return the page as HTML; every text of the study is escaped, and only the page's own script may run."""
    shown = {key: value for key, value in context.items() if key != "data"}
    shown["data_has_differences"] = bool(context["data"]["differences"])
    filters = {"duration": duration, "short": short}
    return render_page("index.html.j2", "report.css", "report.js", shown, context["data"], filters)


def short(value: Any) -> str:
    """Return a number with four significant digits, any other text as it is."""
    result = number(value)
    return str(value) if math.isnan(result) else f"{result:.4g}"


def duration(seconds: float) -> str:
    """Return a length of time as people write it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
