"""Tests of scenes: determinism, masks, captions and edits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from editfrontier.data.language import DEFAULT_PATH, load_language, with_articles, word_count
from editfrontier.microworld import scenes as world
from editfrontier.microworld.scenes import Scene, SceneObject, render_scenes, sample_scenes, scene_caption
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS
from editfrontier.microworld.zoo.tokenizer import language_words

LANG = load_language()
NUISANCE = (0.5,) * world.NUISANCE_SIZE
BALL = SceneObject("ball", "red", "small", 16.0, 32.0, 9.0)
HOUSE = SceneObject("house", "blue", "large", 44.0, 30.0, 15.0)
SCENE = Scene((BALL, HOUSE), "plain", NUISANCE)


def test_language_names_everything_that_is_drawn() -> None:
    assert set(LANG.scenes.classes) == set(CLASSES)
    assert len(CLASSES) >= 8
    assert set(LANG.scenes.colours) == set(COLOURS)
    assert len(COLOURS) >= 6
    assert set(LANG.scenes.backgrounds) == set(BACKGROUNDS)
    assert set(LANG.scenes.sizes) == set(world.RADIUS)


def test_scenes_depend_on_seed_and_index_only() -> None:
    few, many = sample_scenes(3, 7), sample_scenes(9, 7)
    assert many[:3] == few
    assert sample_scenes(3, 8) != few
    images, masks = render_scenes(many, batch=9)
    again, masks_again = render_scenes(many, batch=2)
    assert torch.equal(images, again)
    assert torch.equal(masks, masks_again)


def test_masks_are_where_the_object_changes_the_image() -> None:
    images, masks = render_scenes([SCENE, replace(SCENE, objects=(HOUSE,))])
    changed = (images[0] != images[1]).any(0)
    ball = masks[0, 0].bool()
    assert ball.sum() > 150
    assert (changed & ball).sum() > 0.99 * ball.sum()
    # Only the anti-aliased rim lies outside of the mask of visible pixels.
    assert (changed & ~ball).sum() < 60
    assert not masks[0, 2].any()
    assert not (masks[0, 0] & masks[0, 1]).any()


def test_an_object_in_front_hides_the_one_behind() -> None:
    near = replace(BALL, x=40.0, y=30.0)
    _, masks = render_scenes([Scene((HOUSE, near), "plain", NUISANCE), Scene((HOUSE,), "plain", NUISANCE)])
    assert masks[0, 0].sum() < masks[1, 0].sum()
    assert not (masks[0, 0] & masks[0, 1]).any()


@pytest.mark.parametrize("shape", sorted(CLASSES))
def test_every_class_fills_its_extent_and_shows_its_colour(shape: str) -> None:
    obj = SceneObject(shape, "purple", "large", 32.0, 32.0, 16.0)
    images, masks = render_scenes([Scene((obj,), "plain", NUISANCE)])
    mask = masks[0, 0].bool()
    ys, xs = mask.nonzero(as_tuple=True)
    assert xs.min() >= 15
    assert xs.max() <= 49
    assert ys.min() >= 15
    assert ys.max() <= 49
    assert max(xs.max() - xs.min(), ys.max() - ys.min()) >= 26
    red, green, blue = (images[0, c].float()[mask].mean() for c in range(3))
    assert blue > green + 5
    assert red > green - 15


def test_canonical_captions() -> None:
    assert scene_caption(SCENE) == "a small red ball to the left of a large blue house on a plain background"
    single = Scene((replace(BALL, colour="orange"),), "field", NUISANCE)
    assert scene_caption(single) == "a small orange ball on the left on a field under the sky"
    assert with_articles("paint a orange a orb a car") == "paint an orange an orb a car"


def test_paraphrases_stay_in_the_vocabulary_and_name_all_objects() -> None:
    words = set(language_words(DEFAULT_PATH))
    for index, scene in enumerate(sample_scenes(300, 1)):
        caption = scene_caption(scene, random.Random(index))
        assert word_count(caption) <= LANG.scenes.max_words
        assert set(caption.replace(",", "").split()) <= words | {"an"}
        for obj in scene.objects:
            assert f"{obj.colour} {obj.shape}" in caption


def test_relations_follow_the_larger_offset() -> None:
    assert world.relation_of(BALL, HOUSE) == "left"
    assert world.relation_of(HOUSE, BALL) == "right"
    assert world.relation_of(replace(BALL, y=60.0), replace(BALL, y=5.0)) == "below"
    assert [world.place_of(*p) for p in ((2, 30), (60, 30), (30, 3), (30, 60), (31, 33))] == [
        "left",
        "right",
        "top",
        "bottom",
        "middle",
    ]


def test_edits_change_what_they_say_and_nothing_else() -> None:
    assert world.change_object(SCENE, 0, colour="green").objects == (replace(BALL, colour="green"), HOUSE)
    assert world.remove_object(SCENE, 0).objects == (HOUSE,)
    assert world.resize(SCENE, 0, "large").objects[0].radius > 13
    assert world.move(SCENE, 0, -100, 3).objects[0].x == pytest.approx(10.0)
    swapped = world.swap(SCENE, 0, 1).objects
    assert swapped[0].x == 44.0
    assert swapped[1].x == 16.0
    with pytest.raises(ValueError, match="last object"):
        world.remove_object(Scene((BALL,), "plain", NUISANCE), 0)


def test_affine_maps_of_an_object_warp_its_mask() -> None:
    import cv2
    import numpy as np

    affine = [[0.9, -0.5, 24.0], [0.5, 0.9, -16.0]]
    moved = world.transform_object(Scene((HOUSE,), "plain", NUISANCE), 0, affine)
    _, masks = render_scenes([Scene((HOUSE,), "plain", NUISANCE), moved])
    warped = cv2.warpAffine(masks[0, 0].numpy() * 255, np.asarray(affine), (64, 64)) > 127
    true = masks[1, 0].numpy() > 0
    assert (warped & true).sum() / (warped | true).sum() > 0.93
