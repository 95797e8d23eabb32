"""Commands about the inputs of a study: data sets, models and variants."""

from __future__ import annotations

from typing import Annotated

import typer

from editfrontier.base.errors import UserError
from editfrontier.commands.cluster import MICRO, Configs, demand_repository
from editfrontier.data.reading.inventory import describe, fetch_files, summary
from editfrontier.study.config.study import load_study

app = typer.Typer()


@app.command()
def datasets(
    name: Annotated[str, typer.Argument(help="A data set; without it, all of them are listed.")] = "",
    root: Annotated[str, typer.Option(help="Folder of its raw files.")] = "",
    fetch: Annotated[
        bool, typer.Option(help="Download the files that a program may download; resume broken downloads.")
    ] = False,
) -> None:
    """Print the origin, terms and present raw files of a data set; or download the files."""
    if not name:
        print(summary())
        return
    if fetch:
        fetch_files(name, root)
    print(describe(name, root))


@app.command()
def weights(
    config: Configs = MICRO,
    pin: Annotated[bool, typer.Option(help="Pin unpinned revisions to the present ones of the hub.")] = False,
    check: Annotated[bool, typer.Option(help="Only list missing or damaged files; status 1 if there are any.")] = False,
) -> None:
    """Fetch the models of a config, where the network can be reached; jobs run without it."""
    from editfrontier.models.weights import damaged_files, fetch_models, models_of, summary

    demand_repository()
    complete = load_study(config).config
    if check:
        models = models_of(complete)
        print("\n".join(summary(models)))
        damaged = [line for model in models for line in damaged_files(model)]
        for line in damaged:
            print(line)
        if damaged or any(model.problem for model in models):
            raise typer.Exit(1)
        return
    if problems := fetch_models(complete, pin):
        raise UserError("\n".join([f"{len(problems)} models cannot be used yet:", *problems]))
    print("All models are here.")


@app.command()
def variants(config: Configs = MICRO) -> None:
    """List the variants that a config runs, by task, with the experiments that use each."""
    demand_repository()
    study = load_study(config)
    for task, of_task in study.variants.items():
        tables = {name: table for name, table in study.tables.items() if table["task"] == task}
        for name in of_task:
            users = [user for user, table in tables.items() if any(row["variant"] == name for row in table["rows"])]
            print(f"{task}\t{name}\t{', '.join(users)}")
