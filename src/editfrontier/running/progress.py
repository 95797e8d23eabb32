"""How long a run will take and how far it is: an estimate at its start, a line on the way.

The workflow starts this when jobs begin (`onstart`). The work of a job is the seconds that it takes on a core of its
own: as an earlier run of the same job measured them, else as the table of seconds has them. It imports nothing heavy.
"""

from __future__ import annotations

import csv
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from editfrontier.base.places import CONFIG

SECONDS = CONFIG / "job_seconds.csv"
PERIOD = 30.0
"""Seconds between two looks at the run."""

_UNKNOWN = 8.0  # of a job of which nothing is known: mostly starting Python and reading a table


@dataclass(frozen=True)
class Job:
    """A job that a run is going to do.

    Attributes:
        names: what it is about, the most telling first: "task/variant", the variant, the task; or the analysis.
        benchmark: file that an earlier run of it may have left, None if it leaves none.
    """

    rule: str
    names: tuple[str, ...] = ()
    benchmark: Path | None = None


@cache
def read_seconds(path: Path = SECONDS) -> dict[tuple[str, str], float]:
    """Return (rule, name) -> seconds of a job; the name "" stands for every other job of the rule."""
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["rule"], row["name"]): float(row["seconds"]) for row in csv.DictReader(file)}


def measured(benchmark: Path | None) -> float:
    """Return the seconds of a job from Snakemake's benchmark file, NaN if there is none.

    These are seconds on the clock: Snakemake looks at the processor time every half minute only, and so misses the end.
    """
    if benchmark is None or not benchmark.is_file():
        return math.nan
    with benchmark.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        values = [float(row["s"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        return math.nan
    return sum(values) / len(values) if values and min(values) > 0 else math.nan


def work(job: Job, table: Mapping[tuple[str, str], float]) -> float:
    """Return the seconds that a job is expected to take."""
    before = measured(job.benchmark)
    if math.isfinite(before):
        return before
    # An editor's name stands for its variants, which differ less from each other than from other editors.
    for name in (*job.names, *(name.partition("+")[0] for name in job.names), ""):
        if (job.rule, name) in table:
            return table[job.rule, name]
    return _UNKNOWN


def minutes(seconds: float) -> str:
    """Return a length of time rounded as an estimate deserves, for example "about 25 minutes"."""
    if seconds < 60:
        return "under a minute"
    count = seconds / 60
    if count < 100:
        step = 1 if count < 20 else 5
        rounded = max(step, step * round(count / step))
        return f"about {rounded} minute{'s' if rounded > 1 else ''}"
    hours = count / 60
    return f"about {hours:.0f} hours" if hours >= 10 else f"about {hours:.1f} hours"


class Progress:
    """The state of a run."""

    def __init__(self, weights: Sequence[float], cores: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.weights, self.cores, self._clock = list(weights), max(cores, 1), clock
        self._started = clock()

    @property
    def total(self) -> float:
        """Seconds that the run is expected to take; no job is split, so it takes as long as its longest at least."""
        return max(sum(self.weights) / self.cores, max(self.weights, default=0.0))

    def first_line(self) -> str:
        """Return what is told at the start."""
        jobs = f"{len(self.weights)} job{'s' if len(self.weights) != 1 else ''}"
        return f"{jobs} on {self.cores} core{'s' if self.cores > 1 else ''}: {minutes(self.total)} (estimate)"

    def remaining(self, done: Sequence[bool]) -> float:
        """Return the seconds that are left, by the speed so far once a tenth of the work has shown it."""
        share = self._share(done)
        expected = self.total if share < 0.1 else (self._clock() - self._started) / share
        return expected * (1 - share)

    def line(self, done: Sequence[bool]) -> str:
        """Return how far the run is."""
        share, left = f"{100 * self._share(done):.0f} %", minutes(self.remaining(done))
        return f"{sum(done)} of {len(done)} jobs done, {share} of the work, {left} left (estimate)"

    def _share(self, done: Sequence[bool]) -> float:
        whole = sum(self.weights)
        finished = sum(weight for weight, ready in zip(self.weights, done, strict=True) if ready)
        return finished / whole if whole else 1.0


def follow(
    jobs: Sequence[Job],
    finished: Callable[[], Iterable[bool]],
    cores: int,
    say: Callable[[str], None],
    period: float = PERIOD,
) -> threading.Event:
    """Say how long the jobs will take, and on the way how far they are; return at once.

    Args:
        finished: which of them are finished now, in the same order.
        period: seconds between two lines at least; a line is said only when something has finished.

    Returns:
        What ends the lines when it is set. They end by themselves when all jobs are finished.
    """
    table = read_seconds()
    progress = Progress([work(job, table) for job in jobs], cores)
    say(progress.first_line())
    stop = threading.Event()

    def watch() -> None:
        told = 0
        while not stop.wait(period):
            done = list(finished())
            if all(done):
                return
            if sum(done) > told:
                told = sum(done)
                say(progress.line(done))

    threading.Thread(target=watch, name="progress", daemon=True).start()
    return stop


def table_of(benchmarks: Path) -> list[tuple[str, str, float]]:
    """Return rows (rule, name, seconds) of the table of seconds from the benchmark files of a whole run.

    Edits are told apart by task and editor, and by editor, scores by task, analyses by name, other jobs by their rule.
    Each row is a median.
    """
    seconds_of: dict[tuple[str, str], list[float]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule, *parts = path.relative_to(benchmarks).with_suffix("").parts
        seconds = measured(path)
        if not math.isfinite(seconds):
            continue
        names = [""]
        match rule, parts:
            case "edit", [task, variant, *_]:
                editor = variant.partition("+")[0]
                names += [editor, f"{task}/{editor}"]
            case "score" | "analyse", [name, *_]:
                names.append(name)
        for name in names:
            seconds_of.setdefault((rule, name), []).append(seconds)
    return [(*key, round(statistics.median(values), 1)) for key, values in sorted(seconds_of.items())]
