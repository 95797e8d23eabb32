"""The conda files of the jobs, and an environment that holds what one of them installs and nothing else.

There is no conda where the tests run. `make_environment` links the packages that are installed for the tests, as far as
a file names them or they are required by one that it names.
"""

from __future__ import annotations

import re
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

KINDS = ("models", "tables", "workflow")
REMOVED = {"opencv-python"}
"""What envs/models.post-deploy.sh takes out of an environment."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> list[Requirement]:
    """Return what pip installs by a conda file."""
    wanted: list[Any] = yaml.safe_load(file.read_text())["dependencies"]
    (found,) = (entry["pip"] for entry in wanted if isinstance(entry, dict))
    return [Requirement(line) for line in found]


def closure(wanted: list[Requirement]) -> dict[str, Distribution]:
    """Return what is installed of a list of packages and all that they require: name -> distribution."""
    found: dict[str, Distribution] = {}
    todo, seen = [(one.name, one.extras) for one in wanted], set()
    while todo:
        name, extras = todo.pop()
        if (normal(name), frozenset(extras)) in seen or normal(name) in REMOVED:
            continue
        seen.add((normal(name), frozenset(extras)))
        found[normal(name)] = distribution(name)
        for text in found[normal(name)].requires or []:
            one = Requirement(text)
            if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                todo.append((one.name, one.extras))
    return found


def make_environment(file: Path, folder: Path) -> None:
    """Make the environment of a conda file, with Python and, by links, its packages."""
    venv.create(folder, symlinks=True, with_pip=False)
    (place,) = folder.glob("lib/python*/site-packages")
    for one in closure(pins(file)).values():
        for path in one.files or []:
            top = path.parts[0]
            if top not in ("..", "__pycache__") and not top.endswith(".pth") and not (place / top).exists():
                (place / top).symlink_to(Path(str(one.locate_file(top))))
