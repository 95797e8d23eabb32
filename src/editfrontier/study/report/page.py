"""The page of results: its content, and its rendering to one file."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain
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
from editfrontier.study.results.grids import Grid, build_grid
from editfrontier.study.results.naming import (
    Row,
    Table,
    number,
    parse_table,
    read_reported,
    read_statistics,
    statistics_file,
    styles,
)

_FORMS = ("csv", "md", "tex")
SECTIONS = ("editors", "ablation", "inversion", "drags")
"""Sections of the page that a table may name; any other table stands with its analysis or among further tables."""

_DIFFERENCE = {"d": "difference", "low": "ci_low", "high": "ci_high", "p": "p_holm", "n": "n"}
_FIX = "Make it again with `snakemake statistics`."


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
    grids = _grids(root, specs, reported)
    labels = {row.variant: row.label for task in reversed(tasks) for row in reversed(rows[task])}
    whole = [name for name, grid in grids.items() if not grid.table.by]
    sections = {section: [name for name in whole if specs[name].section == section] for section in SECTIONS}
    main = next(iter([*sections["editors"], *grids]), "")
    ablation = next((grids[name] for name in sections["ablation"]), None)
    inner = analyses.own_tables(config, [name for name, spec in specs.items() if spec.section])
    galleries = _galleries(results, specs, inner, int(config.get("seed") or 0))
    groups = analyses.groups(root, config, labels)
    entries = [entry for group in groups for entry in group["entries"]]
    return {
        "title": "On the Controllability–Fidelity Frontier in Diffusion Editing",
        "scale": Path(str(config.get("results") or root)).name,
        **study_data.provenance(config),
        "facts": _facts(results),
        "findings": sentences.findings(grids[main], ablation) if main else [],
        "told": _told(grids, sections),
        "ledger": ledger(root, {*grids, *(entry["id"] for entry in entries)}),
        "groups": groups,
        "inner_tables": {
            entry["name"]: [n for n, owner in inner.items() if owner == entry["name"] and n in grids]
            for entry in entries
        },
        "sections": sections,
        "other_tables": [name for name in whole if name not in chain(inner, *sections.values())],
        "grids": grids,
        "forms": {name: [kind for kind in _FORMS if (root / "tables" / f"{name}.{kind}").exists()] for name in grids},
        "absent": [name for name in specs if name not in grids],
        "controls": study_data.control_checks(grids[main]) if main else [],
        "coverage": study_data.coverage(results, rows, tasks),
        "failures": study_data.failures(results, labels),
        "checks": study_data.checks(root / "validation.csv"),
        "figures": shown_figures(root, config),
        "stages": study_data.stages(benchmarks),
        "specs": [
            entry for task in tasks for entry in study_data.run_specs(root, task, [row.variant for row in rows[task]])
        ],
        "licences": sorted({case.licence for task in results for case in task.cases if case.licence}),
        "data": {
            "metrics": metric_table(dict.fromkeys([*METRICS, *(m for g in galleries for m in g["metrics"])])),
            "planes": [_plane(root, specs[main], rows[specs[main].task], grids[main])] if main else [],
            "differences": _differences(root, specs[main]) if main else [],
            "galleries": galleries,
            "sources": _sources(root, config, grids),
        },
    }


def _sources(root: Path, config: Mapping[str, Any], tables: Iterable[str]) -> dict[str, str]:
    """Return the texts that readers may copy, by name; "" for a file that is not there."""
    files = {f"{name}-{kind}": root / "tables" / f"{name}.{kind}" for name in tables for kind in _FORMS}
    files |= analyses.sources(root, config) | {"claims-csv": root / "claims.csv"}
    return {key: path.read_text(encoding="utf-8") if path.exists() else "" for key, path in files.items()}


def _grids(root: Path, specs: Mapping[str, Table], reported: Path) -> dict[str, Grid]:
    """Return the tables whose statistics are there."""
    paper = read_reported(reported)
    files = {name: statistics_file(root, spec) for name, spec in specs.items()}
    return {
        name: build_grid(spec, read_statistics(files[name], bool(spec.by)), paper)
        for name, spec in specs.items()
        if files[name].exists()
    }


def _galleries(
    results: Sequence[TaskResults], specs: Mapping[str, Table], inner: Container[str], seed: int
) -> list[dict[str, Any]]:
    """Return the browser of each task; tasks share the bytes of a page by their numbers of images.

    The many similar images of a sweep or a chain, the tables in `inner`, are left out: their analyses show them.
    """
    browsed = {name: spec for name, spec in specs.items() if name not in inner} or specs
    shown = {task.task: (task, rows) for task in results if (rows := study_data.tables_of(browsed, task.task))}
    shares = {name: max(len(task.cases) * len(rows), 1) for name, (task, rows) in shown.items()}
    first = {spec.task: [row.variant for row in spec.rows] for spec in reversed(list(browsed.values()))}
    return [
        gallery(task, rows, first[name], seed, BUDGET * shares[name] // sum(shares.values()))
        for name, (task, rows) in shown.items()
    ]


def _told(grids: Mapping[str, Grid], sections: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return sentences about the first table of each section."""
    told: dict[str, list[str]] = {section: [] for section in sections}
    for name in sections["inversion"][:1]:
        told["inversion"] = sentences.inversion_sentences(grids[name])
    for name in sections["drags"][:1]:
        by_size = (grid for grid in grids.values() if (grid.table.parent, grid.table.by) == (name, "size"))
        told["drags"] = sentences.drag_sentences(grids[name], next(by_size, None))
    return told


def _facts(results: list[TaskResults]) -> dict[str, Any]:
    records = [record for task in results for variant in task.variants.values() for record in variant.records.values()]
    return {
        "cases": sum(len(task.cases) for task in results),
        "variants": len({name for task in results for name, variant in task.variants.items() if variant.run}),
        "edits": sum(record.status == "ok" for record in records),
        "failures": sum(record.status != "ok" for record in records),
        "seconds": sum(record.seconds for record in records),
    }


def _plane(root: Path, spec: Table, rows: list[Row], grid: Grid) -> dict[str, Any]:
    # Every variant of the task with every metric, so that a reader may choose the axes.
    statistics = read_statistics(root / "statistics" / f"{spec.task}.parquet")
    values: dict[str, dict[str, Any]] = {}
    for entry in statistics[statistics["task"] == spec.task].to_dict(orient="records"):
        if math.isnan(number(entry["value"])):
            continue
        ends = [rounded(number(entry[key]), 5) for key in ("value", "ci_low", "ci_high")]
        values.setdefault(str(entry["variant"]), {})[str(entry["metric"])] = ends
    look = styles([row.editor for row in rows])
    composites, settings = _composites(root, spec.task)
    main = {line.row.variant for line in grid.lines}
    points = []
    for row in rows:
        metrics = values.get(row.variant, {})
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
    composed = {key: list(value) for key, value in settings.items() if key.startswith(("fidelity", "controllability"))}
    return {str(entry["variant"]): entry for entry in frame.to_dict(orient="records")}, composed


def _differences(root: Path, spec: Table) -> list[dict[str, Any]]:
    path = root / "statistics" / f"{spec.task}.differences.parquet"
    if not path.exists():
        return []
    frame, _ = read_parquet(path, _FIX)
    editors = {row.variant: row.label for row in spec.rows if not row.control}
    between_editors = frame[
        frame["variant_a"].isin(editors) & frame["variant_b"].isin(editors) & (frame["experiment"] == spec.name)
    ]
    return [
        {
            "metric": str(entry["metric"]),
            "a": editors[str(entry["variant_a"])],
            "b": editors[str(entry["variant_b"])],
            **{key: rounded(number(entry[column]), 4) for key, column in _DIFFERENCE.items()},
        }
        for entry in between_editors.to_dict(orient="records")
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
    """Return a duration with its unit."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
