"""The jobs that Snakemake would run now, from its own graph: finished and unchanged ones are left out."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError, did_you_mean


@dataclass(frozen=True)
class PlannedJob:
    """A job that would run.

    Attributes:
        wildcards: name -> value, for example task, variant and shard.
        benchmark: file that an earlier run of it may have left, None if it leaves none.
    """

    rule: str
    wildcards: Mapping[str, str]
    gpu: bool
    benchmark: Path | None


@dataclass(frozen=True)
class Call:
    """The shell command of a job, with the threads that the job gets."""

    rule: str
    shell: str
    threads: int


def jobs_to_run(configs: Sequence[Path], folder: Path, target: str = "all") -> list[PlannedJob]:
    """Return the jobs that would run, without those that only collect files.

    Args:
        configs: config files, the later over the earlier.
        folder: root of the repository, with its Snakefile.

    Raises:
        SystemExit: the workflow refuses the config; the message says why.
    """
    with _graph(configs, folder, target) as dag:
        return [
            PlannedJob(
                job.rule.name,
                dict(job.wildcards.items()),
                bool(job.resources.get("gpu", 0)),
                Path(str(job.benchmark)) if job.benchmark else None,
            )
            for job in dag.needrun_jobs()
            if not job.is_norun
        ]


def call_of(output: str, configs: Sequence[Path], folder: Path, start: bool = False) -> Call:
    """Return the call that makes a file of the workflow, whether or not it would run now.

    Args:
        output: path of the file, relative to `folder`.
        start: whether the job is about to run by hand. Snakemake records nothing of that, and would take what other
            settings, other code or unfinished inputs gave for what it made itself: such files it notes as incomplete,
            so that the next run makes them again.

    Raises:
        UserError: no job makes it; the message names the nearest file that one makes.
        SystemExit: the workflow refuses the config; the message says why.
    """
    from snakemake.exceptions import InputFunctionException, MissingRuleException

    with contextlib.suppress(MissingRuleException, InputFunctionException), _graph(configs, folder, output) as dag:
        for job in dag.targetjobs:
            if output in map(str, job.output):
                if start and dag.needrun(job):
                    dag.workflow.persistence.started(job)
                return Call(job.rule.name, job.shellcmd, job.threads)
    with _graph(configs, folder, "all") as dag:
        outputs = {str(file) for job in dag.jobs if job.shellcmd for file in job.output}
        inputs = {str(file) for job in dag.jobs for file in job.input} - outputs
    names = ", ".join(map(str, configs))
    if output in inputs:
        raise UserError(f"{output}: jobs of {names} read it and none makes it. Name a file that one makes.")
    near = did_you_mean(output, outputs, otherwise_all=False) or " `snakemake --summary` lists what jobs make."
    raise UserError(f"{output}: no job of {names} makes it.{near} Correct the path or --config.")


@contextlib.contextmanager
def _graph(configs: Sequence[Path], folder: Path, target: str) -> Iterator[Any]:
    """Let Snakemake make its graph of a target.

    Whether conda environments or an image are used is not known here, so that a change of those is left out.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness, RerunTrigger
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

    output = OutputSettings(quiet={Quietness.ALL})
    settings = ConfigSettings(configfiles=[path.resolve() for path in configs])
    with SnakemakeApi(output) as api, contextlib.redirect_stdout(io.StringIO()):
        workflow = api.workflow(
            ResourceSettings(cores=os.cpu_count()),
            settings,
            snakefile=folder.resolve() / "Snakefile",
            workdir=folder.resolve(),
        )
        # The graph of rules is the cheapest thing to ask for that makes Snakemake find out what has to run.
        triggers = RerunTrigger.all() - {RerunTrigger.SOFTWARE_ENV}
        workflow.dag(DAGSettings(targets={target}, rerun_triggers=triggers)).printrulegraph()
        yield workflow._workflow.dag
