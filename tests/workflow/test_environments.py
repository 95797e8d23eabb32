"""The environments of jobs: conda files against the lock and against what jobs import, and a run with them.

conda itself is not there: `fake_conda` makes environments of what the files name and what that requires, nothing else.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

import fake_conda
from editfrontier.study.config.study import load_study
from environments import KINDS, closure, normal, pins
from workspace import Workspace, make_workspace

MODELS = ("cases", "reference", "edit", "sources", "score", "validation", "summarise", "analyse")
TABLES = ("table", "figure", "judge", "user_study", "index")
LOGIN = {"doctor", "planning"}  # packages that only commands of a login node import: they drive Snakemake


def kinds_of_rules(root: Path) -> dict[str, str]:
    """Return rule -> kind of the environment, of rules that run something; "" = it names none."""
    found = {}
    for file in sorted((root / "rules").glob("*.smk")):
        for name, body in re.findall(r"^ *rule (\w+):\n((?:(?! *rule ).*\n?)*)", file.read_text(), flags=re.MULTILINE):
            if re.search(r"^ *(shell|script|run|notebook|wrapper):", body, flags=re.MULTILINE):
                named = re.search(r'^ *conda:\n +"\.\./envs/(\w+)\.yaml"$', body, flags=re.MULTILINE)
                found[name] = named[1] if named else ""
    return found


def test_every_rule_that_runs_something_names_an_environment(root: Path) -> None:
    kinds = kinds_of_rules(root)
    assert len(kinds) > 15
    assert {rule: kind for rule, kind in kinds.items() if kind not in KINDS} == {}
    assert set(kinds.values()) == set(KINDS)
    assert {file.stem for file in (root / "envs").glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_conda_file_agrees_with_the_lock_and_the_project(root: Path, kind: str) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lock = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (root / "requirements.lock").read_text(), flags=re.MULTILINE))
    wanted = yaml.safe_load((root / f"envs/{kind}.yaml").read_text())["dependencies"]
    assert f">={wanted[0].removeprefix('python=')}" == project["requires-python"]
    assert wanted[1] == "pip"
    listed = {one.name: str(one.specifier) for one in pins(root / f"envs/{kind}.yaml")}
    assert listed == {name: f"=={lock[name]}" for name in listed}, "a file in envs/ has other versions than the lock"
    declared = [*project["dependencies"], *project["optional-dependencies"]["slurm"]]
    assert set(listed) <= {normal(re.split(r"[<>=\[]", entry)[0]) for entry in declared}


def test_image_installs_the_lock(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    image = (root / "envs/editfrontier.def").read_text()
    assert f"From: python:{project['requires-python'].removeprefix('>=')}-" in image
    assert "pip install --no-cache-dir --no-deps --requirement /opt/editfrontier/requirements.lock" in image
    assert "==" not in image, "the lock alone decides versions"
    (url,) = re.findall(r'^container: "(.*)"$', (root / "Snakefile").read_text(), flags=re.MULTILINE)
    assert f"apptainer build {url} envs/editfrontier.def" in image


def test_the_environment_of_models_ends_with_the_headless_opencv_of_the_lock(root: Path) -> None:
    script = (root / "envs/models.post-deploy.sh").read_text()
    (pinned,) = (str(one) for one in pins(root / "envs/models.yaml") if "opencv" in one.name)
    assert script.endswith(f"pip install --no-deps {pinned}\n")


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level packages that a module imports anywhere, but for the sake of types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
        yield from imported(node)


def test_whatever_the_library_imports_is_in_the_environment_of_models_or_of_the_login_node(root: Path) -> None:
    providers = packages_distributions()
    there = {kind: set(closure(pins(root / f"envs/{kind}.yaml"))) for kind in KINDS}
    package, missing = root / "src/editfrontier", {}
    for file in package.rglob("*.py"):
        kind = "workflow" if LOGIN & {*file.relative_to(package).parts} else "models"
        names = set(imported(ast.parse(file.read_text()))) - sys.stdlib_module_names - {"editfrontier"}
        absent = {name for name in names if not {normal(one) for one in providers[name]} & there[kind]}
        if kind == "workflow":
            absent -= {"torch"}  # `doctor` looks at it where it is, and at nodes by a probe
        if absent:
            missing[str(file.relative_to(package))] = absent
    assert missing == {}


def test_tables_and_the_login_node_need_no_torch(root: Path) -> None:
    for kind in ("tables", "workflow"):
        assert not {"torch", "diffusers", "transformers"} & set(closure(pins(root / f"envs/{kind}.yaml")))
    assert "snakemake" not in closure(pins(root / "envs/models.yaml"))


# Runs ----------------------------------------------------------------------------------------------------------------


def run(workspace: Workspace, variables: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", workspace.config]
    environment = variables | {"PYTHONPATH": str(workspace.folder / "src")}
    result = subprocess.run(
        command, cwd=workspace.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


def small_study(folder: Path) -> Workspace:
    """Make a workspace with the shipped models and a study of two editors, with figures, claims and a user study."""
    make_workspace(folder, stub=False)
    config: dict[str, Any] = dict(load_study([folder / "config/smoke.yaml"]).config)
    rows = [{"editor": "sdedit", "group": "editors"}, {"editor": "mask_guided", "group": "editors"}]
    config |= {
        "results": "results/small",
        "run": ["table1"],
        "analyse": ["user_study"],
        "tasks": {"portraits": {"dataset": "portraits", "cases": 2, "shards": 1, "batch_size": 2}},
        "reference": {**config["reference"], "images": 8},
        "experiments": {"table1": {**config["experiments"]["table1"], "rows": rows}},
        "figures": {name: {"table": "table1"} for name in ("frontier", "qualitative")},
        "analyses": {"user_study": config["analyses"]["user_study"]},
        "validation": {**config["validation"], "portraits": 8},
        "user_study": {**config["user_study"], "participants": 2, "pairs": 1, "raters": 2, "repeats": 0},
    }
    config["statistics"].pop("tasks", None)
    (folder / "config/small.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return Workspace(folder, "config/small.yaml")


@pytest.mark.slow
def test_jobs_of_each_kind_run_in_an_environment_of_its_file_and_nothing_else(tmp_path: Path, root: Path) -> None:
    (tmp_path / "study").mkdir()
    workspace = small_study(tmp_path / "study")
    variables = fake_conda.install(tmp_path / "conda")
    run(workspace, variables, "--software-deployment-method", "conda", "--cores", "2")
    run(workspace, variables, "plan", "--software-deployment-method", "conda", "--cores", "1")
    assert (workspace.results / "index.html").stat().st_size > 0
    assert (workspace.results / "report.zip").stat().st_size > 0
    started = fake_conda.starts(tmp_path / "conda")
    scripts = {(note["kind"], note["command"][0]) for note in started if note["command"][0] != "-m"}
    expected = {("models", f"scripts/{name}.py") for name in MODELS}
    assert scripts == expected | {("tables", f"scripts/{name}.py") for name in TABLES}
    typed = {(note["kind"], note["command"][2]) for note in started if note["command"][:2] == ["-m", "editfrontier"]}
    assert typed == {("workflow", "plan")}
    # The job of Snakemake's own report, and nothing from outside: neither a path of the user, nor the warm server.
    assert {note["kind"] for note in started if note["command"][:2] == ["-m", "snakemake"]} == {"workflow"}
    assert {note["PYTHONPATH"] for note in started} == {str(workspace.folder / "src")}
    assert {note["EDITFRONTIER_WARM"] for note in started} == {""}
    assert not (workspace.results / "logs/warm.log").exists()


# Stands in for Apptainer: notes what it is called with and runs the command.
APPTAINER = """#!/bin/bash
if [ "$1" = --version ]; then echo "apptainer version 1.3.6"; exit; fi
printf '%s\\n' "$@" > "{note}"
exec bash -c "${{@: -1}}"
"""


@pytest.mark.slow
def test_jobs_run_in_the_image(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    workspace = make_workspace(tmp_path / "study", stub=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apptainer").write_text(APPTAINER.format(note=tmp_path / "note"))
    (tmp_path / "bin/apptainer").chmod(0o755)
    variables = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    target = str((workspace.results / "data/reference.npz").relative_to(workspace.folder))
    options = ["--software-deployment-method", "apptainer", "--apptainer-args=--nv", "--force", "--cores", "1"]
    run(workspace, variables, target, *options)
    called = (tmp_path / "note").read_text()
    assert called.startswith("exec\n")
    assert "\n--nv\n" in called and "\neditfrontier.sif\nbash\n-c\n" in called
    assert f"PYTHONPATH={workspace.folder / 'src'} " in called
