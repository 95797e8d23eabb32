"""How a config reaches the jobs: as a file and names, texts as plain texts, files by their content."""

from __future__ import annotations

import os
import time

import yaml

from editfrontier.study.config.study import load_study
from workspace import Workspace


def test_dry_run_after_a_change_of_the_config_is_short(workspace: Workspace) -> None:
    workspace.edit("config/smoke.yaml", "batch_size: 4", "batch_size: 8")
    text = workspace.run("--dry-run").stdout
    assert "Index of results: " in text
    assert max(map(len, text.splitlines())) < 3000
    assert len(text) < 30_000


def test_changed_language_is_seen_though_results_are_dated_in_the_future(workspace: Workspace) -> None:
    tomorrow = time.time() + 86_400
    for file in workspace.results.rglob("*"):
        os.utime(file, (tomorrow, tomorrow))
    assert workspace.plan() == set()
    seen = {
        "config/language.yaml": "Cases of portraits",
        "config/reported_values.csv": "Table table1",
        "config/claims.yaml": "Judgement of the paper's claims",
        "reports/report.css": "Index of results: results/smoke/index.html",
        "reports/userstudy.css": "Page of the user study: results/smoke/user_study/index.html",
    }
    for file in seen:
        with (workspace.folder / file).open("a") as lines:
            lines.write("\n")
    assert set(seen.values()) <= workspace.plan()


def test_braces_and_markup_of_a_title_are_text(workspace: Workspace) -> None:
    study = load_study([workspace.folder / workspace.config])
    experiment = study.config["user_study"]["experiment"]
    path = workspace.folder / workspace.config
    config = yaml.safe_load(path.read_text())
    config["experiments"][experiment]["title"] = "Edits by {name} <img src=x onerror=alert(1)>"
    path.write_text(yaml.safe_dump(config))
    text = workspace.run("data", "index", "--dry-run").stdout
    assert f"Table {experiment}" in text
    assert "<img" not in text
    workspace.run(f"results/smoke/tables/{experiment}.csv", "results/smoke/user_study/index.html", "--cores", "1")


def test_config_larger_than_an_argument_may_be_travels_as_a_file(workspace: Workspace) -> None:
    path = workspace.folder / workspace.config
    config = yaml.safe_load(path.read_text())
    config["experiments"]["table1"]["caption"] = "long " * 40_000
    path.write_text(yaml.safe_dump(config))
    workspace.run("results/smoke/tables/table1.csv", "--cores", "1")
    made = yaml.safe_load((workspace.results / "config.yaml").read_text())
    assert made["experiments"]["table1"]["caption"] == "long " * 40_000
