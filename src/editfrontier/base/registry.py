"""Things of one kind by name: modules of a plug-in folder, entry points of installed packages, or a mapping.

Imports nothing heavy: a registry knows the names before it imports anything.
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
    """Everything of one kind: editors, data sets, metrics, evaluators, analyses, figures, claims, model kinds.

    A plug-in is a module with a constant, `EDITOR = Editor("sdedit", ...)` as the last line of `sdedit.py`, either in a
    plug-in folder of this project or in a package that names it as an entry point, `sdedit = package.sdedit:EDITOR`.
    What is small stands in a mapping instead. The three can be mixed: metrics are a mapping of this project and the
    entry points of a group, figures and analyses are a folder and a group:

        FIGURES = Registry("figure", Figure, "FIGURE", "editfrontier.study.figures", "editfrontier.figures")
        METRICS = Registry("metric", Metric, "METRIC", group="editfrontier.metrics", entries={...}, home="...")

    `get(name)` imports the module of that name alone. `load_all` imports everything and passes over what is broken.

    Attributes:
        word: what messages call such a thing: "editor".
        type: its class.
        constant: name of the constant that holds it in a module.
        package: dotted name of the plug-in folder, whose every module is a plug-in; "" = none.
        group: of the entry points; "" = no package can add one.
        entries: things of this project by name, or a function without arguments that returns them.
        home: where to add one, for messages; "" = a file of the plug-in folder.
        reserved: names that plug-ins must not take -> why there is nothing to get, as messages say it.
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
        """Return the names of what this project has, sorted; modules of the plug-in folder are not imported."""
        return sorted({*self._modules(), *self._entries()})

    def names(self) -> list[str]:
        """Return the names of what this project and installed packages have, sorted; no plug-in is imported."""
        return sorted({*self.own_names(), *(point.name for point in self._points())})

    def get(self, name: str) -> T:
        """Return a thing by name.

        Raises:
            UserError: there is none of this name, or more than one, or its module cannot be imported, has no such
                constant, or one of another class or name.
        """
        point = self._point(name)
        where = f"its module in {_owner(point)}" if point else "its module"
        if point is not None:
            thing = _guarded(
                point.load,
                f"entry point '{point.name} = {point.value}' ({point.group}) of {_owner(point)}",
                "Correct the package's pyproject.toml or its module, and install it again.",
            )
            thing = getattr(thing, self.constant, thing)
        elif name in self._entries():
            return self._entries()[name]
        elif name in self._modules():
            thing = getattr(import_own(f"{self.package}.{name}"), self.constant, None)
        else:
            raise UserError(f"{self.word} '{name}': {self.unknown(name)}")
        if not isinstance(thing, self.type):
            raise UserError(
                f"{self.word} '{name}': {where} defines no {self.constant} of class {self.type.__name__}. "
                "Add one as its last line."
            )
        if (called := getattr(thing, "name", name)) != name:
            raise UserError(
                f"{self.word} '{name}': the {self.constant} of {where} is called '{called}', expected '{name}'. "
                "Rename it."
            )
        return thing

    def module_of(self, name: str) -> str:
        """Return the dotted name of the module that a plug-in is defined in, without importing it; for fingerprints."""
        point = self._point(name)
        return point.module if point else f"{self.package}.{name}"

    def unknown(self, name: str) -> str:
        """Return what a message says of a name that gives nothing.

        That is why it is reserved or what broke its plug-in, else the nearest known name and where to add one.
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
        """Return things by name, all of them unless `names` says which.

        A plug-in that is broken is left out, and standard error says once why.
        """
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
        # What is on the path may change in tests; each installed package is read once all the same.
        return _points_of(self.group, tuple(sys.path)) if self.group else ()

    def _point(self, name: str) -> EntryPoint | None:
        """Return the entry point of a name, None if a package has none; raise `UserError` if a name has two owners."""
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
    # Every installed package is asked, which takes milliseconds, and a config names editors hundreds of times.
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
        raise  # what it says of itself, such as a need that no case has
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f", {place.filename}, line {place.lineno}" if "importlib" not in place.filename else ""
        raise UserError(f"{what}: cannot be loaded ({type(error).__name__}: {error}{where}). {fix}") from error


def _owner(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist else "a package without a name"


@cache
def _warn(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
