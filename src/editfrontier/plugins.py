"""Objects that installed packages name under an entry point. Imports nothing heavy."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

from editfrontier.errors import UserError


def load_plugin(point: EntryPoint) -> Any:
    """Return the object that an entry point names.

    Raises:
        UserError: its module cannot be imported, or has no such object.
    """
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        package = f" of the package '{point.dist.name}'" if point.dist else ""
        raise UserError(
            f"entry point '{point.name} = {point.value}' ({point.group}){package}: cannot be loaded ({error}). "
            f"Correct the package's pyproject.toml or its module, and install it again."
        ) from error
