"""The region drags on checkpoints in the layout of the published ones, with the default blocks, at 256 and 512."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.data.cases import Case, read_image, write_cases, write_png
from editfrontier.editing.shard import run_shard

# (editor, checkpoint, hyperparameters, forwards of a case)
RUNS: list[tuple[str, str, dict[str, Any], int]] = [
    (
        "drag_flow",
        "flux",
        {"num_inference_steps": 3, "skipped_steps": 1, "transport_steps": 1, "intensify_steps": 1},
        3 + 2 + 2 * 3,
    ),
    ("region_drag", "sd2_base", {"num_inference_steps": 4, "strength": 0.5, "inner_steps": 2}, 2 + (2 + 3) + 2 * 2),
]


@pytest.fixture(scope="module")
def case_table(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Size -> a case table with one drag that can be done and one that leaves the image."""

    def write(size: int) -> Path:
        folder = tmp_path_factory.mktemp(f"drags-{size}")
        image = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
        source = np.zeros((size, size), dtype=bool)
        source[size // 4 : size // 2, size // 4 : size // 2] = True
        write_png(folder / "image.png", image)
        write_png(folder / "source.png", source)
        turn = {
            "kind": "rotation",
            "source_mask": "source.png",
            "affine": [[0.0, -1.0, 0.75 * size - 1.0], [1.0, 0.0, 0.0]],
        }
        case = Case(
            case_id="turned",
            task="hub",
            image="image.png",
            source_caption="a ball",
            target_caption="a ball",
            instruction="turn the ball",
            edit_type="rotation",
            drags=json.dumps([turn]),
            cluster="turned",
            licence="CC0-1.0",
        )
        away = turn | {"affine": [[1.0, 0.0, float(size)], [0.0, 1.0, 0.0]]}
        lost = replace(case, case_id="lost", drags=json.dumps([away]), cluster="lost")
        write_cases(folder / "cases.parquet", [case, lost])
        return folder / "cases.parquet"

    return write


@pytest.mark.parametrize(("size", "dtype"), [(256, "bfloat16"), (512, "float32")])
@pytest.mark.parametrize(("name", "checkpoint", "params", "forwards"), RUNS, ids=[run[0] for run in RUNS])
def test_a_drag_runs_on_the_hub_layout(
    name: str,
    checkpoint: str,
    params: dict[str, Any],
    forwards: int,
    size: int,
    dtype: str,
    case_table: Callable[[int], Path],
    hub_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    model = str(hub_folder(checkpoint))
    spec = {"editor": name, "variant": "hub", "params": params, "model": model, "dtype": dtype}
    cases = case_table(size)
    done, lost = run_shard(
        cases, 0, 1, spec, tmp_path / "record.parquet", tmp_path / "images", 1, progress=lambda _: None
    )
    assert done.status == "ok", done.reason
    assert done.forwards == forwards
    edited = read_image(tmp_path / done.image)
    assert edited.shape == (size, size, 3)
    assert edited.std() > 1
    assert not np.array_equal(edited, read_image(cases.parent / "image.png"))
    assert lost.status == "failed" and "case lost, region 1" in lost.reason and "leave the image" in lost.reason
