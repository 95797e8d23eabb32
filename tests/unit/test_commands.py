"""Commands that people type: what they print and their exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from editfrontier.cli import app
from editfrontier.config import load_study


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_variants_are_listed_with_the_experiments_of_their_own_task(root: Path) -> None:
    config = root / "config/micro.yaml"
    study = load_study([config])
    status, text = run("variants", "--config", str(config))
    assert status == 0
    found = {(task, name): users.split(", ") for task, name, users in (line.split("\t") for line in text.splitlines())}
    assert set(found) == {(task, name) for task, names in study.variants.items() for name in names}
    for (task, name), users in found.items():
        assert users != [""], f"{task}/{name} is run for no experiment"
        assert {study.tables[user]["task"] for user in users} == {task}


def test_check_of_weights_fails_when_any_is_missing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    status, text = run("weights", "--check", "--config", "config/smoke.yaml")
    assert (status, "models are here." in text) == (0, True), text
    other = tmp_path / "other.yaml"
    other.write_text(f"extends: {root}/config/smoke.yaml\nevaluators: {{ clip: {{ path: nowhere }} }}\n")
    status, text = run("weights", "--check", "--config", str(other))
    assert (status, "1 of 15 models cannot be used yet" in text) == (1, True), text
