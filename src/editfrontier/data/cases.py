"""Cases: one editing instance each, as a typed table, and the images and masks that they name."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.integrity.contents import write_contents
from editfrontier.base.parquet import read_table
from editfrontier.data.framing import same_size
from editfrontier.data.pictures import Mask, Pixels, grey_mask, open_picture, rgb

MASK_ORIGINS = ("exact", "human", "automatic", "degraded")
INSTRUCTION_ORIGINS = ("template", "free_form")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
"""How files of `pictures.FORMATS` are called, in small letters; here, for this module loads nothing heavy."""

FILE_COLUMNS = ("image", "mask", "automatic_mask", "background_mask", "exemplar", "exemplar_mask", "true_edit")
_MARK_KEY = b"editfrontier.data.cases"
_MAKE_AGAIN = "Make the data again with `snakemake data`."


@dataclass(frozen=True, kw_only=True)
class Case:
    """One editing instance. Paths are relative to the folder of the table; an empty string means "there is none"."""

    case_id: str  # [A-Za-z0-9_-]+, unique within its task
    task: str
    image: str
    source_caption: str
    target_caption: str
    instruction: str
    instruction_origin: str = "template"
    edit_type: str
    attribute: str = ""
    desired: bool = True  # the value that the attribute has after the edit
    mask: str = ""  # 255 = editable
    mask_origin: str = "exact"
    automatic_mask: str = ""
    background_mask: str = ""  # empty = the complement of the mask
    exemplar: str = ""  # another image that shows what the edit asks for, of the size of the image
    exemplar_mask: str = ""  # 255 = where it shows that; empty = the whole exemplar
    drags: str = ""  # JSON list of {kind, source_mask, affine, target_mask, points}
    true_edit: str = ""
    source_attributes: str = ""  # JSON {name: bool}
    target_attributes: str = ""
    identity: str = ""
    cluster: str  # the source image: cases that share it are resampled together
    chain: str = ""  # edits of one chain share it: each takes the image that the one before it made
    step: int = 1  # place in the chain, from 1; the other columns of a later step speak of the chain up to it
    design: str = ""  # JSON {factor: value} of what a designed experiment varied, for example {"wording": 2}
    regions: str = ""  # JSON {name: mask} of parts of the source image, for example eyes, 255 = part
    frame: str = ""  # JSON (`framing.Frame.text`): the part of a user's picture that the image shows, and its file
    split: str = "test"
    licence: str


def _schema() -> Any:
    import pandera.pandas as pa

    texts = [f.name for f in fields(Case) if f.name not in ("desired", "step")]
    columns = {name: pa.Column(str) for name in texts} | {"desired": pa.Column(bool)}
    columns["step"] = pa.Column(int, pa.Check.ge(1))
    columns["case_id"] = pa.Column(str, pa.Check.str_matches(r"^[A-Za-z0-9_-]+$"), unique=True)
    columns["mask_origin"] = pa.Column(str, pa.Check.isin(MASK_ORIGINS))
    columns["instruction_origin"] = pa.Column(str, pa.Check.isin(INSTRUCTION_ORIGINS))
    columns["cluster"] = pa.Column(str, pa.Check.str_length(min_value=1))
    return pa.DataFrameSchema(columns, strict=True)


def _checked(frame: Any, path: Path) -> Any:
    import pandera.errors

    try:
        return _schema().validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        raise UserError(
            f"{path}: column '{first['column']}' fails the check {first['check']} "
            f"(first: {first['failure_case']!r} in row {first['index']}). Correct the case table or rebuild it."
        ) from None


def _mark() -> bytes:
    """What stands in the metadata of a table that was checked against this schema when it was written."""
    return ",".join(f.name for f in fields(Case)).encode()


def compact_json(values: Any) -> str:
    """Return the JSON text of a column, without spaces."""
    return json.dumps(values, separators=(",", ":"))


def case_files(case: Case) -> list[str]:
    """Return the files that a case names, relative to the folder of its table; drags that cannot be read name none."""
    drags, regions = _read_json(case.drags), _read_json(case.regions)
    named = [getattr(case, column) for column in FILE_COLUMNS]
    for drag in drags if isinstance(drags, list) else []:
        named += [drag.get(key) for key in ("source_mask", "target_mask")] if isinstance(drag, dict) else []
    named += regions.values() if isinstance(regions, dict) else []
    return [name for name in named if name and isinstance(name, str)]


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # an editor that needs them says so, and the case fails alone
        return None


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Write the cases as a parquet table, atomically, and the list of their files beside it.

    Raises:
        UserError: a value breaks the schema.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    cases = list(cases)
    frame = _checked(pd.DataFrame([asdict(case) for case in cases], columns=[f.name for f in fields(Case)]), path)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _MARK_KEY: _mark()}), buffer)
    write_contents(path, (path.parent / name for case in cases for name in case_files(case)))
    write_bytes(path, buffer.getvalue())


def read_cases(path: Path) -> list[Case]:
    """Read a case table; raise `UserError` that names the file if it is missing, unreadable or breaks the schema."""
    table = read_table(path, "Make it with `snakemake data`.")
    if (table.schema.metadata or {}).get(_MARK_KEY) == _mark():
        # Checked when it was written, by us: pandas and pandera take longer to import than a small job has to run.
        return [Case(**row) for row in table.to_pylist()]
    return [Case(**row) for row in _checked(table.to_pandas(), path).to_dict(orient="records")]


def read_image(path: Path) -> Pixels:
    """Read an image as RGB uint8 [H, W, 3]; raise `UserError` if it is missing, truncated or no image."""
    return rgb(open_picture(path, missing=_MAKE_AGAIN), where=str(path))


def read_mask(path: Path, size: tuple[int, int], *, allow_empty: bool = False) -> Mask:
    """Read a mask as bool [H, W], True = editable.

    Args:
        path: an image file; pixels above the middle of the grey range are editable.
        size: (height, width) of the image that it belongs to.
        allow_empty: whether a mask without any editable pixel is accepted.

    Raises:
        UserError: the file is unreadable, of another size than the image, or empty.
    """
    mask = same_size(grey_mask(open_picture(path, missing=_MAKE_AGAIN), where=str(path)), size, str(path))
    if not allow_empty and not mask.any():
        raise UserError(f"{path}: the mask is empty, expected an editable (white) pixel. Redraw the mask.")
    return mask


def encode_png(array: Pixels | Mask) -> bytes:
    """Return the PNG bytes of an image: uint8 [H, W, 3] or [H, W], or a mask: bool [H, W]."""
    pixels = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def write_png(path: Path, array: Pixels | Mask) -> None:
    """Write an image or a mask (bool becomes 0 and 255) as PNG, atomically."""
    write_bytes(path, encode_png(array))


def write_images(folder: Path, name: str, images: Mapping[str, Pixels | Mask | None]) -> dict[str, str]:
    """Write the images of a case, and decide their file names for all data sets.

    Args:
        folder: folder of the case table.
        name: id of the case, or a name that several cases share.
        images: role -> image or mask, None = there is none; a role is a column of the table, or `region_<name>`.

    Returns:
        Role -> path relative to the folder, `<role>/<name>.png`.
    """
    paths = {role: f"{role}/{name}.png" for role, pixels in images.items() if pixels is not None}
    for role, pixels in images.items():
        if pixels is not None:
            write_png(folder / paths[role], pixels)
    return paths


def write_regions(folder: Path, name: str, regions: Mapping[str, Mask]) -> str:
    """Write the masks of an image's regions; return the case's column `regions`: JSON {region: path}."""
    paths = write_images(folder, name, {f"region_{region}": mask for region, mask in regions.items()})
    return compact_json({region: paths[f"region_{region}"] for region in regions})


def write_case(folder: Path, case_id: str, images: Mapping[str, Pixels | Mask | None], **columns: Any) -> Case:
    """Write the images of a case (see `write_images`); return the case that names them and has the other columns."""
    columns |= write_images(folder, case_id, images)
    return Case(case_id=case_id, **columns)
