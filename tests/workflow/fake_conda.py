"""Stands in for conda as far as Snakemake uses it: `conda info`, `conda env create`, `source <base>/bin/activate`.

Environments are those of `environments.make_environment`; a Python that starts in one notes it in `starts.jsonl`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from environments import make_environment

# As conda does it: an environment takes the place in PATH of the active one, which need not be the first there.
ACTIVATE = """
if [ -n "${CONDA_PREFIX:-}" ]; then PATH="${PATH/"$CONDA_PREFIX/bin"/"$1/bin"}"; else PATH="$1/bin:$PATH"; fi
export PATH CONDA_PREFIX="$1"
"""

NOTE = """
import json, os, sys
with open({file!r}, "a") as file:
    kept = {{name: os.environ.get(name, "") for name in ("PYTHONPATH", "EDITFRONTIER_WARM")}}
    file.write(json.dumps({{"kind": {kind!r}, "command": sys.orig_argv[1:], **kept}}) + "\\n")
"""


def install(base: Path) -> dict[str, str]:
    """Install it in a folder; return the environment variables of a user who has activated it, and then Snakemake's."""
    (base / "bin").mkdir(parents=True)
    (base / "bin/conda").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    (base / "bin/conda").chmod(0o755)
    (base / "bin/activate").write_text(ACTIVATE)
    path = [str(Path(sys.executable).parent), str(base / "bin"), os.environ["PATH"]]
    return os.environ | {"PATH": os.pathsep.join(path), "CONDA_PREFIX": str(base), "FAKE_CONDA": str(base)}


def starts(base: Path) -> list[dict[str, object]]:
    """Return what started in environments: kind, command, and some environment variables."""
    return [json.loads(line) for line in (base / "starts.jsonl").read_text().splitlines()]


def main(arguments: list[str]) -> None:
    base = Path(os.environ["FAKE_CONDA"])
    match arguments:
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": str(base), "platform": "linux-64"}))
        case ["--version"]:
            print("conda 25.1.1")
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            file, folder = (Path(options[options.index(name) + 1]) for name in ("--file", "--prefix"))
            make_environment(file, folder)
            (kind,) = (one.stem for one in Path("envs").glob("*.yaml") if one.read_bytes() == file.read_bytes())
            (place,) = folder.glob("lib/python*/site-packages")
            (place / "sitecustomize.py").write_text(NOTE.format(file=str(base / "starts.jsonl"), kind=kind))
        case ["clean", *_]:
            pass
        case _:
            sys.exit(f"conda {' '.join(arguments)}: not expected")


if __name__ == "__main__":
    main(sys.argv[1:])
