"""Commands about finished results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def verify_results(root: Annotated[Path, typer.Argument(help="Results folder, for example results/micro.")]) -> None:
    """Read all files of a results folder and compare them with the checksums that it holds; status 1 if one differs."""
    from editfrontier.running import verify

    found = verify.verify_results(root)
    print(verify.summary(root, found))
    if found.problems:
        raise typer.Exit(1)
