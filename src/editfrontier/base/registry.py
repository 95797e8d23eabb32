"""Registries: objects of one kind by name, from a plug-in folder, entry points of installed packages, or a mapping.

The names are known before anything is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from editfrontier.base.errors import UserError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """All editors, data sets, metrics, evaluators, analyses, figures, claims, or model kinds.

    A plug-in is a module with a constant, for example `EDITOR = Editor("sdedit", ...)` as the last line of `sdedit.py`,
    in a plug-in folder of this project or in a package with an entry point, `sdedit = package.sdedit:EDITOR`. Small
    objects are in a mapping instead. Sources can be combined:

        FIGURES = Registry("figure", Figure, "FIGURE", "editfrontier.study.figures", "editfrontier.figures")
        METRICS = Registry("metric", Metric, "METRIC", group="editfrontier.metrics", entries={...}, home="...")

    `get` imports one module, `load_all` all of them except the broken ones.

    Attributes:
        word: noun for messages, for example "editor".
        type: class of the objects.
        constant: its name in a module.
        package: dotted name of the plug-in folder, which contains plug-ins only; "" = none.
        group: group of the entry points; "" = packages cannot add any.
        entries: objects of this project by name, or a function without arguments that returns them.
        home: where to add an object, for messages; "" = a file of the plug-in folder.
        reserved: names that plug-ins must not take -> why there is no such object, for messages.
    """

    word: str
    type: type[T]
    constant: str = ""
    package: str = ""
    group: str = ""
    entries: Mapping[str, T] | Callable[[], Mapping[str, T]] = field(default_factory=dict)
    home: str = ""
    reserved: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def own_names(self) -> list[str]:
        """Return the sorted names in this project, without imports of plug-ins."""
        return sorted({*self._modules(), *self._entries()})

    def names(self) -> list[str]:
        """Return the sorted names in this project and in installed packages, without imports of plug-ins."""
        return sorted({*self.own_names(), *(point.name for point in self._points())})

    def get(self, name: str) -> T:
        """Return an object by name.

        Raises:
            UserError: the name is unknown or ambiguous, or the module cannot be imported or lacks the constant, or the
                constant has another class or name.
        """
        point = self._point(name)
        where = f"its module in {_owner(point)}" if point else "its module"
        if point is not None:
            plugin = _guarded(
                point.load,
                f"entry point '{point.name} = {point.value}' ({point.group}) of {_owner(point)}",
                "Correct the package's pyproject.toml or its module, and install it again.",
            )
            plugin = getattr(plugin, self.constant, plugin)
        elif name in self._entries():
            return self._entries()[name]
        elif name in self._modules():
            plugin = getattr(import_own(f"{self.package}.{name}"), self.constant, None)
        else:
            raise UserError(f"{self.word} '{name}': {self.unknown(name)}")
        if not isinstance(plugin, self.type):
            raise UserError(
                f"{self.word} '{name}': {where} defines no {self.constant} of class {self.type.__name__}. "
                "Add one as its last line."
            )
        if (called := getattr(plugin, "name", name)) != name:
            raise UserError(
                f"{self.word} '{name}': the {self.constant} of {where} is called '{called}', expected '{name}'. "
                "Rename it."
            )
        return plugin

    def module_of(self, name: str) -> str:
        """Return the dotted name of a plug-in's module, without importing it; for fingerprints."""
        point = self._point(name)
        return point.module if point else f"{self.package}.{name}"

    def unknown(self, name: str) -> str:
        """Return the message for a name without an object.

        It says why the name is reserved or its plug-in is broken, else the nearest known name and where to add one.
        """
        if name in self.reserved:
            return self.reserved[name]
        if name in self:
            try:
                self.get(name)
            except UserError as error:
                return str(error)
        near = did_you_mean(name, {*self.names(), *self.reserved})
        home = self.home or (f"src/{self.package.replace('.', '/')}/{name}.py" if self.package else "")
        add = f", or add {home}" if home else ""
        return f"there is no such {self.word}.{near} Correct the name{add}."

    def load_all(self, names: Iterable[str] | None = None) -> dict[str, T]:
        """Return all objects, or those in `names`; broken plug-ins are left out, with a warning on standard error."""
        things = {}
        for name in self.names() if names is None else names:
            try:
                things[name] = self.get(name)
            except UserError as error:
                _warn(f"warning: {self.word} '{name}' is left out. {error}")
        return things

    def _modules(self) -> Collection[str]:
        return _modules_of(self.package) if self.package else ()

    def _entries(self) -> Mapping[str, T]:
        return self.entries() if callable(self.entries) else self.entries

    def _points(self) -> tuple[EntryPoint, ...]:
        # The path may change in tests.
        return _points_of(self.group, tuple(sys.path)) if self.group else ()

    def _point(self, name: str) -> EntryPoint | None:
        """Return the entry point of a name, None if no package has one; raise `UserError` for two owners."""
        points = [point for point in self._points() if point.name == name]
        ours = name in self._modules() or name in self._entries() or name in self.reserved
        owners = [*(["this project"] if ours else []), *map(_owner, points)]
        if len(owners) > 1 and points:
            raise UserError(
                f"{self.word} '{name}': {' and '.join(owners)} have one of this name, expected one. Rename that of a "
                "package in its pyproject.toml and its code, or uninstall the package."
            )
        return points[0] if points else None


@cache
def _points_of(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    # Takes milliseconds, and a config names editors hundreds of times.
    return tuple(entry_points(group=group))


@cache
def _modules_of(package: str) -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))


def import_own(module: str) -> Any:
    """Return a module of this project; raise `UserError` with the place of the error if it cannot be imported."""
    return _guarded(lambda: importlib.import_module(module), f"module {module}", "Correct the file.")


def _guarded(load: Callable[[], Any], what: str, fix: str) -> Any:
    try:
        return load()
    except UserError:
        raise  # the plug-in's own message
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f", {place.filename}, line {place.lineno}" if "importlib" not in place.filename else ""
        raise UserError(f"{what}: cannot be loaded ({type(error).__name__}: {error}{where}). {fix}") from error


def _owner(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist else "a package without a name"


@cache
def _warn(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
