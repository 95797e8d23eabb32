"""Names of variants, canonical specs, and the hash of the code behind a job."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.fingerprints import _tree_hash, canonical, code_hash, import_closure, spec_hash, variant_name
from workspace import ROOT


def test_canonical_text_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": {"d": "é", "c": 2}}) == '{"a":{"c":2,"d":"é"},"b":1}'
    assert spec_hash({"b": 1, "a": 2}) == spec_hash({"a": 2, "b": 1}) != spec_hash({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "sdedit"),
        ({"strength": 0.3}, "sdedit+strength=0.3"),
        ({"w": 12.0}, "sdedit+w=12"),
        ({"b": True, "a": None}, "sdedit+a=none,b=true"),
        ({"layers": [1, 2.5]}, "sdedit+layers=1_2.5"),
        ({"schedule": "step"}, "sdedit+schedule=step"),
    ],
)
def test_variant_names(overrides: dict[str, object], name: str) -> None:
    assert variant_name("sdedit", overrides) == name


@pytest.mark.parametrize("value", ["a/b", "a b", "", float("nan"), {"x": 1}, []])
def test_values_that_cannot_name_a_file_are_refused(value: object) -> None:
    with pytest.raises(UserError, match="hyperparameter 'x'"):
        variant_name("sdedit", {"x": value})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with imports at the top, in a function, relative, for types only, and by a computed name."""
    folder = tmp_path / "plugin_package"
    folder.mkdir()
    files = {
        "__init__": '"""Package."""\n',
        "method": "from typing import TYPE_CHECKING\nfrom . import helper\n"
        "if TYPE_CHECKING:\n    from .types import T\n"
        "def run():\n    from plugin_package.late import x\n    import importlib\n"
        "    importlib.import_module('plugin_package.dynamic')\n",
        "helper": "y = 1\n",
        "late": "x = 1\n",
        "types": "T = int\n",
        "dynamic": "z = 1\n",
        "unrelated": "u = 1\n",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def hash_in_new_process(package: Path, module: str = "plugin_package.method") -> str:
    code = f"from editfrontier.base.fingerprints import code_hash; print(code_hash({module!r}))"
    environment = os.environ | {"PYTHONPATH": f"{package.parent}{os.pathsep}{ROOT / 'src'}"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, check=True, stdout=subprocess.PIPE
    ).stdout.strip()


def test_closure_follows_imports_that_run_and_no_others(package: Path) -> None:
    names = {name.removeprefix("plugin_package") for name in import_closure("plugin_package.method")}
    assert names == {"", ".method", ".helper", ".late"}


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("helper", "# a comment\ny  =  1\n", False),
        ("helper", '"""A docstring."""\ny = 1\n', False),
        ("unrelated", "u = 2\n", False),
        ("types", "T = str\n", False),
        ("helper", "y = 2\n", True),
        ("late", "x = 'text'\n", True),
    ],
)
def test_hash_changes_with_code_that_runs_only(package: Path, file: str, text: str, changes: bool) -> None:
    before = hash_in_new_process(package)
    (package / f"{file}.py").write_text(text)
    assert (hash_in_new_process(package) != before) is changes


@pytest.mark.parametrize(("change", "changes"), [("label='B', marker='o'", False), ("label='A', model='flux'", True)])
def test_how_an_editor_is_called_and_drawn_makes_no_edit_anew(change: str, changes: bool) -> None:
    before, after = (f"EDITOR = Editor('a', {look})" for look in ("label='A', marker='s'", change))
    assert (_tree_hash(ast.parse(before)) != _tree_hash(ast.parse(after))) is changes


def test_modules_that_a_text_names_count_as_imported() -> None:
    assert "editfrontier.scoring.evaluators.clip" in import_closure("editfrontier.scoring.sources")


def test_editors_do_not_depend_on_each_other() -> None:
    closure = import_closure("editfrontier.editing.editors.sdedit")
    assert "editfrontier.editing.editors" in closure
    assert "editfrontier.diffusion.sampling" in closure
    assert not {name for name in closure if name.startswith("editfrontier.editing.editors.")} - {
        "editfrontier.editing.editors.sdedit"
    }
    assert "editfrontier.editing.editors.sdedit" not in import_closure("editfrontier.editing.shard")
    assert "editfrontier.cli" not in import_closure("editfrontier.editing.shard")


def test_unknown_module_is_named() -> None:
    with pytest.raises(UserError, match=r"editfrontier\.nothing"):
        code_hash("editfrontier.nothing")


def test_hashes_that_are_kept_are_those_of_the_files(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier process found is taken from the cache; a cache that cannot be read or written changes nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(package.parent / "cache"))
    first = hash_in_new_process(package)
    (file,) = (package.parent / "cache/editfrontier").iterdir()
    assert hash_in_new_process(package) == first
    for content in (file.read_bytes()[:-9], b"[]", b""):
        file.write_bytes(content)
        assert hash_in_new_process(package) == first
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert hash_in_new_process(package) == first
