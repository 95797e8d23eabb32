"""The files of MagicBrush: its turns, their images, and captions, in both published layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.data.reading.json_files import read_object

COLUMNS = ("img_id", "turn_index", "source_img", "mask_img", "instruction", "target_img")
IMAGES = ("source_img", "mask_img", "target_img")


@dataclass(frozen=True)
class Turn:
    """One turn of a session; `names`: file names of source, mask and target in the archive."""

    session: str
    number: int
    instruction: str
    names: tuple[str, str, str]


@dataclass(frozen=True)
class SessionCaptions:
    """Session -> file name -> caption; "" where there is none."""

    whole: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    local: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, session: str, name: str, kind: str) -> str:
        captions = (self.local if kind == "local" else self.whole).get(session, {})
        return str(captions.get(name, "")).strip()


def read_index(files: Sequence[Path]) -> list[Turn]:
    """Read the turns of parquet files without their images; raise `UserError` for a damaged or wrong file."""
    turns = []
    for path in files:
        with _parquet(path) as file:
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise UserError(
                    f"{path}: has no column {', '.join(missing)}, expected {', '.join(COLUMNS)}. It is another data "
                    "set."
                )
            table = _read(path, partial(file.read, ["img_id", "turn_index", "instruction"]))
        for row in table.to_pylist():
            session = str(row["img_id"])
            turns.append(Turn(session, int(row["turn_index"]), str(row["instruction"]).strip(), _names(session, row)))
    return turns


def _names(session: str, row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the names of a turn's images in the archive, which captions are filed under."""
    turn = int(row["turn_index"])
    source = f"{session}-input.png" if turn == 1 else f"{session}-output{turn - 1}.png"
    return source, f"{session}-mask{turn}.png", f"{session}-output{turn}.png"


def read_images(files: Sequence[Path], turns: Sequence[Turn]) -> Iterator[tuple[Turn, tuple[bytes, bytes, bytes]]]:
    """Read the images of some turns of parquet files, a few rows at a time: files are large."""
    wanted = {(turn.session, turn.number): turn for turn in turns}
    for path in files:
        with _parquet(path) as file:
            batches = file.iter_batches(batch_size=8, columns=list(COLUMNS))
            while (batch := _read(path, partial(next, batches, None))) is not None:
                keys = zip(batch.column("img_id").to_pylist(), batch.column("turn_index").to_pylist(), strict=True)
                for place, (session, number) in enumerate(keys):
                    if (turn := wanted.get((str(session), int(number)))) is not None:
                        row = batch.slice(place, 1).to_pylist()[0]
                        source, mask, target = (_content(row[name], path, turn, name) for name in IMAGES)
                        yield turn, (source, mask, target)


def _content(value: Any, path: Path, turn: Turn, column: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise UserError(
            f"{path}, session {turn.session}, turn {turn.number}: its {column} holds no image but {value!r:.60}. "
            "Download the file again."
        )
    return content


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return _read(path, partial(pq.ParquetFile, path))


def _read(path: Path, action: Callable[[], Any]) -> Any:
    import pyarrow as pa

    try:
        return action()
    except (pa.ArrowException, OSError) as error:
        with path.open("rb") as file:
            pointer = file.read(24).startswith(b"version https://git-lfs")
        if pointer:
            raise UserError(f"{path}: is a pointer of Git LFS and not the file itself. Run `git lfs pull`.") from None
        raise UserError(
            f"{path}: is truncated or no parquet file ({error}). Delete it and download it again."
        ) from None


def read_folder(folder: Path) -> list[Turn]:
    """Read the turns of an unpacked archive: edit_sessions.json, session -> [{input, mask, output, instruction}]."""
    path = folder / "edit_sessions.json"
    turns = []
    for session, entries in read_object(path, "Unpack the archive again.").items():
        if not isinstance(entries, list) or not entries:
            raise UserError(
                f"{path}, session {session}: is {entries!r:.60}, expected a list of turns. Unpack it again."
            )
        for number, entry in enumerate(entries, start=1):
            missing = [key for key in ("input", "mask", "output", "instruction") if not _texts(entry, key)]
            if missing:
                raise UserError(
                    f"{path}, session {session}, turn {number}: has no {', '.join(missing)}, expected input, mask, "
                    "output and instruction. Unpack the archive again."
                )
            names = (entry["input"], entry["mask"], entry["output"])
            for name in (session, *names):
                if Path(name).name != name or name == "..":
                    raise UserError(
                        f"{path}, session {session}, turn {number}: {name!r} leads out of the folder of its images. "
                        "Get the archive from its authors."
                    )
            turns.append(Turn(str(session), number, entry["instruction"].strip(), names))
    return turns


def _texts(entry: Any, key: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(key), str) and bool(entry[key].strip())


def image_files(folder: Path, turn: Turn) -> tuple[Path, Path, Path]:
    """Return the files of a turn: source, mask and true edit."""
    source, mask, target = (folder / "images" / turn.session / name for name in turn.names)
    return source, mask, target


def read_captions(folder: Path) -> SessionCaptions:
    """Read the caption files of an archive that are there, by any of their known names."""
    both: list[Mapping[str, Mapping[str, str]]] = []
    for names in (
        ("global_descriptions.json", "global_description.json", "global_captions.json"),
        ("local_descriptions.json", "local_captions.json", "local_description.json"),
    ):
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        content = {} if path is None else read_object(path, "Unpack the archive again.")
        for session, captions in content.items():
            if not isinstance(captions, dict):
                raise UserError(f"{path}, session {session}: is {captions!r:.60}, expected captions by file name.")
        both.append(content)
    return SessionCaptions(*both)
