"""The reader of all YAML files, which loses no key."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from editfrontier.base.errors import UserError, file_that_is_meant

_NAMES: dict[type, str] = {str: "text", list: "a list", int: "a number", float: "a number"}


def read_yaml(file: Path, what: str = "config file", fix: str = "") -> dict[str, Any]:
    """Read a YAML mapping, and refuse duplicate keys.

    Args:
        file: path.
        what: kind of the file, for messages.
        fix: the user's remedy, for messages, for example to restore a file of this project; "" = correct it.

    Raises:
        UserError: the file is missing, not in UTF-8, no YAML or no mapping; the message names the file and the line.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_strict_loader())
    except FileNotFoundError:
        raise UserError(f"{file}: no such {what}.{file_that_is_meant(file)} {fix or 'Correct the path.'}") from None
    except IsADirectoryError:
        raise UserError(f"{file}: is a folder, expected a {what}. {fix or 'Name a file of it.'}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). {fix or 'Make it readable.'}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not in UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{file}{line}: not valid YAML ({problem}). {fix or 'Correct the file.'}") from None
    if not isinstance(content, dict):
        actual = "is empty" if content is None else f"holds {_NAMES.get(type(content), 'a single value')}"
        raise UserError(f"{file}: {actual}, expected a mapping of keys. {fix or 'Correct the file.'}")
    return content


@cache
def _strict_loader() -> Any:
    """Return a safe loader that refuses duplicate keys of a mapping; that of PyYAML would keep the last one."""

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            # Before the keys of another mapping are merged by "<<", which may be replaced.
            lines: dict[Any, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if key.value in lines:
                    problem = f"the key '{key.value}' is in line {lines[key.value]} already"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                if isinstance(key, yaml.ScalarNode):
                    lines[key.value] = line
            return super().construct_mapping(node, deep)

    return Loader
