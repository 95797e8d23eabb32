"""The command line: what people type. Jobs of the workflow run the programs of `scripts/`."""

from __future__ import annotations

import typer

from editfrontier.commands import cluster, inputs, results
from editfrontier.program import errors_in_one_line

app = typer.Typer(
    help="Experiments on the controllability-fidelity frontier of diffusion-based image editing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(inputs.app)  # datasets, weights, variants
app.add_typer(cluster.app)  # plan, doctor, probe
app.add_typer(results.app)  # where, rerun, verify-results


def main() -> None:
    """Run the command line; a problem that the user can mend becomes one line on stderr and exit status 2."""
    with errors_in_one_line():
        app(prog_name="editfrontier")
