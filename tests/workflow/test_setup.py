"""Set-up: the Makefile, the lock file, and messages of the command line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def lock_lines(root: Path) -> list[str]:
    lines = (root / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_lock_pins_exactly_and_names_no_place(root: Path) -> None:
    pattern = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+( ; [a-z_]+ == \"[a-z]+\")?(\s+# via .*)?$")
    assert [line for line in lock_lines(root) if not pattern.match(line)] == []
    assert not re.search(
        r"https?://|file://|--find-links|--index-url|/(opt|home|root|tmp)/", (root / "requirements.lock").read_text()
    )


def test_lock_holds_every_dependency(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["slurm"]]
    normal = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lock_lines(root)}
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[]", entry)[0]).lower() for entry in wanted}
    assert names - normal == set()


def test_installed_versions_are_the_locked_ones(root: Path) -> None:
    from importlib.metadata import version

    locked = dict(line.split()[0].split("==") for line in lock_lines(root))
    for name in ("torch", "diffusers", "transformers", "snakemake", "numpy", "pandas"):
        assert version(name).split("+")[0] == locked[name]


@pytest.fixture
def bare(tmp_path: Path, root: Path) -> Path:
    """A folder with the Makefile, and a folder `bin` of tools in which there is no usable Python."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(root / name, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "cat", "cksum", "tr", "rm", "touch", "mv", "make"):
        found = shutil.which(tool)
        assert found, f"{tool} is not installed"
        (tools / tool).symlink_to(found)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "bin/make"), *arguments],
        cwd=folder,
        env={"PATH": str(folder / "bin")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n".replace("/usr/bin/env bash", str(path.parent / "bash")))
    path.chmod(0o755)


def test_missing_or_old_python_is_one_clear_message(bare: Path) -> None:
    script(bare / "bin/python3", "exit 1")  # an old Python fails the version check; a shim without a version fails too
    result = make(bare, "setup")
    assert result.returncode != 0
    assert "error: no Python 3.11 or newer" in result.stdout
    assert not list(bare.glob(".venv/.installed-*"))


# Answers as the interpreter that it was copied from, with all modules asked for; notes calls of pip.
FAKE_PYTHON = """
case "$1 $2" in
  "-c "*base_prefix*) echo {name};;
  "-c "*_base_executable*) echo {path};;
  "-c "*|"--version "*) echo Python 3.11.0;;
  "-m venv") {mkdir} -p "$3/bin"; {cp} "{path}" "$3/bin/python";;
  *" pip") [[ "$3 $5" != "show opencv-python" || -e {twice} ]] || exit 1; echo {name} "$@" >> {log}; [ ! -e {fail} ];;
esac
"""


def fake_python(folder: Path, name: str) -> None:
    """Put an interpreter into `bin`; its calls of pip go to pip.log, and fail while there is a file `fail`."""
    names = {"name": name, "path": folder / "bin" / name, "log": folder / "pip.log", "fail": folder / "fail"}
    tools = {tool: shutil.which(tool) for tool in ("mkdir", "cp")}
    script(folder / "bin" / name, FAKE_PYTHON.format(**names, **tools, twice=folder / "twice"))


def interpreter(folder: Path) -> str:
    """The interpreter that the last set-up installed with."""
    return (folder / "pip.log").read_text().splitlines()[-1].split()[0]


def test_failed_install_leaves_no_stamp_and_the_next_one_starts_afresh(bare: Path) -> None:
    log, fail = bare / "pip.log", bare / "fail"
    fake_python(bare, "python3.11")
    fail.touch()
    assert make(bare, "setup").returncode != 0
    assert not list(bare.glob(".venv/.installed-*"))
    leftover = bare / ".venv/leftover"
    leftover.touch()
    fail.unlink()
    assert make(bare, "setup").returncode == 0
    assert not leftover.exists(), "a broken-off installation was taken over"
    assert "--no-deps --requirement requirements.lock" in log.read_text()
    assert "uninstall" not in log.read_text()
    calls = log.read_text().count("-m pip")
    assert make(bare, "setup").returncode == 0
    assert log.read_text().count("-m pip") == calls, "a complete installation was installed again"
    lock = bare / "requirements.lock"
    lock.write_text(lock.read_text() + "example==1.0\n")
    assert make(bare, "setup").returncode == 0
    assert log.read_text().count("-m pip") > calls, "a changed lock file was not installed"


def test_the_opencv_with_windows_gives_way_to_the_headless_one(bare: Path) -> None:
    fake_python(bare, "python3")
    (bare / "twice").touch()
    assert make(bare, "setup").returncode == 0
    calls = [line for line in (bare / "pip.log").read_text().splitlines() if "show" not in line]
    assert calls[0].endswith("uninstall --yes --quiet opencv-python opencv-python-headless")
    assert "--requirement requirements.lock" in calls[1]


def test_python_chooses_the_interpreter(bare: Path) -> None:
    for name in ("python3", "python3.11", "python3.13"):
        fake_python(bare, name)
    assert make(bare, "setup").returncode == 0
    assert interpreter(bare) == "python3", "whatever is active comes before a version by name"
    for wanted, is_used in (
        (str(bare / "bin/python3.13"), "python3.13"),
        ("python3.11", "python3.11"),
        ("", "python3.11"),
    ):
        assert make(bare, "setup", f"PYTHON={wanted}").returncode == 0
        assert interpreter(bare) == is_used
    calls = (bare / "pip.log").read_text()
    assert make(bare, "setup", "PYTHON=python3.11").returncode == 0
    assert (bare / "pip.log").read_text() == calls, "an environment of this interpreter was installed again"


def test_a_python_that_cannot_be_used_is_named_and_the_environment_is_kept(bare: Path) -> None:
    fake_python(bare, "python3")
    assert make(bare, "setup").returncode == 0
    result = make(bare, "setup", "PYTHON=python3.99")
    assert result.returncode != 0
    assert "error: PYTHON=python3.99 is no Python 3.11 or newer" in result.stdout
    assert (bare / ".venv/bin/python").is_file()
    assert make(bare, "setup").returncode == 0


def test_the_lock_has_one_opencv(root: Path) -> None:
    names = {line.split("==")[0] for line in lock_lines(root)}
    assert {name for name in names if "opencv" in name} == {"opencv-python-headless"}
    assert "/^opencv-python==/d" in (root / "Makefile").read_text(), "`make lock` would bring the other one back"


def test_ci_runs_make_test(root: Path) -> None:
    text = (root / ".ci/run").read_text()
    assert "make test" in text
    assert (root / ".ci/run").stat().st_mode & 0o111


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "editfrontier", *arguments], text=True, capture_output=True)


def test_command_line_errors_are_one_line() -> None:
    result = command_line("variants", "--config", "absent.yaml")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "absent.yaml: no such config file" in last


def test_variants_lists_every_variant_with_its_experiments(root: Path) -> None:
    lines = command_line("variants", "--config", str(root / "config/smoke.yaml")).stdout.splitlines()
    assert "portraits\tmask_guided\ttable1, table3, guidance, guidance_schedules" in lines
    assert "drags\tcopy_paste\ttable4, table4_kind, table4_size" in lines
