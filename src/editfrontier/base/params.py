"""Parameters of editors and analyses: from the mapping of a config to a frozen dataclass, with messages for users."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from editfrontier.base.errors import UserError, did_you_mean


@dataclass(frozen=True)
class NoParams:
    """No parameters."""


def fill_params(owner: str, params: type, overrides: Mapping[str, Any], word: str = "parameter") -> Any:
    """Return `params` with some defaults replaced.

    Args:
        owner: for messages, for example "editor 'sdedit'".
        params: frozen dataclass of fields of the types int, float, bool, str, Literal[...], one of these `| None`, or
            tuple[...] of one of them (a list in the config), all with defaults.
        overrides: values by name.
        word: noun for messages.

    Raises:
        UserError: an unknown name, a value of another type or out of range; the message names owner and key.
    """
    hints = typing.get_type_hints(params)
    known = [field.name for field in fields(params)]
    values = {}
    for key, value in overrides.items():
        where = f"{owner}, {word} '{key}'"
        if key not in known:
            raise UserError(f"{where}: there is no such {word}.{did_you_mean(key, known)} Correct the name.")
        values[key] = _typed(where, hints[key], value)
    try:
        return params(**values)
    except UserError as error:
        raise UserError(f"{owner}, {error}") from None


def at_least(params: Any, **bounds: float) -> None:
    """Raise `UserError` for the first parameter that is below its bound; for `__post_init__` of parameters."""
    for name, bound in bounds.items():
        if getattr(params, name) < bound:
            raise UserError(
                f"parameter '{name}': {getattr(params, name)}, expected at least {bound}. Correct the value."
            )


def _typed(where: str, hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(
                f"{where}: {value!r} is of type {type(value).__name__}, expected a list. Correct the value."
            )
        return tuple(_typed(where, typing.get_args(hint)[0], item) for item in value)
    options: Sequence[Any] = typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]
    for option in options:
        if typing.get_origin(option) is Literal:
            words = typing.get_args(option)
            if value in words:
                return value
            near = did_you_mean(value, map(str, words)) if isinstance(value, str) else ""
            raise UserError(
                f"{where}: {value!r}, expected one of {', '.join(map(str, words))}.{near} Correct the value."
            )
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise UserError(f"{where}: {value}, expected a finite number. Correct the value.")
            return float(value)
        if option is type(None) and value is None:
            return None
        if option in (int, bool, str) and type(value) is option:
            return value
    expected = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise UserError(f"{where}: {value!r} is of type {type(value).__name__}, expected {expected}. Correct the value.")
