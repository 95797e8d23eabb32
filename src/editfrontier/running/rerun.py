"""A job of the workflow by hand: its call, and the same in the foreground, where a debugger can look at it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from editfrontier.base.errors import DEBUG
from editfrontier.running.planning.graph import Call
from editfrontier.running.warm import THREADS

REDIRECTIONS = {">", "2>", "2>&1", "|"}


def configs_for(output: Path, default: Sequence[Path]) -> list[Path]:
    """Return the config that a results folder was made with, config.yaml above an output, else the default."""
    written = (folder / "config.yaml" for folder in output.parents)
    return next(([file] for file in written if file.is_file()), list(default))


def foreground(call: Call, debug: bool = False) -> int:
    """Run a call here, without its log, on as many threads as the job would have; return its exit status."""
    words = list(takewhile(lambda word: word not in REDIRECTIONS, shlex.split(call.shell)))
    variables = {f"{library}_NUM_THREADS": str(call.threads) for library in THREADS} | {"HF_HUB_OFFLINE": "1"}
    if debug:
        variables[DEBUG] = "1"
        words[1:1] = ["-m", "pdb"]
    # The rules call `python`, which need not be on PATH outside of Snakemake.
    return subprocess.run([sys.executable, *words[1:]], env={**os.environ, **variables}, check=False).returncode
