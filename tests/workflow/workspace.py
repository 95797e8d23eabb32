"""Copies of the workflow that tests may change, and whose jobs may be replaced by ones that only write outputs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "rules", "scripts", "envs", "config", "profiles", "src", "reports", "pyproject.toml")

# Stands in for src/editfrontier/program.py: each script writes every file that an option names as an output.
STUB = r"""
import sys
from pathlib import Path

script, arguments = Path(sys.argv[0]).stem, sys.argv[1:]
outputs = "--out --record --features --csv --markdown --latex --points --differences --frontier --subsets".split()
outputs.append("--design")
ends = {".parquet": "PAR1", ".npz": "PK\5\6" + 18 * "0", ".png": "IEND\xaeB`\x82", ".svg": "</svg>", ".pdf": "%%EOF"}
ends |= {".html": "</html>", ".json": "}", ".yaml": "\n...\n", ".csv": "\n", ".md": "\n", ".tex": "\n"}


def write(path, text):
    # What is cut short is made again: a file has to end as one of its kind does.
    path.write_text(text + ends.get(path.suffix, ""), encoding="latin-1", errors="replace")


def run(program):
    for option, value in zip(arguments, arguments[1:]):
        if option in outputs:
            path = Path(value)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, " ".join([script, *arguments]))
            beside = {"figure": (".pdf", ".png"), "analyse": (".csv", ".svg", ".pdf", ".png")}
            for suffix in beside.get(script, ()):
                write(path.with_suffix(suffix), "figure")
"""


@dataclass(frozen=True)
class Workspace:
    """A folder with the workflow in it."""

    folder: Path
    config: str = "config/smoke.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results" / Path(self.config).stem

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.folder / "src")}

    def command(self, *arguments: str) -> list[str]:
        """Return the call of snakemake on the workspace's config."""
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", self.config]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run snakemake on the workspace's config; `check` demands success."""
        result = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if check:
            assert result.returncode == 0, result.stdout
        return result

    def make(self) -> None:
        """Make everything but Snakemake's own report."""
        self.run("data", "index", "--cores", "2", "--quiet", "all")

    def plan(self, *targets: str) -> set[str]:
        """Return the messages of the jobs that would run now, for all but Snakemake's own report by default."""
        text = self.run(*(targets or ("data", "index")), "--dry-run").stdout
        return set(re.findall(r"^Job \d+: (.*)$", text, flags=re.MULTILINE))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the workspace."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} does not contain {old!r}"
        file.write_text(text.replace(old, new, 1))


def make_workspace(folder: Path, *, stub: bool) -> Workspace:
    """Copy the workflow; with `stub`, jobs only write their outputs, and models are folders with a provenance file."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / name)
    if stub:
        (folder / "src/editfrontier/program.py").write_text(STUB)
        config = yaml.safe_load((ROOT / "config/micro.yaml").read_text())
        for model in [*config["models"].values(), *config["evaluators"].values()]:
            provenance = folder / model["path"] / "provenance.json"
            provenance.parent.mkdir(parents=True, exist_ok=True)
            provenance.write_text("{}")
    else:
        shutil.copytree(ROOT / "resources", folder / "resources")
    return Workspace(folder)
