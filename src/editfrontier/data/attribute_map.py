"""Region drags that stand for face attributes, because a drag method takes no attribute (erratum E11)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.places import CONFIG
from editfrontier.base.yaml_files import read_yaml
from editfrontier.data.framing import apply
from editfrontier.data.pictures import Mask
from editfrontier.data.regions import Point, Region, check_region, coordinates, in_image, warp_mask

TABLE_PATH = CONFIG / "attribute_drags.yaml"
_LENGTHS = {"box": 4, "move": 2, "stretch": 2, "about": 2}

Part = Mapping[str, tuple[float, ...]]
Table = Mapping[str, Mapping[str, tuple[Part, ...]]]


@lru_cache(maxsize=4)
def load_table(path: Path = TABLE_PATH) -> Table:
    """Read the table of attributes and their drags.

    Returns:
        attribute -> "add" or "remove" -> parts; each part has a `box`, and a `move`, a `stretch` or both.

    Raises:
        UserError: the file is missing or malformed; the message names file and key.
    """
    return {
        name: _directions(path, name, value)
        for name, value in read_yaml(path, "table of attributes and their drags").items()
    }


def _directions(path: Path, name: str, value: Any) -> dict[str, tuple[Part, ...]]:
    if not isinstance(value, dict) or set(value) != {"add", "remove"}:
        raise UserError(f"{path}: {name}: expected the keys `add` and `remove`, each a list of regions. Correct it.")
    for way, parts in value.items():
        if not isinstance(parts, list) or not parts:
            raise UserError(f"{path}: {name}.{way}: expected a list of at least one region. Correct it.")
    return {way: tuple(_part(f"{path}: {name}.{way}", part) for part in parts) for way, parts in value.items()}


def _part(where: str, part: Any) -> Part:
    if not isinstance(part, dict):
        raise UserError(f"{where}: {part!r}, expected an object with `box` and `move` or `stretch`. Correct it.")
    for key, value in part.items():
        if key not in _LENGTHS:
            raise UserError(f"{where}: there is no key '{key}'.{did_you_mean(key, _LENGTHS)} Correct it.")
        numbers = isinstance(value, list) and all(isinstance(item, int | float) for item in value)
        if not numbers or len(value) != _LENGTHS[key]:
            raise UserError(f"{where}.{key}: {value!r}, expected {_LENGTHS[key]} numbers. Correct it.")
    if "box" not in part or not {"move", "stretch"} & set(part):
        raise UserError(f"{where}: expected `box`, and `move` or `stretch`. Add it.")
    left, top, right, bottom = part["box"]
    if left >= right or top >= bottom:
        raise UserError(f"{where}.box: {part['box']}, expected left < right and top < bottom. Correct it.")
    if min(part.get("stretch", [1.0])) <= 0:
        raise UserError(f"{where}.stretch: {part['stretch']}, expected positive factors. Correct it.")
    return {key: tuple(float(item) for item in value) for key, value in part.items()}


def attribute_regions(
    attribute: str, desired: bool, mask: Mask, case_id: str, table: Table | None = None
) -> list[Region]:
    """Return the drags that stand for making an attribute true or false.

    Args:
        attribute: its name; "" has no drags.
        desired: its value after the edit.
        mask: bool [H, W], the edit mask of the case, not empty.
        case_id: id that messages name.
        table: attributes and their drags; None = the default file.

    Returns:
        No regions if the attribute has no geometric counterpart. Pixels that would leave the image are left out.

    Raises:
        UserError: nothing of a region stays in the image.
    """
    parts = (load_table() if table is None else table).get(attribute, {}).get("add" if desired else "remove", ())
    return [_region(part, mask, f"case {case_id}, {attribute}, region {k}") for k, part in enumerate(parts, start=1)]


def _region(part: Part, mask: Mask, where: str) -> Region:
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    # The outer edges of the mask's pixels, in coordinates whose whole numbers are pixel centres.
    corner = np.array([columns.min() - 0.5, rows.min() - 0.5])
    extent = np.array([np.ptp(columns) + 1.0, np.ptp(rows) + 1.0])
    low, high = corner + np.array(part["box"][:2]) * extent, corner + np.array(part["box"][2:]) * extent
    stretch = np.array(part.get("stretch", (1.0, 1.0)))
    fixed = corner + np.array(part["about"]) * extent if "about" in part else (low + high) / 2
    shift = np.array(part.get("move", (0.0, 0.0))) * extent + fixed - stretch * fixed
    affine = np.column_stack([np.diag(stretch), shift])
    y, x = np.indices(mask.shape)
    source = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    moved = apply(affine, np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64)).reshape(height, width, 2)
    source &= in_image(moved, mask.shape)
    kind = "deformation" if "stretch" in part else "relocation"
    points: tuple[tuple[Point, Point], ...] = ()
    if source.any():
        pixels = coordinates(source)
        middle = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()]
        end = apply(affine, middle[None])[0]
        points = (((float(middle[0]), float(middle[1])), (float(end[0]), float(end[1]))),)
    anchor = (float(fixed[0]), float(fixed[1])) if "stretch" in part else None
    region = Region(kind, source, affine, warp_mask(source, affine), points, anchor)
    check_region(region, where)
    return region
