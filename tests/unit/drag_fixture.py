"""Small data sets of drags in the formats that they are published in."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
TEXT = "A grey wall with a bright mark on it."
CHANGE = "The mark is moved."


def picture(height: int, width: int, mask: npt.NDArray[np.bool_], alpha: bool = False) -> Pixels:
    """A grey picture with something bright on it; with an alpha channel, as some of the published ones have."""
    pixels = np.full((height, width, 4), 90, np.uint8)
    pixels[mask, :3] = (240, 200, 40)
    pixels[..., 3] = 255
    return pixels if alpha else pixels[..., :3]


def box(height: int, width: int, top: int, left: int, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def red_sample(
    folder: Path,
    drawn: npt.NDArray[np.bool_],
    operations: dict[str, Any],
    handles: Sequence[tuple[list[int], list[int]]] = (),
    *,
    alpha: bool = False,
    **changes: Any,
) -> None:
    """Write a sample of ReD-Bench."""
    folder.mkdir(parents=True)
    Image.fromarray(picture(*drawn.shape, drawn, alpha)).save(folder / "original_image.png")
    Image.fromarray(drawn.astype(np.uint8) * 255).save(folder / "operation.png")
    Image.fromarray(picture(*drawn.shape, drawn)).save(folder / "user_operation.png")
    content = {
        "region_operations": operations,
        "point_operations": {"begin_points": [a for a, _ in handles], "target_points": [b for _, b in handles]},
        "background_prompt": TEXT,
        "editing_prompt": CHANGE,
    }
    (folder / "instruction.json").write_text(json.dumps(content | changes, indent=4))


def operation(task: str, start: list[float], end: list[float], anchor: list[float] | None = None) -> dict[str, Any]:
    return {"task": task, "centroids": [start, end], "anchors": anchor}


def red_bench(root: Path) -> Path:
    """Four samples, one of each kind and one of two regions; names as they are published, a letter and a number."""
    top = root / "ReD_Bench"
    square = box(60, 90, 10, 20, 12, 12)  # its mean is at (25.5, 15.5)
    red_sample(
        top / "b2",
        square,
        {"0": operation("transformation", [26, 16], [50, 32])},
        [([25, 15], [49, 31]), ([80, 50], [80, 50])],  # the second one holds the background and lies in no region
        alpha=True,
    )
    bar = box(64, 64, 14, 40, 6, 16)
    red_sample(top / "a10", bar, {"0": operation("rotation", [48, 16], [46, 42], [32, 32])}, [([48, 16], [46, 42])])
    ring = box(64, 64, 20, 20, 16, 16) & ~box(64, 64, 24, 24, 4, 4)
    ring[2, 2] = True  # a speck of the drawing
    red_sample(top / "c1", ring, {"0": operation("deformation", [28, 28], [34, 28])})
    two = box(48, 48, 4, 4, 8, 8) | box(48, 48, 30, 30, 8, 8)
    red_sample(
        top / "a3",
        two,
        {"0": operation("transformation", [34, 34], [24, 34]), "1": operation("deformation", [8, 8], [18, 8])},
        [([8, 8], [18, 8]), ([33, 33], [23, 33])],
    )
    (top / ".git").mkdir()
    (top / "README.md").write_text("# ReD Bench\n")
    return root


def dense(mask: npt.NDArray[np.bool_], back: npt.NDArray[np.float64], step: int = 1) -> list[Any]:
    """Pairs of points as RegionDrag makes them: each pixel of a target by rows, and where it comes from.

    Args:
        mask: bool [H, W], the target.
        back: float64 [2, 3], from the target to the source.
        step: pixels between two points.
    """
    rows, columns = np.nonzero(mask[::step, ::step])
    targets = np.stack([columns, rows], 1) * step
    sources = (targets @ back[:, :2].T + back[:, 2]).astype(int) // step * step
    return [point for pair in zip(sources.tolist(), targets.tolist(), strict=True) for point in map(tuple, pair)]


def bench_sample(folder: Path, pixels: Pixels, points: Any, handles: Any, mask: Any) -> None:
    """Write a sample of DragBench-DR or -SR."""
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "original_image.png")
    Image.fromarray(pixels[..., :3]).save(folder / "user_drag.png")
    for name, own in (("meta_data.pkl", handles), ("meta_data_region.pkl", points)):
        (folder / name).write_bytes(pickle.dumps({"prompt": TEXT, "points": own, "mask": mask}))


def drag_bench(root: Path) -> Path:
    """A sample of DR, below its category, that moves a square; one of SR, in no category, that widens it twofold."""
    source, target = box(48, 64, 10, 8, 12, 12), box(48, 64, 20, 30, 12, 12)
    bench_sample(
        root / "dragbench-dr" / "animals" / "JH_2023-09-14-1820-16",
        picture(48, 64, source),
        dense(target, np.array([[1.0, 0.0, -22.0], [0.0, 1.0, -10.0]])),
        [[13, 15], [35, 25], [60, 2], [60, 2]],
        (np.arange(48)[:, None] < 40).astype(np.uint8) * np.ones((48, 64), np.uint8),
    )
    wide = box(64, 64, 16, 16, 16, 32)
    bench_sample(
        root / "dragbench-sr" / "art_0",
        picture(64, 64, box(64, 64, 16, 16, 16, 16)),
        dense(wide, np.array([[0.5, 0.0, 8.0], [0.0, 1.0, 0.0]])),
        [(20, 20), (24, 20)],
        np.zeros((64, 64), np.float32),  # nobody drew a mask
    )
    return root
