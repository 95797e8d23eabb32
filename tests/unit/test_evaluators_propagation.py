"""Handing masks on by diffusion features: on features that are known, and on rendered drags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editfrontier.data.cases import read_image
from editfrontier.data.regions import parse_drags
from editfrontier.scoring.evaluator import load_evaluator
from editfrontier.scoring.evaluators.propagation import PropagationEvaluator
from editfrontier.scoring.metrics import drag


class Colours:
    """Features that are the colours of cells of four pixels."""

    def features(self, images: torch.Tensor, captions: list[str], role: str) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(images.float(), 4) / 127.5 - 1
        return torch.cat([cells, torch.ones_like(cells[:, :1])], 1)


def scene(*places: tuple[int, int]) -> torch.Tensor:
    """Grey noise with a red square of 16 pixels at each place."""
    image = torch.randint(100, 130, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for row, column in places:
        image[:, 0, row : row + 16, column : column + 16] = 250
        image[:, 1:, row : row + 16, column : column + 16] = 10
    return image


def square(*places: tuple[int, int]) -> torch.Tensor:
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    for row, column in places:
        mask[:, row : row + 16, column : column + 16] = True
    return mask


@pytest.mark.parametrize("places", [[(8, 8)], [(40, 24)], [(8, 8), (40, 24)], []])
def test_an_object_is_found_wherever_it_is(places: list[tuple[int, int]]) -> None:
    judge: Any = PropagationEvaluator(Colours())  # type: ignore[arg-type]
    found = judge.find_object(scene((8, 8)), square((8, 8)), scene(*places))
    expected = square(*places)
    if not places:
        assert not found.any()
        return
    assert float((found & expected).sum() / (found | expected).sum()) > 0.85
    assert found[0, :4].sum() == 0  # corners of cells aside, nothing elsewhere


@pytest.fixture(scope="module")
def drags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from editfrontier.microworld.dataset import build_task

    folder = tmp_path_factory.mktemp("drags")
    cases = build_task("drags", 9, 11, folder, dataset="drags")
    regions = [parse_drags(case.drags, folder, (64, 64), case.case_id)[0] for case in cases]

    def stacked(name: str) -> torch.Tensor:
        images = [read_image(folder / getattr(case, name)) for case in cases]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    return {
        "sources": stacked("image"),
        "edited": stacked("true_edit"),
        "regions": torch.from_numpy(np.stack([region.source for region in regions])),
        "targets": torch.from_numpy(np.stack([region.target for region in regions])),
    }


def test_on_rendered_drags_it_tells_a_moved_object_from_one_that_stayed(root: Path, drags: dict[str, Any]) -> None:
    """True results of drags against no edit, on renderings that the model was not trained on."""
    judge = load_evaluator("segmentation", root / "resources/micro/text-to-image")
    assert isinstance(judge, PropagationEvaluator)
    judge.dift.ensemble = 2  # of 8, for time
    moved = judge.find_object(drags["sources"], drags["regions"], drags["edited"])
    stayed = judge.find_object(drags["sources"], drags["regions"], drags["sources"])
    with_move, without = (drag.iou(found, drags["targets"]).mean() for found in (moved, stayed))
    in_place = drag.iou(stayed, drags["regions"]).mean()
    assert with_move > without + 0.1
    assert in_place > 0.5
