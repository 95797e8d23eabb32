"""Seconds and bytes of the jobs that would run: measured where an earlier run measured them, else estimated.

Of a study on processor cores the seconds come from config/job_seconds.csv, which a whole micro study measured. Of
one on GPUs they come from config/gpu_seconds.csv, start + cases x case. Its rows say whether they were measured or
estimated; estimates come from the number of network evaluations and published times on an A100 (docs/cluster.md).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.places import CONFIG
from editfrontier.data.dataset import RENDERED, dataset_options, get_dataset
from editfrontier.running.planning.graph import PlannedJob
from editfrontier.running.progress import Job, measured, read_seconds, work
from editfrontier.study.config.study import Study

GPU_SECONDS = CONFIG / "gpu_seconds.csv"
STAGES = {
    "data": ("cases", "segmented_cases", "reference"),
    "edits": ("edit",),
    "scores": ("sources", "score"),
    "statistics": ("summarise", "validation"),
    "analyses": ("analyse", "user_study"),
    "report": (),  # everything else
}
BYTES_PER_PIXEL = 1.6
"""Of a PNG file in colour; 1.5 was measured on edits of 64 x 64 pixels."""

_CASE_IMAGES = 2.0  # of a case, in units of one image in colour: source, true edit, masks
_SCORES_OF_CASE = 10_000  # bytes: metrics of one case and variant, and its features
_REPORT = 50_000_000  # bytes: page, report, tables and figures
_RENDERED_SIZE = 64  # pixels
_STATISTICS = 8 * 2048**2  # bytes: a covariance of Inception's features


@dataclass(frozen=True)
class GpuSeconds:
    """Seconds of a job on a GPU: `start`, and `case` for each case. measured: whether someone measured them."""

    start: float
    case: float
    measured: bool


@dataclass(frozen=True)
class Stage:
    """What a stage takes.

    Attributes:
        name: a target of the workflow.
        gpu_jobs: number of those that ask for a GPU.
        gpu_seconds, cpu_seconds: seconds of jobs with and without a GPU, all together.
        estimated: share of the seconds that are estimated, not measured, in [0, 1].
        disk: bytes that the jobs write.
    """

    name: str
    jobs: int
    gpu_jobs: int
    gpu_seconds: float
    cpu_seconds: float
    estimated: float
    disk: float


@cache
def read_gpu_seconds(path: Path = GPU_SECONDS) -> dict[tuple[str, str], GpuSeconds]:
    """Return (rule, name) -> seconds of a job of a study on GPUs; the name "" stands for all others of the rule."""
    table = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                seconds = GpuSeconds(float(row["start"]), float(row["case"]), row["source"] == "measured")
            except (KeyError, TypeError, ValueError):
                problem = "expected rule, name, start and case in seconds, and source. Correct the line."
                raise UserError(f"{path}, line {number}: {problem}") from None
            if row["source"] not in ("measured", "estimate"):
                raise UserError(f"{path}, line {number}: source is '{row['source']}', expected measured or estimate.")
            table[row["rule"], row["name"]] = seconds
    return table


def stages(study: Study, jobs: Iterable[PlannedJob]) -> list[Stage]:
    """Return what each stage takes, in the order of the workflow, without those that have nothing to do."""
    by_stage: dict[str, list[PlannedJob]] = {name: [] for name in STAGES}
    for job in jobs:
        by_stage[next((name for name, rules in STAGES.items() if job.rule in rules), "report")].append(job)
    return [_stage(study, name, planned) for name, planned in by_stage.items() if planned]


def _stage(study: Study, name: str, jobs: Sequence[PlannedJob]) -> Stage:
    seconds = {True: 0.0, False: 0.0}
    estimated = 0.0
    for job in jobs:
        spent, known = job_seconds(study, job)
        seconds[job.gpu] += spent
        estimated += 0.0 if known else spent
    total = sum(seconds.values())
    disk = sum(job_bytes(study, job) for job in jobs) + (_REPORT if name == "report" else 0)
    return Stage(
        name,
        len(jobs),
        sum(job.gpu for job in jobs),
        seconds[True],
        seconds[False],
        estimated / total if total else 0.0,
        disk,
    )


def job_seconds(study: Study, job: PlannedJob) -> tuple[float, bool]:
    """Return the seconds that a job takes, and whether they were measured."""
    before = measured(job.benchmark)
    if math.isfinite(before):
        return before, True
    names, on_gpu = _names(study, job), study.config["compute"]["device"] != "cpu"
    if on_gpu:
        for name in (*names, ""):
            if row := read_gpu_seconds().get((job.rule, name)):
                return row.start + row.case * cases_of_job(study, job), row.measured
    return work(Job(job.rule, names), read_seconds()), not on_gpu


def _names(study: Study, job: PlannedJob) -> tuple[str, ...]:
    """Return what the tables of seconds may know a job by, the most telling first."""
    task, variant = job.wildcards.get("task", ""), job.wildcards.get("variant", "")
    if variant:
        return (f"{task}/{variant}", variant, f"{task}/{variant.partition('+')[0]}", variant.partition("+")[0], task)
    return (task,) if task else tuple(job.wildcards.values())


def cases_of_task(task: Mapping[str, Any]) -> int:
    """Return how many cases a task has, with its repeats."""
    return int(task["cases"]) * int(task.get("repeats", 1))


def cases_of_job(study: Study, job: PlannedJob) -> int:
    """Return how many cases or images a job processes: one shard of its task, or all; 0 if it has no task."""
    if job.rule == "reference":
        return int(study.config["reference"].get("images", 0))
    task = study.config["tasks"].get(job.wildcards.get("task", ""))
    if task is None:
        return 0
    cases = cases_of_task(task)
    return math.ceil(cases / task["shards"]) if "shard" in job.wildcards else cases


def image_size(task: Mapping[str, Any]) -> int:
    """Return the side in pixels of the images of a task, or of the reference images."""
    if task.get("dataset", "portraits") in RENDERED:
        return _RENDERED_SIZE
    return int(dataset_options(get_dataset(task["dataset"]), task.get("options", {})).size)


def job_bytes(study: Study, job: PlannedJob) -> float:
    """Return the bytes that a job writes, roughly."""
    task = study.config["tasks"].get(job.wildcards.get("task", ""))
    if job.rule == "reference":
        reference = study.config["reference"]
        if "statistics" in reference:
            return float(_STATISTICS)
        return float(reference["images"]) * image_size(reference) ** 2 * BYTES_PER_PIXEL
    if task is None:
        return 0.0
    cases = cases_of_job(study, job)
    image = image_size(task) ** 2 * BYTES_PER_PIXEL
    match job.rule:
        case "cases" | "segmented_cases":
            return cases * image * _CASE_IMAGES
        case "edit":
            return cases * image
        case "score" | "sources":
            return cases * float(_SCORES_OF_CASE)
        case _:
            return 0.0
