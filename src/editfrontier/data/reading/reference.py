"""Reference images of FID and KID from a data set: a folder of PNG files and a list of them."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.data.cases import write_png
from editfrontier.data.dataset import Request, dataset_options, get_dataset, raw_folder
from editfrontier.data.language import load_language


def build_reference(dataset: str, n: int, seed: int, out_path: Path, **options: Any) -> None:
    """Write reference images into the folder `reference` and, last, `out_path`, which names them.

    Args:
        dataset: name of a data set with `images`.
        n: number of images.
        seed: seed of the choice of images.
        out_path: `.npz` file that takes the array `files`, names relative to its folder; `sources` reads it.
        options: options of the data set.

    Raises:
        UserError: the data set is no reference, or has fewer images.
    """
    adapter = get_dataset(dataset)
    if adapter.images is None:
        raise UserError(f"reference: the dataset '{dataset}' has no images apart from edits. Name another one.")
    chosen = dataset_options(adapter, options)
    folder = out_path.parent / "reference"
    request = Request(
        task="reference",
        cases=n,
        seed=seed,
        folder=folder,
        raw=raw_folder(adapter, chosen),
        language=load_language(),
        options=chosen,
    )
    names: list[str] = []
    for name, pixels in islice(adapter.images(request), n):
        write_png(folder / f"{name}.png", pixels)
        names.append(f"{folder.name}/{name}.png")
    if len(names) < n:
        raise UserError(
            f"reference: the dataset '{dataset}' has {len(names)} images, {n} were asked for. Ask for fewer."
        )
    for old in folder.glob("*.png"):
        if f"{folder.name}/{old.name}" not in set(names):
            old.unlink()  # from an earlier choice
    buffer = io.BytesIO()
    np.savez(buffer, files=np.array(names))
    write_bytes(out_path, buffer.getvalue())
