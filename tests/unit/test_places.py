"""Folders that cannot be written: the message names the folder and what moves it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from editfrontier.base.integrity.places import writing_problem
from editfrontier.cli import main
from editfrontier.running.doctor import here

NAMED = "Correct its permissions, or name another place."


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that cannot be written; the bits would not stop root."""
    folder = tmp_path / "home"
    folder.mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: folder not in [path, *path.parents] and access(path, mode))
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_a_folder_counts_as_the_nearest_one_that_is_there(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert writing_problem(tmp_path / "results/micro") == ""
    assert not (tmp_path / "results").exists()
    assert writing_problem(home / "a/b") == f"{home}: cannot be written, expected a writable folder. {NAMED}"
    assert writing_problem(tmp_path / "file/a").startswith(f"{tmp_path / 'file'}: is no folder, expected one")


def test_the_doctor_names_each_folder_and_the_variable_of_caches(home: Path, tmp_path: Path) -> None:
    (found,) = here.check_writing(tmp_path / "results")
    models = home / ".cache/huggingface"
    fix = f"Set XDG_CACHE_HOME to a folder that can be written, and HF_HOME to {models} if models are in it."
    assert (found.name, found.state) == ("cache", "wrong")
    assert found.text == f"{home}: cannot be written, expected a writable folder. {fix}"
    assert [check.name for check in here.check_writing(home / "results")] == ["results", "cache"]


def test_the_doctor_is_content_with_folders_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert [check.state for check in here.check_writing(tmp_path / "results")] == ["ok"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "fix"),
    [
        (".cache/huggingface/hub", "Set HF_HOME to a folder that can be written."),
        (".cache", "Set XDG_CACHE_HOME to a folder that can be written, and HF_HOME to "),
        ("results", NAMED),
    ],
)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_command_that_cannot_write_is_one_line_with_the_fix(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    fix: str,
    number: int,
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(number, os.strerror(number), str(home / place))

    monkeypatch.setattr("editfrontier.study.config.study.resolve_study", refused)
    monkeypatch.setattr("sys.argv", ["editfrontier", "where"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {home / place}: {os.strerror(number)}. {fix}")
