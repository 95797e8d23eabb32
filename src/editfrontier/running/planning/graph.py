"""The jobs that Snakemake would run now, from its own graph: finished and unchanged ones are left out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PlannedJob:
    """A job that would run.

    Attributes:
        rule: its name.
        wildcards: name -> value, for example task, variant and shard.
        gpu: whether it asks for a GPU.
        benchmark: file that an earlier run of it may have left, None if it leaves none.
    """

    rule: str
    wildcards: Mapping[str, str]
    gpu: bool
    benchmark: Path | None


def jobs_to_run(configs: Sequence[Path], folder: Path, target: str = "all") -> list[PlannedJob]:
    """Return the jobs that would run, without those that only collect files.

    Whether conda environments or an image are used is not known here, so that a change of those is left out.

    Args:
        configs: config files, the later over the earlier.
        folder: root of the repository, with its Snakefile.
        target: of the workflow.

    Raises:
        SystemExit: the workflow refuses the config; the message says why.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness, RerunTrigger
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

    output = OutputSettings(quiet={Quietness.ALL})
    settings = ConfigSettings(configfiles=[path.resolve() for path in configs])
    with SnakemakeApi(output) as api, contextlib.redirect_stdout(io.StringIO()):
        made = api.workflow(
            ResourceSettings(cores=1), settings, snakefile=folder.resolve() / "Snakefile", workdir=folder.resolve()
        )
        # The graph of rules is the cheapest thing to ask for that makes Snakemake find out what has to run.
        triggers = RerunTrigger.all() - {RerunTrigger.SOFTWARE_ENV}
        made.dag(DAGSettings(targets={target}, rerun_triggers=triggers)).printrulegraph()
        dag = made._workflow.dag
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
