"""Tests of exact and automatic masks."""

from __future__ import annotations

import numpy as np
import pytest

from editfrontier.data.masks import iou
from editfrontier.microworld.scenes import Scene, SceneObject, render_scenes
from editfrontier.microworld.segment import automatic_mask, exact_mask


def _star() -> tuple[np.ndarray, np.ndarray]:
    scene = Scene((SceneObject("star", "red", "large", 30.0, 32.0, 16.0),), "plain", (0.5,) * 12)
    images, masks = render_scenes([scene])
    return images[0].permute(1, 2, 0).numpy(), masks[0, 0].numpy() > 0


def test_exact_mask_holds_every_changed_pixel_and_closes_gaps() -> None:
    before = np.zeros((10, 10, 3), np.uint8)
    after = before.copy()
    after[2:7, 2:7, 1] = 1
    after[4, 4] = 0
    mask = exact_mask(before, after)
    assert mask[4, 4]
    assert mask.sum() == 25
    assert not exact_mask(before, before).any()


def test_iou() -> None:
    a, b = np.zeros((2, 2), bool), np.ones((2, 2), bool)
    assert iou(b, b) == 1.0
    assert iou(a, b) == 0.0
    assert iou(np.array([[True, False]]), np.array([[True, True]])) == 0.5


def test_automatic_mask_is_good_on_a_clear_object_and_repeats() -> None:
    image, mask = _star()
    first = automatic_mask(image, mask, 5)
    assert first.iou > 0.7
    assert not first.fallback
    assert first.iou == iou(first.mask, mask)
    assert np.array_equal(first.mask, automatic_mask(image, mask, 5).mask)


def test_automatic_mask_falls_back_to_the_box_where_nothing_is_to_see() -> None:
    flat = np.full((64, 64, 3), 127, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:30] = True
    result = automatic_mask(flat, mask, 0)
    assert result.mask.any()
    assert result.iou > 0.5


@pytest.mark.parametrize(
    ("rows", "columns"), [((0, 1), (0, 1)), ((63, 64), (63, 64)), ((0, 64), (0, 64)), ((30, 31), (0, 64))]
)
def test_automatic_mask_is_never_empty(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    image, _ = _star()
    mask = np.zeros((64, 64), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert all(automatic_mask(image, mask, seed).mask.any() for seed in range(5))
