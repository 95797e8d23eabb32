"""Objects that modules of this project and entry points of installed packages name. Imports nothing heavy."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from editfrontier.base.errors import UserError

_OWN = "this project"


def points_of(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, of all packages that are installed where Python looks for them now."""
    return _points_on(group, tuple(sys.path))


@cache
def _points_on(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    # Every installed package is asked, which takes milliseconds, and a config names editors hundreds of times.
    return tuple(entry_points(group=group))


def choose_point(what: str, name: str, own: Collection[str], points: Sequence[EntryPoint]) -> EntryPoint | None:
    """Return the entry point of a name, None if the module of this project is meant or nobody has the name.

    Args:
        what: what is looked for, for messages: "editor".
        name: its name.
        own: names that modules of this project have.
        points: entry points of all installed packages, of one group.

    Raises:
        UserError: several have this name, so that nobody knows which one is meant.
    """
    found = [point for point in points if point.name == name]
    owners = [*([_OWN] if name in own else []), *map(_owner, found)]
    if len(owners) > 1:
        raise UserError(
            f"{what} '{name}': {' and '.join(owners)} have one of this name, expected one. Rename that of a package in "
            "its pyproject.toml and its code, or uninstall the package."
        )
    return found[0] if found else None


def import_own(module: str) -> Any:
    """Return a module of this project; raise `UserError` with the place of the error if it cannot be imported."""
    return _guarded(lambda: importlib.import_module(module), f"module {module}", "Correct the file.")


def load_plugin(point: EntryPoint) -> Any:
    """Return the object that an entry point names.

    Raises:
        UserError: its module cannot be imported, whatever it raises, or has no such object.
    """
    what = f"entry point '{point.name} = {point.value}' ({point.group}) of {_owner(point)}"
    return _guarded(point.load, what, "Correct the package's pyproject.toml or its module, and install it again.")


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
