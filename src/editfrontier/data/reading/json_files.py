"""Reading JSON files of data sets: whole, an object, and no key twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError


class _Twice(Exception):
    """A key of a JSON object is repeated; json would silently keep the last value."""


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: the file, UTF-8.
        fix: how to get the file again, as messages say it.

    Raises:
        UserError: the file is missing, truncated, no object, a pointer of Git LFS, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. {fix}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a text in UTF-8 ({error}). {fix}") from None
    if text.startswith("version https://git-lfs"):
        raise UserError(f"{path}: is a pointer of Git LFS and not the file itself. Run `git lfs pull` in its clone.")
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except _Twice as error:
        raise UserError(f"{path}: the key {error} stands twice, expected each once. {fix}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is truncated or no JSON ({error}). {fix}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no object with entries but {content!r:.60}. {fix}")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise _Twice(repr(key))
        seen[key] = value
    return seen
