"""How adapters read square images and write the images of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from editfrontier.base.errors import UserError
from editfrontier.data.cases import write_png
from editfrontier.data.framing import frame_of
from editfrontier.data.pictures import Mask, Pixels, read_rgb


def read_square(path: Path, size: int) -> Pixels:
    """Read an image of a data set of square images at the evaluation resolution.

    Args:
        path: the image.
        size: height and width of the result, pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        UserError: it is missing, no image, not square, or smaller than `size`.
    """
    pixels = read_rgb(path)
    height, width = pixels.shape[:2]
    if height != width:
        raise UserError(
            f"{path}: is {width}x{height} pixels, expected a square. Replace it by the one of the data set."
        )
    if height < size:
        raise UserError(
            f"{path}: is {width}x{height} pixels, smaller than the {size}x{size} that are evaluated. Take the images "
            "in full size, or lower the option `size`."
        )
    return frame_of((height, width), size, "crop").image(pixels)


def write_images(folder: Path, case_id: str, images: Mapping[str, Pixels | Mask]) -> dict[str, str]:
    """Write one PNG a role as `<role>/<case id>.png`; return role -> path relative to the folder."""
    paths = {role: f"{role}/{case_id}.png" for role in images}
    for role, pixels in images.items():
        write_png(folder / paths[role], pixels)
    return paths


def write_regions(folder: Path, case_id: str, regions: Mapping[str, Mask]) -> str:
    """Write the masks of regions; return the case's column `regions`: JSON {region: path}."""
    paths = {name: f"region_{name}/{case_id}.png" for name in regions}
    for name, mask in regions.items():
        write_png(folder / paths[name], mask)
    return json.dumps(paths, separators=(",", ":"))
