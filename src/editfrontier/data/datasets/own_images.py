"""A user's own pictures: a table (CSV) that names them with their texts and masks, or a folder of pictures alone."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from editfrontier.base.errors import UserError, composed, did_you_mean, file_that_is_meant
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.cases import PICTURE_ENDINGS, Case, write_case
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.data.framing import frame_of, safe_name, same_size
from editfrontier.data.pictures import alpha_mask, grey_mask, open_picture, read_rgb

if TYPE_CHECKING:
    from editfrontier.data.framing import Mask

log = logging.getLogger(__name__)

TABLE = "images.csv"
PATHS = ("image", "mask", "background_mask", "true_edit")
COLUMNS = {
    "image": "path of the picture; the only column that is required",
    "id": "name of the case: letters, digits, _ and -; by default the number of the row and the name of the picture",
    "instruction": "what to do, in words",
    "source_caption": "what the picture shows",
    "target_caption": "what the edited picture should show",
    "mask": "path of a mask, white where it may change",
    "background_mask": "path of a mask, white where it must not change; by default the rest of `mask`",
    "true_edit": "path of a right result",
    "edit_type": "a word that tables can be split by",
    "source": "name of the source image: rows with the same name are resampled together; by default the picture's path",
    "licence": "of the picture",
}
"""Columns of the table, in any order; the paths are relative to the table."""

_ID = re.compile(r"^[A-Za-z0-9_-]+$")
LONGEST_ID = 120
"""Letters of a name: file names hold the task, the name and more, and have at most 255 bytes."""


@dataclass(frozen=True, kw_only=True)
class OwnImagesOptions(Options):
    """Options of a user's own pictures.

    Attributes:
        table: file name of the table below the folder of raw files; "" = `images.csv`, or if there is none every
            picture of the folder with the texts of the options below.
        columns: other names of columns in the table, "theirs=ours" each, for example "prompt=instruction".
        instruction, source_caption, target_caption: texts of rows that lack them, and of the pictures of a folder.
        mask_from: "grey", white pixels may change, or "alpha", transparent pixels may.
        outside: whether pictures and masks may lie outside the table's folder and `root`, by their path or by a link.
            A table that somebody else wrote could otherwise make a case of any picture on this machine.
        fit: "crop" keeps the largest square around the mask, "stretch" the whole picture.
        licence: licence of rows that state none.
    """

    table: str = ""
    columns: tuple[str, ...] = ()
    instruction: str = ""
    source_caption: str = ""
    target_caption: str = ""
    mask_from: Literal["grey", "alpha"] = "grey"
    outside: bool = False
    fit: Literal["crop", "stretch"] = "crop"
    licence: str = "not stated"


def build(request: Request) -> list[Case]:
    """Return the cases of the first rows of the table, or of the first pictures of the folder by name."""
    options: OwnImagesOptions = request.options
    table = request.raw / (options.table or TABLE)
    if table.is_file():
        rows = read_table(table, options.columns)
        where = str(table)
    elif options.table or not request.raw.is_dir():
        meant = file_that_is_meant(table if options.table else request.raw) or f" {DATASET.by_hand}"
        raise UserError(
            f"{table}: no such table of pictures.{meant} Name the folder by the option `root`, the file by `table`."
        )
    else:
        rows, where = list_folder(request.raw), str(request.raw)
    named = with_ids(rows, where)
    if not options.outside:
        check_inside(rows, table.parent, request.raw, where)
    return [_case(request, name, row, table.parent) for name, row in list(named.items())[: request.cases]]


def read_table(path: Path, renamed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table of pictures.

    Args:
        path: a CSV file in UTF-8 with a line of column names; columns are separated by commas, semicolons or tabs.
        renamed: "theirs=ours" each, for columns of another name.

    Returns:
        For each line the columns of `COLUMNS` that are not empty, and "line", its number in the file.

    Raises:
        UserError: the file is unreadable, has no rows, lacks `image`, or has a column whose name is nearly that of a
            missing one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not in UTF-8 (byte {error.start}). Save it as CSV in UTF-8.") from None
    if "\0" in text:
        raise UserError(f"{path}: is no text but a binary file. Save the table as CSV in UTF-8.")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        lines.extend((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: no readable CSV ({error}). Correct the quotes.") from None
    if len(lines) < 2:
        raise UserError(f"{path}: has no row below its column names, expected one a picture. Fill it in.")
    names = _names([cell.strip() for cell in lines[0][1]], renamed, path)
    rows = []
    for line, cells in lines[1:]:
        if len(cells) > len(names):
            raise UserError(
                f"{path}, line {line}: has {len(cells)} cells but there are {len(names)} columns. Put texts with "
                f"{delimiter!r} in them into double quotes."
            )
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name and cell.strip()}
        if "image" not in row:
            raise UserError(f"{path}, line {line}: its image is empty, expected the path of a picture. Fill it in.")
        rows.append(row | {"line": str(line)})
    return rows


def _names(header: Sequence[str], renamed: Sequence[str], path: Path) -> list[str]:
    """Return our name of each column, "" for a column that we do not read."""
    ours = {}
    for pair in renamed:
        theirs, equals, name = (part.strip() for part in pair.partition("="))
        if not equals or name not in COLUMNS:
            near = did_you_mean(name, COLUMNS)
            raise UserError(
                f"option 'columns': {pair!r}, expected \"theirs=ours\" with a column of ours.{near} Correct it."
            )
        if theirs not in header:
            raise UserError(f"{path}: has no column '{theirs}'.{did_you_mean(theirs, header)} Correct `columns`.")
        ours[theirs] = name
    names = [ours.get(column, column if column in COLUMNS else "") for column in header]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: has the column '{twice[0]}' twice. Remove one of them.")
    free = [name for name in COLUMNS if name not in names]
    for column, name in zip(header, names, strict=True):
        if name or not column:
            continue
        near = did_you_mean(column.lower(), free) if free else ""
        if "Did you mean" in near:
            raise UserError(f"{path}: there is no column '{column}'.{near} Correct the name, or map it by `columns`.")
        log.info("%s: the column '%s' is not read", path, column)
    if "image" not in names:
        raise UserError(
            f"{path}: has no column 'image' among {', '.join(header)}. Rename the column of the pictures, or map its "
            "name by the option `columns`."
        )
    return names


def list_folder(folder: Path) -> list[dict[str, str]]:
    """Return the pictures of a folder by name, each with the mask of its name in the folder `masks`, if any."""
    # Hidden files are no pictures: a Mac keeps the attributes of cat.png in ._cat.png.
    shown = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in shown if entry.suffix.lower() in PICTURE_ENDINGS and entry.is_file()]
    for other in shown:
        if other not in files and other != folder / "masks":
            what = "a folder" if other.is_dir() else f"no file that ends in {', '.join(PICTURE_ENDINGS)}"
            log.warning("%s: is %s, it is not read", other, what)
    if not files:
        inner = [entry for entry in shown if entry.is_dir() and entry.name != "masks"]
        deeper = next(
            (entry for entry in inner if any(file.suffix.lower() in PICTURE_ENDINGS for file in entry.iterdir())), None
        )
        hint = f" There are some in {deeper}: name that folder by the option `root`." if deeper else ""
        raise UserError(
            f"{folder}: holds neither {TABLE} nor a picture ({', '.join(PICTURE_ENDINGS)}).{hint} {DATASET.by_hand}"
        )
    place = folder / "masks"
    drawn = sorted(place.iterdir()) if place.is_dir() else []
    masks: dict[str, list[str]] = {composed(file.stem): [] for file in files}
    for mask in drawn:
        if mask.suffix.lower() in PICTURE_ENDINGS and composed(mask.stem) in masks:
            masks[composed(mask.stem)].append(str(mask.relative_to(folder)))
        elif not mask.name.startswith("."):
            log.warning("%s: no picture has this name, so it is no mask and is not read", mask)
    rows = []
    for file in files:
        named = masks[composed(file.stem)]
        if len(named) > 1:
            raise UserError(f"{folder}: the picture {file.name} has the masks {' and '.join(named)}. Keep one of them.")
        rows.append({"image": file.name, "line": file.name} | ({"mask": named[0]} if named else {}))
    return rows


def check_inside(rows: Sequence[Mapping[str, str]], folder: Path, raw: Path, where: str) -> None:
    """Raise `UserError` if a row names a file outside `folder`, which its paths are relative to, and outside `raw`, by
    "..", an absolute path or a link."""
    homes = (folder.resolve(), raw.resolve())
    for row in rows:
        for role in PATHS:
            if role in row and not any(_real(folder / row[role]).is_relative_to(home) for home in homes):
                raise UserError(
                    f"{where}, line {row['line']}: its {role} {row[role]!r} lies at {_real(folder / row[role])}, "
                    f"outside {folder}. Copy it there, or set the option `outside: true` if you trust the table."
                )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def with_ids(rows: Sequence[Mapping[str, str]], where: str) -> dict[str, Mapping[str, str]]:
    """Return the rows by name: their `id`, or their number and the name of their picture.

    Raises:
        UserError: a name is repeated, if only in other capitals, or has letters that a file name should not have.
    """
    named: dict[str, Mapping[str, str]] = {}
    small: dict[str, str] = {}  # name in small letters -> name
    for number, row in enumerate(rows, start=1):
        name = row.get("id") or f"{number:05d}-{safe_name([Path(row['image']).stem])}"[:LONGEST_ID]
        if len(name) > LONGEST_ID:
            raise UserError(
                f"{where}, line {row['line']}: the id {name[:20]}... has {len(name)} letters, expected at most "
                f"{LONGEST_ID}. Shorten it."
            )
        if not _ID.match(name):
            raise UserError(
                f"{where}, line {row['line']}: the id {name!r} has other characters than letters, digits, _ and -. "
                "Change it."
            )
        if name in named:
            raise UserError(
                f"{where}: the id '{name}' stands in the lines {named[name]['line']} and {row['line']}. Give each row "
                "its own."
            )
        if (other := small.setdefault(name.lower(), name)) != name:
            raise UserError(
                f"{where}: the ids '{other}' and '{name}' in the lines {named[other]['line']} and {row['line']} differ "
                "in capitals only, and are one file on many disks. Change one of them."
            )
        named[name] = row
    return named


def _case(request: Request, name: str, row: Mapping[str, str], folder: Path) -> Case:
    options: OwnImagesOptions = request.options
    image = read_rgb(folder / row["image"], upright=True)
    picture = (image.shape[0], image.shape[1])
    mask = _mask(folder / row["mask"], options, picture) if "mask" in row else None
    background = _mask(folder / row["background_mask"], options, picture) if "background_mask" in row else None
    if mask is not None and not mask.any():
        area = "white" if options.mask_from == "grey" else "transparent"
        raise UserError(
            f"{folder / row['mask']}: the mask is empty, expected a {area} area. Draw it, or leave the cell empty."
        )
    frame = frame_of(picture, options.size, options.fit, mask)
    if min(frame.height, frame.width) < options.size:
        log.warning("%s: is enlarged from %dx%d pixels", folder / row["image"], frame.width, frame.height)
    true_edit = None
    if "true_edit" in row:
        path = folder / row["true_edit"]
        true_edit = read_rgb(path, upright=True)
        if true_edit.shape[:2] != picture:
            raise UserError(
                f"{path}: the true edit is {true_edit.shape[1]}x{true_edit.shape[0]} but its image is "
                f"{picture[1]}x{picture[0]} pixels. Resize it, or leave the cell empty."
            )
    cluster = f"{request.task}-{row.get('source') or _source(folder, row['image'])}"
    request.note_source(cluster, image)
    return write_case(
        request.folder,
        f"{request.task}-{name}",
        {
            "image": frame.image(image),
            "mask": None if mask is None else frame.mask(mask),
            "background_mask": None if background is None else frame.mask(background),
            "true_edit": None if true_edit is None else frame.image(true_edit),
        },
        task=request.task,
        source_caption=row.get("source_caption", options.source_caption),
        target_caption=row.get("target_caption", options.target_caption),
        instruction=row.get("instruction", options.instruction),
        instruction_origin="free_form",
        edit_type=row.get("edit_type", "own"),
        mask_origin="human",
        cluster=cluster,
        frame=frame.text(row["image"]),
        licence=row.get("licence", options.licence),
    )


def _source(folder: Path, path: str) -> str:
    """Return the path of a picture in one spelling: tables may write ./a.png and a.png."""
    real, home = _real(folder / path), folder.resolve()
    return real.relative_to(home).as_posix() if real.is_relative_to(home) else path


def _mask(path: Path, options: OwnImagesOptions, picture: tuple[int, int]) -> Mask:
    image = open_picture(path)
    if options.mask_from == "grey":
        return same_size(grey_mask(image, upright=True, where=str(path)), picture, str(path))
    clear = alpha_mask(image, upright=True)
    if clear is None:
        raise UserError(
            f"{path}: has no alpha channel, which `mask_from: alpha` reads. Set `mask_from: grey`, or redraw it."
        )
    return same_size(clear, picture, str(path))


DATASET = Dataset(
    name="own_images",
    title="Own images",
    home="",
    licence="as the user states",
    terms="Those of the pictures.",
    files=(ExpectedFile(path=TABLE, what="a table of pictures, or pictures alone", optional=True),),
    by_hand=(
        f"Put pictures into the folder, with masks of the same names in its folder `masks`, or a table {TABLE} with "
        f"the columns {', '.join(COLUMNS)}."
    ),
    build=build,
    options=OwnImagesOptions,
    splits=("kind",),
)
