"""Editors and data sets of installed packages: two of one name, and modules that cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.registry import import_own
from editfrontier.data.dataset import get_dataset
from editfrontier.editing.editor import get_editor
from foreign_packages import put_package


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_an_editor_of_a_package_is_found(packages: Path) -> None:
    put_package(packages, "package-of-one", "brighter")
    assert get_editor("brighter").name == "brighter"


def test_a_package_with_the_name_of_a_built_in_editor_is_named(packages: Path) -> None:
    put_package(packages, "package-of-two", "sdedit")
    message = r"editor 'sdedit': this project and the package 'package-of-two' have one of this name, expected one"
    with pytest.raises(UserError, match=message):
        get_editor("sdedit")
    assert get_editor("source").name == "source"  # nobody else's name is taken


def test_two_packages_with_one_name_are_named(packages: Path) -> None:
    put_package(packages, "package-of-three", "brighter")
    put_package(packages, "package-of-four", "brighter")
    with pytest.raises(
        UserError, match="editor 'brighter': .*'package-of-(three|four)' and .*'package-of-(three|four)'"
    ):
        get_editor("brighter")


def test_data_sets_too(packages: Path) -> None:
    put_package(packages, "package-of-five", "coco", group="editfrontier.datasets")
    with pytest.raises(UserError, match="dataset 'coco': this project and the package 'package-of-five'"):
        get_dataset("coco")
    put_package(packages, "package-of-six", "portraits", group="editfrontier.datasets")
    with pytest.raises(UserError, match="dataset 'portraits': this project and the package 'package-of-six'"):
        get_dataset("portraits")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\nraise RuntimeError('no GPU here')", r"RuntimeError: no GPU here, .*package_of_ill.*\.py, line 2"),
        ("x = {}['a']", r"KeyError: 'a', .*line 1"),
        ("def broken(:", r"SyntaxError: .*line 1"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3"),
        ("import no_such_module_here", r"ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("x = 1", r"AttributeError: .*EDITOR"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_named_with_its_error(
    packages: Path, code: str, words: str, request: pytest.FixtureRequest
) -> None:
    package = f"package-of-ill-{abs(hash(request.node.name))}"
    put_package(packages, package, "brighter", code)
    with pytest.raises(UserError, match=rf"'brighter = .*{package}': cannot be loaded \({words}") as caught:
        get_editor("brighter")
    assert "Correct the package" in str(caught.value)


def test_a_constant_of_another_class_is_named_with_its_package(packages: Path) -> None:
    put_package(packages, "package-of-no-editor", "brighter", "EDITOR = 1")
    with pytest.raises(
        UserError, match="'brighter': its module in the package 'package-of-no-editor' defines no EDITOR"
    ):
        get_editor("brighter")


def test_a_file_of_this_project_that_cannot_be_loaded_is_named(packages: Path) -> None:
    (packages / "slip_in_here.py").write_text("import math\n\nmath.nothing\n")
    with pytest.raises(
        UserError, match=r"module slip_in_here: cannot be loaded \(AttributeError: .*slip_in_here.py, line 3"
    ):
        import_own("slip_in_here")
