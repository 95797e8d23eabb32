"""The graph of every config, and the quality of its source."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from editfrontier.study.config.study import load_study
from workspace import Workspace, make_workspace


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("fresh"), stub=True)


def job_counts(text: str) -> dict[str, int]:
    table = text.rpartition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, flags=re.MULTILINE)}


@pytest.mark.parametrize("name", ["micro", "smoke"])
def test_graph_has_one_edit_job_per_variant_and_shard(fresh: Workspace, name: str) -> None:
    """The config by default is that of the micro study."""
    study = load_study([fresh.folder / f"config/{name}.yaml"])
    command = [sys.executable, "-m", "snakemake", "--dry-run"]
    command += [] if name == "micro" else ["--configfile", f"config/{name}.yaml"]
    text = run_tool(fresh.folder, *command)
    assert f"results/{name}/index.html" in text
    counts = job_counts(text)
    edited = {task: len(variants) for task, variants in study.variants.items() if variants}
    assert counts["edit"] == sum(n * study.config["tasks"][task]["shards"] for task, n in edited.items())
    assert counts["score"] == sum(edited.values())
    assert counts["sources"] == counts["summarise"] == len(edited)
    read = {task for entry in study.analyses.values() for task in entry["tasks"]}
    assert counts["cases"] == len(edited.keys() | read)
    assert counts["table"] == len(study.tables)
    assert counts["index"] == counts["archive"] == counts["judge"] == 1
    assert counts["figure"] == len(study.config["figures"])


def test_stages_can_be_made_one_by_one(fresh: Workspace) -> None:
    jobs = {
        stage: set(job_counts(fresh.run(stage, "--dry-run").stdout)) for stage in ("data", "edits", "scores", "tables")
    }
    assert jobs["data"] >= {"cases", "reference"}
    assert "edit" in jobs["edits"] - jobs["data"]
    assert "score" in jobs["scores"] - jobs["edits"]
    assert "table" in jobs["tables"] - jobs["scores"]
    assert "index" not in jobs["tables"]


def test_wrong_config_stops_snakemake_with_one_line(fresh: Workspace) -> None:
    (fresh.folder / "config/wrong.yaml").write_text("extends: micro.yaml\nseeds: 3\n")
    result = Workspace(fresh.folder, "config/wrong.yaml").run("--dry-run", check=False)
    assert result.returncode != 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert lines == ["error: config/wrong.yaml: key 'seeds': unknown key. Did you mean 'seed'? Correct or remove it."]
    assert "Traceback" not in result.stdout


def test_finished_study_is_checked_in_seconds(workspace: Workspace) -> None:
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Nothing to be done" in workspace.run("data", "index", "--cores", "2").stdout
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime < 10  # of processors


def test_snakemake_report_holds_every_result_with_its_caption(workspace: Workspace) -> None:
    workspace.run("report", "--cores", "2")
    with zipfile.ZipFile(workspace.results / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        pages = " ".join(archive.read(name).decode() for name in archive.namelist() if name.endswith((".html", ".js")))
    study = load_study([workspace.folder / "config/smoke.yaml"])
    figures = {f"{name}.svg" for name in study.config["figures"]}
    assert names >= {"index.html", *(f"{table}.csv" for table in study.tables), "validation.csv", *figures}
    for words in ("Controllability against fidelity", "Long form", "The report to read", "what is expected"):
        assert words.lower() in pages.lower()


def test_lint(fresh: Workspace) -> None:
    result = fresh.run("--lint", check=False)
    assert result.returncode == 0, result.stdout
    assert "your workflow is in a good condition" in result.stdout


def test_snakefmt(root: Path) -> None:
    files = ["Snakefile", *sorted(str(file.relative_to(root)) for file in (root / "rules").glob("*.smk"))]
    run_tool(root, "snakefmt", "--check", *files)


def test_ruff(root: Path) -> None:
    run_tool(root, "ruff", "check", "src", "tests")


def test_ruff_format(root: Path) -> None:
    run_tool(root, "ruff", "format", "--check", "src", "tests")


def test_mypy(root: Path) -> None:
    run_tool(root, "mypy")


def run_tool(folder: Path, name: str, *arguments: str) -> str:
    command = [str(Path(sys.executable).parent / name), *arguments]
    result = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def test_no_file_is_long(root: Path) -> None:
    files = [*root.glob("src/**/*.py"), *root.glob("tests/**/*.py"), *root.glob("rules/*.smk"), root / "Snakefile"]
    lengths = {str(file.relative_to(root)): len(file.read_text().splitlines()) for file in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
