"""Whether a config has the keys and types of its schema, and messages that name the file and the key at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.places import CONFIG
from editfrontier.base.yaml_files import read_yaml

SCHEMA = CONFIG / "schema.yaml"

_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@cache
def _validator() -> Any:
    return Draft202012Validator(read_yaml(SCHEMA))


def file_of(files: Sequence[Path], path: Sequence[Any]) -> str:
    """Name the last file that holds a key, or the nearest part of its path that any file holds."""
    contents = [(file, read_yaml(file)) for file in reversed(files) if file.is_file()]
    for depth in range(len(path), 0, -1):
        for file, content in contents:
            if _holds(content, path[:depth]):
                return _relative(file)
    return _relative(files[-1]) if files else "config"


def _holds(content: Any, path: Sequence[Any]) -> bool:
    for key in path:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _relative(file: Path) -> str:
    resolved = file.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(file)


def _key(path: Sequence[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "(top level)"


def wrong(files: Sequence[Path], path: Sequence[Any], problem: str) -> UserError:
    """Return the error that names the file and the key of a problem; `path`: names and positions down to the key."""
    return UserError(f"{file_of(files, path)}: key '{_key(path)}': {problem}")


def check_schema(config: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Raise `UserError` for the first thing that the schema does not allow in a config, which comes from `files`."""
    # Unknown keys first: one of them is often the misspelt form of a key that is missing.
    errors = sorted(
        _validator().iter_errors(config),
        key=lambda error: (
            error.validator != "additionalProperties",
            -len(error.absolute_path),
            str(error.absolute_path),
        ),
    )
    if not errors:
        return
    error = errors[0]
    path = list(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        expected = error.schema.get("description", "another name")
        raise wrong(files, [*path, error.instance], f"not a usable name, expected {expected}. Rename it.")
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            name = next(key for key in error.instance if key not in known)
            raise wrong(files, [*path, name], f"unknown key.{did_you_mean(str(name), known)} Correct or remove it.")
        case "required":
            name = next(key for key in error.validator_value if key not in error.instance)
            expected = _expected(error.schema["properties"].get(name, {}))
            raise wrong(files, [*path, name], f"missing, expected {expected}. Add it.")
        case _:
            problem = f"{_short(error.instance)}, expected {_expected(error.schema)}."
            if "enum" in error.schema and isinstance(error.instance, str):
                problem += did_you_mean(error.instance, map(str, error.schema["enum"]), otherwise_all=False)
            raise wrong(files, path, f"{problem} Correct the value.")


def _expected(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        schema = _validator().schema["$defs"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    types = schema.get("type", [])
    text = " or ".join(_TYPE_NAMES[name] for name in ([types] if isinstance(types, str) else types)) or "another value"
    for bound, words in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    ):
        if bound in schema:
            text += f" {words} {schema[bound]}"
    if "minItems" in schema:
        text += f" of at least {schema['minItems']} entries"
    if "pattern" in schema:
        text += f" that matches {schema['pattern']}"
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
