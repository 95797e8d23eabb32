"""The start and the end of a run of the workflow, and its search for damaged outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from editfrontier.base.errors import KILLED
from editfrontier.base.integrity.contents import Listing, damage
from editfrontier.base.integrity.places import writing_problem
from editfrontier.editing.failures import failures
from editfrontier.running import warm
from editfrontier.running.progress import Job, follow
from editfrontier.study.config.study import Study, write_config


def demand_writing(folder: Path) -> None:
    """End with one line if a folder cannot be written: Snakemake would end with a trace of its own."""
    if problem := writing_problem(folder):
        sys.exit(f"error: {problem}")


class WorkflowRun:
    """A run of the workflow, from its first job to its last.

    Args:
        warm_start: whether jobs run here, without a GPU and in the environment of Snakemake, so that a warm process
            could do them.
    """

    def __init__(self, study: Study, warm_start: bool) -> None:
        self.study, self.warm_start = study, warm_start
        self.results = Path(study.config["results"])
        self._edited: dict[str, dict[str, None]] = {}  # variants of each task that this run edits
        self._finished = (self.results / "index.html").exists()
        self._end_warm: Callable[[], None] = lambda: None
        self._listed: Listing = {}
        self._damaged: set[str] = set()

    def start(self, workflow: Any) -> None:
        """Write the config for the jobs, say how long they will take, and start what they share."""
        demand_writing(self.results)
        if not workflow.is_main_process:
            return
        write_config(self.study, self.results / "config.yaml")
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_norun]
        for job in jobs:
            if job.rule.name == "edit":
                self._edited.setdefault(job.wildcards["task"], {})[job.wildcards["variant"]] = None
        follow(
            [_planned(job) for job in jobs],
            lambda: [workflow.dag.finished(job) for job in jobs],
            workflow.nodes or workflow.cores,
            _say,
        )
        if self.warm_start and workflow.local_exec and not workflow.touch:
            rules = [job.rule.name for job in jobs]
            threads = self.study.config["compute"]["threads"]
            self._end_warm = warm.start_for(rules, threads, self.results / "logs" / "warm.log")

    def end(self, logs: Iterable[str] = ()) -> None:
        """End what the jobs shared, and say what could not be edited, and why: such cases are rows, which stop no job.

        Args:
            logs: of Snakemake, where a job failed; one that was killed is said to be short of memory, mostly.
        """
        self._end_warm()
        files = [Path(log) for log in logs]
        text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
        if "exit status 137" in text or "Signals.SIGKILL" in text:
            _say(KILLED)
        for line in failures(self.results, self._edited):
            _say(line)

    def damaged(self, outputs: Sequence[str]) -> bool:
        """Return whether an output of a job is not whole, or is missing though the page of results was made of it.

        Snakemake compares names, times, code and parameters, and would take a file that was cut short for a whole one.
        It also misses no file that only finished things were made of.
        """
        damaged = False
        for output in outputs:
            problem = damage(Path(output), self._listed)
            if problem and output not in self._damaged:
                self._damaged.add(output)
                _say(f"{output}: {problem}. It is made again.")
            missing = self._finished and not Path(output).exists()
            damaged = damaged or bool(problem) or missing
        return damaged


def _planned(job: Any) -> Job:
    """Return a job of Snakemake as the estimate of its time takes it."""
    wildcards = dict(job.wildcards.items())
    names = {name: wildcards[name] for name in ("variant", "task", "analysis") if name in wildcards}
    edit = [f"{names['task']}/{names['variant']}"] if "variant" in names else []
    return Job(job.rule.name, (*edit, *names.values()), Path(str(job.benchmark)) if job.benchmark else None)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
