"""Makes functions check the shapes of their signatures: arguments and results of each call, by jaxtyping.

They are checked after the call, so that errors of the function itself come first. Modules that stay light name tensors
for type checking only; these imports are made here.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

HOMES = (
    "editfrontier.editing.editor",
    "editfrontier.editing.editors",
    "editfrontier.scoring.batch",
    "editfrontier.scoring.metrics",
    "editfrontier.scoring.evaluators",
)
_DONE: set[str] = set()


def instrument_loaded() -> None:
    """Instrument what is imported of `HOMES` and is not instrumented yet."""
    for name, module in list(sys.modules.items()):
        if name not in _DONE and name.startswith(HOMES) and getattr(module, "__file__", None):
            _DONE.add(name)
            instrument(module)


def instrument(module: types.ModuleType) -> None:
    """Replace the functions, methods and dataclasses of a module whose signatures name shapes."""
    names = namespace(module)
    for name, value in list(vars(module).items()):
        if getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(value):
            setattr(module, name, checked(value, names))
        elif inspect.isclass(value):
            _instrument_class(value, names)
    if hasattr(module, "EDITOR"):
        object.__setattr__(module.EDITOR, "edit", module.edit)


def _instrument_class(cls: type, names: Mapping[str, Any]) -> None:
    for name, value in list(vars(cls).items()):
        if inspect.isfunction(value) and not name.startswith("__"):
            setattr(cls, name, checked(value, names))
    if dataclasses.is_dataclass(cls) and (hints := shapes_of(cls, names)):
        create = cls.__init__  # type: ignore[misc]

        @functools.wraps(create)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            create(self, *args, **kwargs)
            check(hints, {name: getattr(self, name) for name in hints}, cls.__qualname__)

        cls.__init__ = init  # type: ignore[misc]


def namespace(module: types.ModuleType) -> dict[str, Any]:
    """Return the names of a module with those that it imports for type checking only."""
    names = dict(vars(module))
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), "<type checking>", "exec"), names)
    return names


def shapes_of(thing: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hints of a function or dataclass that name shapes, by parameter or field, "return" for the result."""
    hints = typing.get_type_hints(thing, dict(names))
    return {name: hint for name, hint in hints.items() if _arrays(hint)}


def checked(function: Callable[..., Any], names: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a function that checks the shapes of its signature, itself if it names none."""
    hints = shapes_of(function, names)
    if not hints:
        return function
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        check(hints, {**signature.bind(*args, **kwargs).arguments, "return": result}, function.__qualname__)
        return result

    return wrapper


def check(hints: Mapping[str, Any], values: Mapping[str, Any], where: str) -> None:
    """Raise `TypeError` if values do not have the shapes of their hints; one name is one size in all of them."""
    from jaxtyping import jaxtyped

    with jaxtyped("context"):
        for name, hint in hints.items():
            if name in values and not _fits(hint, values[name]):
                value = values[name]
                found = f"{value.dtype} {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
                raise TypeError(f"{where}, {name}: is {found}, expected {hint}")


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _arrays(hint: Any) -> bool:
    from jaxtyping import AbstractArray

    if typing.get_origin(hint) is tuple:
        return any(_arrays(part) for part in typing.get_args(hint))
    return any(isinstance(option, type) and issubclass(option, AbstractArray) for option in _options(hint))


def _fits(hint: Any, value: Any) -> bool:
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        return len(parts) == len(value) and all(_fits(part, item) for part, item in zip(parts, value, strict=True))
    return any(isinstance(value, option) for option in _options(hint) if isinstance(option, type))
