"""MagicBrush in miniature, in the formats in which it is published: parquet files, and the unpacked archive."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 40
SESSIONS = {"368667": 3, "12": 1, "5000": 2}


def scene(session: str, turn: int) -> np.ndarray:
    """The picture after a turn, a grey that says which; whose pixels tell nothing of masks."""
    return np.full((SIDE, SIDE, 3), 20 + 40 * turn + int(session) % 11, np.uint8)


def edit_area(turn: int) -> np.ndarray:
    area = np.zeros((SIDE, SIDE), bool)
    area[4 * turn : 4 * turn + 12, 8:20] = True
    return area


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def published_mask(session: str, turn: int, scale: int = 1) -> bytes:
    """The source with a transparent area; larger where `scale` says so, white below it."""
    rgba = np.dstack([scene(session, turn - 1), np.full((SIDE, SIDE), 255, np.uint8)])
    rgba[edit_area(turn)] = (255, 255, 255, 0) if turn % 2 else (0, 0, 0, 0)
    return png(rgba.repeat(scale, 0).repeat(scale, 1))


def rows(**scales: int) -> list[dict[str, Any]]:
    """All turns, as the parquet files hold them: images as structs of bytes and a path."""
    return [
        {
            "img_id": session,
            "turn_index": turn,
            "source_img": {"bytes": png(scene(session, turn - 1)), "path": f"{session}-input.png"},
            "mask_img": {"bytes": published_mask(session, turn, scales.get(f"s{session}", 1)), "path": None},
            "instruction": f"change {turn} of {session} ",
            "target_img": {"bytes": png(scene(session, turn)), "path": None},
        }
        for session, turns in SESSIONS.items()
        for turn in range(1, turns + 1)
    ]


def write_parquet(root: Path, content: list[dict[str, Any]], files: int = 2) -> Path:
    """Write rows as files of the names that they have on the hub."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        name = f"dev-{number:05d}-of-{files:05d}-384b81a61c93b7e{number}.parquet"
        pq.write_table(pa.Table.from_pylist(content[number::files]), root / "data" / name)
    return root


def write_archive(root: Path) -> Path:
    """Write the layout of the archive: folders of images, sessions and captions."""
    sessions: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    local: dict[str, Any] = {}
    for session, turns in SESSIONS.items():
        folder = root / "images" / session
        folder.mkdir(parents=True)
        (folder / f"{session}-input.png").write_bytes(png(scene(session, 0)))
        sessions[session], local[session] = [], {}
        whole[session] = {f"{session}-input.png": f"scene {session}"}
        source = f"{session}-input.png"
        for turn in range(1, turns + 1):
            names = f"{session}-mask{turn}.png", f"{session}-output{turn}.png"
            (folder / names[0]).write_bytes(published_mask(session, turn))
            (folder / names[1]).write_bytes(png(scene(session, turn)))
            sessions[session].append(
                {"input": source, "mask": names[0], "output": names[1], "instruction": f"change {turn} of {session}"}
            )
            whole[session][names[1]] = f"scene {session} after {turn}"
            local[session][names[1]] = f"thing {turn}"
            source = names[1]
    (root / "edit_sessions.json").write_text(json.dumps(sessions))
    (root / "edit_turns.json").write_text(json.dumps([turn for turns in sessions.values() for turn in turns]))
    (root / "global_descriptions.json").write_text(json.dumps(whole))
    (root / "local_descriptions.json").write_text(json.dumps(local))
    return root
