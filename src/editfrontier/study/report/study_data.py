"""Facts about a run from its results folder: coverage, failures, stages, checks, provenance."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from editfrontier.base.csv_files import read_rows
from editfrontier.base.parquet import read_parquet
from editfrontier.base.places import ROOT
from editfrontier.editing.failures import by_reason
from editfrontier.study.results.gallery import TaskResults
from editfrontier.study.results.grids import Grid, Line
from editfrontier.study.results.naming import Row, Table, number

_PACKAGES = ("editfrontier", "torch", "diffusers", "transformers", "open-clip-torch", "numpy", "pandas", "snakemake")


def provenance(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page was made with: time, revision, versions, the config and the networks that it names."""
    return {
        "built": _built_at(),
        "revision": _revision(),
        "versions": _versions(),
        "config": json.dumps(config, indent=2, default=str, ensure_ascii=False),
        "config_hash": hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12],
        "seed": int(config.get("seed") or 0),
        "models": models(config),
    }


def _built_at() -> str:
    """Return the time of the build in UTC, to the minute; SOURCE_DATE_EPOCH overrides it for reproducible pages."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    when = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _revision() -> dict[str, str]:
    """Return the git revision of the repository and whether its files differ from it; empty texts outside git."""

    def git(*arguments: str) -> str:
        try:
            call = ["git", "-C", str(ROOT), *arguments]
            return (
                subprocess.run(call, capture_output=True, timeout=20, check=True)
                .stdout.decode(errors="replace")
                .strip()
            )
        except (OSError, subprocess.SubprocessError):
            return ""

    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no") if commit else ""
    return {"commit": commit, "short": commit[:10], "state": "with local changes" if changed else ""}


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter to results; a missing one is left out."""
    known = {"Python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def stages(benchmarks: Path | None) -> list[dict[str, Any]]:
    """Sum up Snakemake's benchmark files by stage: jobs, seconds, largest memory (MiB), longest stage first."""
    if benchmarks is None or not benchmarks.is_dir():
        return []
    sums: dict[str, list[float]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        stage = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with path.open(encoding="utf-8", newline="") as file:
            for entry in csv.DictReader(file, delimiter="\t"):
                total = sums.setdefault(stage, [0.0, 0.0, 0.0])
                seconds, memory = number(entry.get("s")), number(entry.get("max_rss"))  # type: ignore[arg-type]
                total[0] += 1
                total[1] += 0.0 if math.isnan(seconds) else seconds
                total[2] = max(total[2], 0.0 if math.isnan(memory) else memory, _own_peak(path, benchmarks))
    rows = [
        {"stage": name, "jobs": int(jobs), "seconds": seconds, "memory": memory}
        for name, (jobs, seconds, memory) in sums.items()
    ]
    return sorted(rows, key=lambda row: -float(row["seconds"]))


def _own_peak(benchmark: Path, benchmarks: Path) -> float:
    """Return the MiB in the log of a job that was started warm, which Snakemake does not see; otherwise 0."""
    log = benchmarks.parent / "logs" / benchmark.relative_to(benchmarks).with_suffix(".log")
    try:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
    except OSError:
        return 0.0
    peak = re.fullmatch(r"peak memory (\d+) MiB", last[0]) if last else None
    return float(peak[1]) if peak else 0.0


def coverage(results: Sequence[TaskResults], rows: Mapping[str, Sequence[Row]], tasks: Sequence[str]) -> dict[str, Any]:
    """Return the matrix of variants and tasks: done, failed and seconds of each."""
    names: dict[str, Row] = {}
    for row in chain(*rows.values()):
        names.setdefault(row.variant, row)
    by_task = {task.task: task for task in results}
    lines = []
    for name, row in names.items():
        cells: list[dict[str, Any]] = []
        for task in tasks:
            known = by_task.get(task)
            variant = known.variants.get(name) if known else None
            if known is None or variant is None:
                cells.append({"state": "none", "text": "", "failed": 0, "each": 0.0, "title": f"not part of {task}"})
                continue
            failed = len(variant.failures)
            done = len(variant.records) - failed
            missing = len(known.cases) - len(variant.records)
            state = "ok" if not failed and not missing else "absent" if not variant.run else "partly"
            seconds = [record.seconds for record in variant.records.values() if record.status == "ok"]
            each = sum(seconds) / len(seconds) if seconds else 0.0
            cells.append(
                {
                    "state": state,
                    "text": f"{done} of {len(known.cases)}" if variant.run else "not run",
                    "failed": failed,
                    "each": each,
                    "title": f"{done} done, {failed} failed, {missing} not run"
                    + (f"; {each:.2f} s an edit" if seconds else ""),
                }
            )
        lines.append({"label": row.label, "variant": name, "control": row.control, "cells": cells})
    return {"tasks": list(tasks), "lines": lines}


def failures(results: Sequence[TaskResults], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the failed cases, equal reasons of one variant together."""
    return [
        {"task": task.task, "label": labels.get(name, name), "reason": reason, "cases": cases, "count": len(cases)}
        for task in results
        for name, variant in task.variants.items()
        for reason, cases in by_reason(variant.failures.items()).items()
    ]


def models(config: Mapping[str, Any], root: Path = ROOT) -> list[dict[str, Any]]:
    """Return the networks that the config names, with the scores and the checksum that their provenance files state."""
    rows = []
    for section in ("models", "evaluators"):
        for name, entry in (config.get(section) or {}).items():
            place = str(entry.get("path") or entry.get("id") or "")
            file = root / place / "provenance.json"
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                content = {}
            checksums = content.get("files") or {}
            digest = (
                hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()[:12] if checksums else ""
            )
            scores = {
                key: value for key, value in (content.get("scores") or {}).items() if isinstance(value, int | float)
            }
            rows.append(
                {
                    "kind": "editing" if section == "models" else "scoring",
                    "name": name,
                    "place": place,
                    "revision": str(entry.get("revision") or ""),
                    "digest": digest,
                    "scores": scores,
                }
            )
    return rows


def run_specs(root: Path, task: str, variants: Sequence[str]) -> list[dict[str, str]]:
    """Return the provenance that the first record of each variant carries, as JSON text."""
    rows = []
    for name in variants:
        files = sorted((root / "edits" / task / name).glob("shard-*.parquet"))
        if files:
            provenance = read_parquet(files[0], "Run `snakemake` again.")[1]
            rows.append({"variant": name, "text": json.dumps(provenance, indent=1, sort_keys=True, default=str)})
    return rows


def checks(path: Path) -> list[dict[str, str]]:
    """Return the rows of validation.csv as texts; an empty list if there is none."""
    return read_rows(path) if path.exists() else []


def control_checks(grid: Grid) -> list[dict[str, Any]]:
    """Compare the true edit and the random image with the editors, metric by metric.

    With a useful metric the true edit is at least as good as the best editor, and the random image no better than the
    worst. Metrics of quality do not see the source, so that the random image, a flawless picture of another person,
    rightly scores well.
    """
    lines = {line.row.editor: line for line in grid.lines if line.row.control}
    true, random = lines.get("true_edit"), lines.get("random_image")
    editors = [line for line in grid.lines if not line.row.control and line.status == "ok"]
    rows: list[dict[str, Any]] = []
    for column, metric in enumerate(grid.metrics):
        values = [line.cells[column].value for line in editors if math.isfinite(line.cells[column].value)]
        if metric.direction not in ("higher", "lower") or not values:
            continue
        sign = 1 if metric.direction == "higher" else -1
        best, worst = max(values, key=lambda v: sign * v), min(values, key=lambda v: sign * v)
        rows.append(
            {
                "metric": metric.label,
                "arrow": metric.arrow,
                "name": metric.name,
                "quality": metric.group == "quality",
                "true": _control_text(grid, column, true),
                "best": grid.text(column, best),
                "worst": grid.text(column, worst),
                "random": _control_text(grid, column, random),
                "true_holds": _compare(true, column, best, sign),
                "random_holds": _compare(random, column, worst, -sign),
            }
        )
    return rows


def _control_text(grid: Grid, column: int, line: Line | None) -> str:
    return grid.text(column, line.cells[column].value) if line else ""


def _compare(line: Line | None, column: int, bound: float, sign: int) -> bool | None:
    # Judged at the favourable end of the interval: a control fails only where chance does not explain it.
    if line is None or not math.isfinite(line.cells[column].value):
        return None
    cell = line.cells[column]
    ends = [sign * v for v in (cell.value, cell.low, cell.high) if math.isfinite(v)]
    return max(ends) >= sign * bound - 1e-9


def tables_of(config_tables: Mapping[str, Table], task: str) -> list[Row]:
    """Return the rows of all tables on a task, each variant once, in the order in which they appear."""
    rows: dict[str, Row] = {}
    for table in config_tables.values():
        if table.task == task:
            for row in table.rows:
                rows.setdefault(row.variant, row)
    return list(rows.values())
