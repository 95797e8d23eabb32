"""Names and fingerprints of work: canonical specs, variant names, and hashes of the code that a job runs.

Everything here reads source files without importing them, because Snakemake calls it while it builds the graph.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.places import LIBRARY

PACKAGE = "editfrontier"
_NAMED = re.compile(r"[A-Za-z_][\w.]*:\w+")  # what is imported by its name as a text, "package.module:Name"
_LOOK = {"label", "colour", "marker", "control"}
_SAFE_VALUE = re.compile(r"^[A-Za-z0-9_.-]+$")

# Snakemake takes {word} in a parameter for a wildcard, and its report shows parameters as they are, as HTML.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "{}<>&"})


def canonical(spec: Any) -> str:
    """Return a spec as JSON with sorted keys, without spaces and NaN, so that equal specs give equal texts.

    Braces, angle brackets and ampersands in strings become escapes of JSON, so that a text of a config is neither a
    wildcard of Snakemake nor markup of its report.
    """
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _JSON_STRING.sub(lambda match: match[0].translate(_ESCAPES), text)


def read_spec(text: str, option: str) -> dict[str, Any]:
    """Parse the JSON object of a script's option; raise `UserError` that names the option."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{option}: not valid JSON ({error}). Correct the option.") from None
    if not isinstance(content, dict):
        raise UserError(f"{option}: expected a JSON object, for example '{{\"seed\": 0}}'. Correct the option.")
    return content


def content_hash(*paths: str | Path) -> str:
    """Return 12 hexadecimal digits that depend on the contents of files, not their names; a missing one counts too."""
    return hashlib.sha256("".join(_content(str(path)) for path in paths).encode()).hexdigest()[:12]


@cache
def _content(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return "-"


def spec_hash(spec: Any) -> str:
    """Return 16 hexadecimal digits that name a spec."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()[:16]


def variant_name(editor: str, overrides: Mapping[str, Any]) -> str:
    """Name an editor with the hyperparameters that differ from its defaults, for example "sdedit+strength=0.3".

    Args:
        editor: name.
        overrides: the hyperparameters that differ from the defaults; numbers, booleans, plain words, or lists of these.

    Raises:
        UserError: a value cannot stand in a file name.
    """
    if not overrides:
        return editor
    return f"{editor}+" + ",".join(f"{key}={_value_text(editor, key, overrides[key])}" for key in sorted(overrides))


def _value_text(editor: str, key: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case int() | float() if math.isfinite(value):
            return str(int(value)) if value == int(value) else repr(value)
        case str() if _SAFE_VALUE.match(value):
            return value
        case list() | tuple() if value:
            return "_".join(_value_text(editor, key, item) for item in value)
    raise UserError(
        f"editor '{editor}', hyperparameter '{key}': {value!r} cannot name a variant, expected a finite number, "
        "true, false, a word of letters, digits and _.- or a list of these. Use such a value."
    )


# Code ----------------------------------------------------------------------------------------------------------------


def code_hash(*modules: str) -> str:
    """Hash the code of modules and of everything that they import from their own package and from this one.

    Comments, docstrings, formatting, imports for type checking and the look of an editor do not count. A string
    "package.module:Name" counts as an import; modules whose name is computed (editors, by their registry) do not.
    Nothing is imported.

    Args:
        modules: dotted names, for example "editfrontier.editing.editors.sdedit".

    Returns:
        12 hexadecimal digits.
    """
    closure = sorted(set().union(*(import_closure(module) for module in modules)))
    text = "\n".join(f"{module} {_facts(_module_file(module))[0]}" for module in closure)
    _keep_facts()
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def import_closure(module: str) -> frozenset[str]:
    """Return the module, its parent packages, and what they import, directly or not, of this package and their own."""
    if _module_file(module) is None:
        raise UserError(
            f"module '{module}': no such source file, expected a module of an installed package. Correct the name."
        )
    closure: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name not in closure:
            closure.add(name)
            queue += [*_imports(name), *([name.rpartition(".")[0]] if "." in name else [])]
    return frozenset(closure)


@cache
def _package_folder(package: str) -> Path | None:
    if package == PACKAGE:
        return LIBRARY
    spec = importlib.util.find_spec(package)
    if spec and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin).with_suffix("") if spec and spec.origin else None


@cache
def _module_file(module: str) -> Path | None:
    package, *parts = module.split(".")
    folder = _package_folder(package)
    if folder is None:
        return None
    path = folder.joinpath(*parts)
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


# Parsing the library takes half the time of a dry run, so the user's cache keeps the results: hash of a file -> hash of
# its code, and its imports. They also depend on this file and the version of Python, which the name contains.
_VERSION = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:12]
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
_KEPT = _CACHE / "editfrontier" / f"code-{_VERSION}.json"
_MOST = 5000  # entries, of which each change of a file adds one
_new: dict[str, list[Any]] = {}


@cache
def _kept() -> dict[str, list[Any]]:
    try:
        return dict(json.loads(_KEPT.read_bytes()))
    except (OSError, ValueError):
        return {}


def _keep_facts() -> None:
    if _new:
        _kept.cache_clear()  # other processes may have written meanwhile
        kept = _kept() if len(_kept()) < _MOST else {}
        with contextlib.suppress(OSError):  # where nothing can be written, files are parsed again
            write_bytes(_KEPT, json.dumps(kept | _new).encode())
    _new.clear()


@cache
def _facts(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a module's code, and the names that it imports at run time, relative ones with their dots."""
    content = file.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    if key not in _kept():
        try:
            tree = ast.parse(content, filename=str(file))
        except SyntaxError as error:
            raise UserError(f"{file}, line {error.lineno}: {error.msg}. Correct the Python source.") from None
        names = sorted(_named(tree))  # before the docstrings go
        _kept()[key] = _new[key] = [_tree_hash(tree), names]
    code, names = _kept()[key]
    return code, tuple(names)


def _tree_hash(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _names_editor(node.targets):
            # Label and look of an editor change no edit; tables and figures have them as parameters.
            node.value.keywords = [keyword for keyword in node.value.keywords if keyword.arg not in _LOOK]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _names_editor(targets: list[ast.expr]) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "EDITOR" for target in targets)


def _run_time_nodes(tree: ast.AST) -> list[ast.AST]:
    """Return all nodes below `tree` except those in the body of `if TYPE_CHECKING:`."""
    nodes: list[ast.AST] = []
    queue = [tree]
    while queue:
        node = queue.pop()
        nodes.append(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue.extend(node.orelse)
        else:
            queue.extend(ast.iter_child_nodes(node))
    return nodes


def _named(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names.add(base)
            names.update(f"{base}{'.' if node.module else ''}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAMED.fullmatch(node.value):
            names.add(node.value.partition(":")[0])
    return names


@cache
def _imports(module: str) -> frozenset[str]:
    file = _module_file(module)
    assert file is not None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    roots = {PACKAGE, module.split(".")[0]}
    names = {importlib.util.resolve_name(name, package) for name in _facts(file)[1]}
    return frozenset(name for name in names if name.split(".")[0] in roots and _module_file(name) is not None)
