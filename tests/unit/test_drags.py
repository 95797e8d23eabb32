"""Tests of region drags."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from editfrontier.data.framing import apply
from editfrontier.data.language import load_language
from editfrontier.data.masks import iou
from editfrontier.data.regions import warp_mask
from editfrontier.microworld.drags import (
    GRADES,
    KINDS,
    about,
    direction_phrase,
    point_pairs,
    sample_drags,
)

LANG = load_language()
DRAGS = sample_drags(27, 6, LANG)


def test_kinds_and_grades_are_balanced() -> None:
    assert Counter((d.kind, d.grade) for d in DRAGS) == {(kind, grade): 3 for kind in KINDS for grade in GRADES}


def test_background_is_the_same_and_regions_are_inside_of_the_mask() -> None:
    for drag in DRAGS:
        assert np.array_equal(drag.before[~drag.mask], drag.after[~drag.mask])
        assert (drag.mask | ~drag.source_mask).all()
        assert (drag.mask | ~drag.target_mask).all()
        assert 0.5 < drag.target_mask.sum() / drag.source_mask.sum() < 2.2 or drag.kind == "deformation"


def test_the_true_result_shows_the_object_at_its_target() -> None:
    """The image changes in the parts of the regions that do not overlap: there it is object against background."""
    for drag in DRAGS:
        changed = (drag.before != drag.after).any(2)
        only_one = drag.source_mask ^ drag.target_mask
        assert (changed & only_one).sum() > 0.9 * only_one.sum(), drag.kind


def test_grades_order_the_magnitude() -> None:
    for kind in KINDS:
        means = [np.mean([d.magnitude for d in DRAGS if (d.kind, d.grade) == (kind, grade)]) for grade in GRADES]
        assert means[0] < means[1] < means[2], (kind, means)
        assert means[0] > 1.5


def test_points_lie_in_the_source_and_follow_the_map() -> None:
    for drag in DRAGS:
        assert len(drag.points) == 4
        for (x, y), target in drag.points:
            assert drag.source_mask[int(y), int(x)]
            assert np.allclose(apply(np.array(drag.affine), np.array([[x, y]]))[0], target, atol=1e-3)


def test_anchor_is_fixed() -> None:
    for drag in DRAGS:
        assert (drag.anchor is None) == (drag.kind == "relocation")
        if drag.anchor is not None:
            assert np.allclose(apply(np.array(drag.affine), np.array([drag.anchor]))[0], drag.anchor)


def test_warp_of_a_whole_pixel_shift_is_exact() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:36] = True
    expected = np.roll(mask, (5, -7), (0, 1))
    assert iou(warp_mask(mask, np.array([[1.0, 0.0, -7.0], [0.0, 1.0, 5.0]])), expected) == 1.0
    turned = warp_mask(mask, np.array(about((32.5, 14.5), np.array([[0.0, -1.0], [1.0, 0.0]]))))
    assert turned.sum() == pytest.approx(60, abs=2)
    assert len(point_pairs(mask, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), 5)) == 5


def test_direction_phrases() -> None:
    rng = random.Random(0)
    assert direction_phrase(-9, 1, LANG, rng) == "to the left"
    assert direction_phrase(8, -8, LANG, rng) in ("to the right and up", "to the right and upwards")
