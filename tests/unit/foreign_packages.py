"""Packages of others, as pip leaves them in a folder: a module and the metadata that name its entry points."""

from __future__ import annotations

import re
from pathlib import Path

from editfrontier.base import registry

EDITOR = """
from editfrontier.editors import Editor, NoParams

EDITOR = Editor("{name}", NoParams, lambda model, batch, params: batch.images)
"""


def put_package(folder: Path, package: str, name: str, code: str = EDITOR, group: str = "editfrontier.editors") -> None:
    """Write a package into a folder of packages.

    Args:
        folder: it has to be on `sys.path`.
        package: name of the distribution and, with underscores, of its module.
        name: of its entry point, and what stands for "{name}" in the code.
        code: of the module; the entry point names the first constant of it in capitals, "EDITOR" if it has none.
        group: of the entry point.
    """
    module = package.replace("-", "_")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code.replace("{name}", name))
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    constant = found[1] if (found := re.search(r"^([A-Z]+) = ", code, re.MULTILINE)) else "EDITOR"
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{constant}\n")
    registry._points_of.cache_clear()  # in a study no package appears while it runs
