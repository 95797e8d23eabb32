"""Commands about a run that is to start: its cost, and checks of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.places import ROOT
from editfrontier.study.config.study import load_study

app = typer.Typer()

Configs = Annotated[
    list[Path], typer.Option("--config", help="Config file; the later of several is laid over the earlier.")
]
MICRO = [Path("config/micro.yaml")]


@app.command()
def plan(config: Configs = MICRO) -> None:
    """Print the cost of a run (jobs, GPU hours, disk, downloads) and its missing weights, data and tokens."""
    from editfrontier.running.planning.costs import stages
    from editfrontier.running.planning.graph import jobs_to_run
    from editfrontier.running.planning.needs import needs
    from editfrontier.running.planning.page import plan_text

    demand_repository()
    study = load_study(config)
    jobs = jobs_to_run(config, Path())
    print(plan_text(study, ", ".join(map(str, config)), stages(study, jobs), needs(study, jobs)))


def demand_repository() -> None:
    """Raise `UserError` outside the repository, which the paths of a config are relative to."""
    if not Path("Snakefile").is_file():
        there = (ROOT / "Snakefile").is_file()
        fix = f"Change to {ROOT} first." if there else "Clone the repository and run `make setup` in it."
        raise UserError(f"{Path.cwd()}: is not the repository of EditFrontier, there is no Snakefile. {fix}")


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
    demand_repository()
    study = load_study(config)
    jobs = jobs_to_run(config, Path())
    needed, costs = needs(study, jobs), stages(study, jobs)
    results = Path(study.config["results"])
    checks = [
        here.check_python(),
        here.check_packages(ROOT / "requirements.lock"),
        here.check_torch(study.config["compute"]["device"], cluster is not None),
        *here.check_disk(results, costs, needed),
        *here.check_writing(results),
        *here.check_needs(needed),
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


@app.command()
def probe(out: Annotated[Path, typer.Option(help="File to write, JSON.")]) -> None:
    """Write the Python, torch and GPUs of this node; `doctor` runs it as a job."""
    from editfrontier.running.doctor.slurm import probe as look

    write_bytes(out, json.dumps(look()).encode())


def _say(line: str) -> None:
    typer.echo(line, err=True)
