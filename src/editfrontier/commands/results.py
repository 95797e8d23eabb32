"""Commands about results: their place, their checksums, and how one of them is made again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from editfrontier.base.errors import UserError
from editfrontier.commands.cluster import MICRO, Configs, demand_repository
from editfrontier.editing.failures import failures
from editfrontier.running import verify
from editfrontier.running.planning.graph import call_of
from editfrontier.running.rerun import configs_for, foreground
from editfrontier.study.config.study import load_study, write_config

app = typer.Typer()


@app.command()
def where(config: Configs = MICRO) -> None:
    """Print the place of the report of a config, and the failed edits with their reasons."""
    demand_repository()
    study = load_study(config)
    results = Path(study.config["results"])
    if failed := failures(results, study.variants):
        print("\n".join(failed))
    page = results / "index.html"
    if not page.is_file():
        names = " ".join(map(str, config))
        make = "make reproduce" if config == MICRO else f"snakemake --configfile {names} --cores 2"
        raise UserError(f"{page}: there is no report yet. Make it with `{make}`.")
    print(f"The report is in {page} (open it in a browser: {page.resolve().as_uri()})")


@app.command()
def rerun(
    output: Annotated[Path, typer.Argument(help="File of the results, for example results/micro/tables/table1.csv.")],
    config: Annotated[
        list[Path] | None, typer.Option(help="Config file; by default the one that the results were made with.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the file again, in the foreground.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="The same in the debugger pdb.")] = False,
) -> None:
    """Print the call of the job that makes a file of the results, or make it again; the images of edits are kept."""
    demand_repository()
    path = Path(os.path.relpath(output))
    configs = config or configs_for(path, MICRO)
    study = load_study(configs)
    call = call_of(path.as_posix(), configs, Path(), start=run or debug)
    print(call.shell, flush=True)
    if run or debug:
        write_config(study, Path(study.config["results"]) / "config.yaml")
        raise typer.Exit(foreground(call, debug))


@app.command()
def verify_results(root: Annotated[Path, typer.Argument(help="Results folder, for example results/micro.")]) -> None:
    """Read all files of a results folder and compare them with the checksums that it holds; status 1 if one differs."""
    report = verify.verify_results(root)
    print(verify.summary(root, report))
    if report.problems:
        raise typer.Exit(1)
