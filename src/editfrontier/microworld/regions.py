"""Masks of the regions of portraits, written beside the images of cases."""

from __future__ import annotations

import json
from pathlib import Path

from editfrontier.data.cases import write_png
from editfrontier.microworld.portrait_painter import portrait_regions
from editfrontier.microworld.portraits import Portraits


def write_regions(folder: Path, name: str, portrait: Portraits) -> str:
    """Write a mask for each region that a portrait shows, as `region_<region>/<name>.png`.

    Args:
        folder: that the paths of the case are relative to.
        name: of the files, for example the case's id.
        portrait: a batch of one, the source of the case.

    Returns:
        the case's column `regions`: JSON {region: path}.
    """
    (masks,) = portrait_regions(portrait)
    paths = {region: f"region_{region}/{name}.png" for region in masks}
    for region, mask in masks.items():
        write_png(folder / paths[region], mask)
    return json.dumps(paths, separators=(",", ":"))
