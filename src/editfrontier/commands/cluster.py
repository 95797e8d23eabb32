"""Commands for a run on a cluster, before and beside it: what it will take, and whether the place is ready for it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.fingerprints import spec_text
from editfrontier.base.places import ROOT
from editfrontier.study.config.study import load_study

app = typer.Typer()

Configs = Annotated[
    list[Path], typer.Option("--config", help="Config file; the later of several is laid over the earlier.")
]
StudyText = Annotated[
    str | None, typer.Option("--study", help="The complete config as JSON, or `@file` of it, instead of --config.")
]
MICRO = [Path("config/micro.yaml")]
JOBS = "Jobs of the workflow"
"""Heading of the commands that people seldom type."""


@app.command()
def plan(config: Configs = MICRO, study: StudyText = None) -> None:
    """Say what a run would take (jobs, GPU hours, disk, downloads) and which weights, data and tokens it lacks."""
    from editfrontier.running.planning.costs import stages
    from editfrontier.running.planning.graph import jobs_to_run
    from editfrontier.running.planning.needs import needs
    from editfrontier.running.planning.page import plan_text

    with config_files(config, study) as files:
        found = load_study(files)
        jobs = jobs_to_run(files, Path())
        title = "this config" if study is not None else ", ".join(map(str, config))
    print(plan_text(found, title, stages(found, jobs), needs(found, jobs)))


@contextmanager
def config_files(config: list[Path], study: str | None = None) -> Iterator[list[Path]]:
    """Give the config as files, whichever way it was given.

    Raises:
        UserError: the command runs elsewhere than in the repository, or the text is no JSON.
    """
    if not Path("Snakefile").is_file():
        # Paths of a config are relative to the repository: its models would be missing everywhere else.
        there = (ROOT / "Snakefile").is_file()
        fix = f"Change to {ROOT} first." if there else "Clone the repository and run `make setup` in it."
        raise UserError(f"{Path.cwd()}: is not the repository of EditFrontier, there is no Snakefile. {fix}")
    if study is None:
        yield config
        return
    content = spec_text(study, "--study")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"  # JSON is YAML too
        file.write_text(content, encoding="utf-8")
        try:
            yield [file]
        except UserError as error:
            raise UserError(str(error).replace(str(file), "--study")) from None


@app.command()
def doctor(
    config: Configs = MICRO,
    profile: Annotated[Path | None, typer.Option(help="Profile of Snakemake, for example profiles/slurm-a100.")] = None,
    probe: Annotated[bool, typer.Option(help="Whether to submit a job of at most one minute for each kind.")] = True,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for a probe job.")] = 300,
) -> None:
    """Check that all is ready for a run: environment, disk, weights, data, tokens, cluster; status 1 if not."""
    from editfrontier.running.doctor import doctor_text, here, slurm
    from editfrontier.running.planning.costs import stages
    from editfrontier.running.planning.graph import jobs_to_run
    from editfrontier.running.planning.needs import needs

    chosen = slurm.read_profile(profile) if profile else None
    cluster = chosen if chosen and chosen.executor == "slurm" else None
    with config_files(config) as files:
        study = load_study(files)
        jobs = jobs_to_run(files, Path())
    found, costs = needs(study, jobs), stages(study, jobs)
    results = Path(study.config["results"])
    checks = [
        here.check_python(),
        here.check_packages(ROOT / "requirements.lock"),
        here.check_torch(study.config["compute"]["device"], cluster is not None),
        *here.check_disk(results, costs, found),
        *here.check_writing(results),
        *here.check_needs(found),
        *here.check_models(study.config),
    ]
    if cluster:
        checks += slurm.check_cluster(cluster)
        reached = not any(check.name == "SLURM" and check.state == "wrong" for check in checks)
        if reached:
            checks += slurm.check_orphans(cluster, Path())
        if reached and probe:
            closed = {check.name for check in checks if check.state == "wrong"}
            for partition, gres in slurm.probe_kinds(cluster):
                if f"partition {partition}" in closed:
                    continue  # it would wait in vain
                checks.append(slurm.check_probe(cluster, partition, gres, results, patience, _say))
    print(doctor_text(checks))
    if any(check.state == "wrong" for check in checks):
        raise typer.Exit(1)


@app.command(rich_help_panel=JOBS)
def probe(out: Annotated[Path, typer.Option(help="File to write, JSON.")]) -> None:
    """Write what there is on the node that this runs on: Python, torch, GPUs. `doctor` runs it as a job."""
    from editfrontier.running.doctor.slurm import probe as look

    write_bytes(out, json.dumps(look()).encode())


def _say(line: str) -> None:
    typer.echo(line, err=True)
