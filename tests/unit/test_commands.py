"""Commands that people type: what they print and their exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editfrontier.base.errors import UserError
from editfrontier.cli import app, main
from editfrontier.study.config.study import load_study


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
    models = text.count(": is here\n")
    other = tmp_path / "other.yaml"
    other.write_text(f"extends: {root}/config/smoke.yaml\nevaluators: {{ clip: {{ path: nowhere }} }}\n")
    status, text = run("weights", "--check", "--config", str(other))
    assert (status, f"1 of {models} models cannot be used yet" in text) == (1, True), text


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the program as it is typed; return its one line of error."""
    monkeypatch.setattr("sys.argv", ["editfrontier", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("command", ["plan", "doctor", "weights", "variants", "where"])
def test_outside_of_the_repository_the_message_says_where_it_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = (
        f"error: {tmp_path}: is not the repository of EditFrontier, there is no Snakefile. Change to {root} first."
    )
    assert typed(monkeypatch, capsys, command) == message
    assert typed(monkeypatch, capsys, command, "--config", str(root / "config/micro.yaml")) == message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("variants --config config", "config: is a folder, expected a config file"),
        ("variants --config {tmp}/empty.yaml", "empty.yaml: is empty, expected a mapping of keys"),
        ("variants --config {tmp}/text.yaml", "text.yaml: holds text, expected a mapping of keys"),
        ("variants --config {tmp}/extends.yaml", "extends.yaml: key 'extends': there is no file {tmp}/gone.yaml"),
        ("doctor --profile profiles/slurm_a100", "no such profile. Did you mean 'profiles/slurm-a100'?"),
        ("where --config config/paper.yaml", "Make it with `snakemake --configfile config/paper.yaml --cores 2`."),
    ],
)
def test_what_is_typed_wrong_is_one_line_with_the_fix(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    words: str,
) -> None:
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "text.yaml").write_text("just text\n")
    (tmp_path / "extends.yaml").write_text("extends: gone.yaml\n")
    monkeypatch.chdir(root)
    assert words.format(tmp=tmp_path) in typed(monkeypatch, capsys, *arguments.format(tmp=tmp_path).split())


def test_a_file_of_the_library_that_is_missing_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    def lost(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/library/of/nobody.txt")

    monkeypatch.chdir(root)
    monkeypatch.setattr("editfrontier.study.config.study.resolve_study", lost)
    monkeypatch.setattr("sys.argv", ["editfrontier", "variants"])
    with pytest.raises(FileNotFoundError):
        main()


def test_an_evaluator_whose_folder_does_not_exist_is_named() -> None:
    from editfrontier.scoring.evaluator import load_evaluator

    with pytest.raises(UserError, match="nowhere: no such model folder.*or correct `path`"):
        load_evaluator("clip", "nowhere")


def test_last_error_of_a_job_reaches_the_terminal_when_its_log_cannot_be_written(tmp_path: Path) -> None:
    terminal = tmp_path / "terminal"
    command = f"{sys.executable} -m editfrontier verify-results {tmp_path}/nowhere > /dev/full 2>&1 3> {terminal}"
    found = subprocess.run(["bash", "-c", command], env={**os.environ, "EDITFRONTIER_TERMINAL": "3"})
    assert found.returncode == 2
    assert terminal.read_text().startswith(f"error: {tmp_path}/nowhere: no such folder")
