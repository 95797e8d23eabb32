"""Tests of single edits, sessions and training pairs."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import torch

from editfrontier.data.language import DEFAULT_PATH, HAIR_COLOURS, load_language
from editfrontier.microworld.edits import MINIMUM_PIXELS, attribute_directions, portrait_edits, scene_edits
from editfrontier.microworld.portraits import ATTRIBUTES
from editfrontier.microworld.scene_edits import EDIT_KINDS, edit_scene
from editfrontier.microworld.scenes import sample_scenes, scene_caption
from editfrontier.microworld.sessions import sample_sessions, session_pairs
from editfrontier.microworld.zoo.tokenizer import language_words

LANG = load_language()
WORDS = set(language_words(DEFAULT_PATH)) | {"an"}


def test_attributes_of_the_renderer_and_the_language_agree() -> None:
    assert set(LANG.attributes) == set(ATTRIBUTES)


def test_round_robin_names_every_attribute_first_and_every_direction_once() -> None:
    order = attribute_directions()
    assert [name for name, _ in order[:20]] == list(ATTRIBUTES)
    assert len(order) == len(set(order)) == 35
    assert not any(name in HAIR_COLOURS and not desired for name, desired in order)


def test_portrait_edits_change_the_named_attribute_and_nothing_outside_of_the_mask() -> None:
    edits = portrait_edits(35, 4, LANG)
    assert Counter((e.attribute, e.desired) for e in edits) == Counter(attribute_directions())
    for edit in edits:
        assert edit.source_attributes[edit.attribute] != edit.desired
        assert edit.target_attributes[edit.attribute] == edit.desired
        others = {n for n in ATTRIBUTES if edit.source_attributes[n] != edit.target_attributes[n]} - {edit.attribute}
        assert others <= set(HAIR_COLOURS)
        assert edit.source_caption != edit.target_caption
        assert edit.mask.sum() >= MINIMUM_PIXELS
        assert np.array_equal(edit.before[~edit.mask], edit.after[~edit.mask])
        assert set(edit.instruction.text.replace(",", "").split()) <= WORDS
    assert len({edit.identity for edit in edits}) == 35


def test_a_longer_list_starts_with_the_shorter_one() -> None:
    few, many = portrait_edits(3, 9, LANG), portrait_edits(40, 9, LANG)
    for a, b in zip(few, many, strict=False):
        assert np.array_equal(a.after, b.after)
        assert a.instruction == b.instruction


def test_share_of_free_form() -> None:
    assert {e.instruction.origin for e in scene_edits(20, 0, LANG, free_form_share=1.0)} == {"free_form"}
    assert {e.instruction.origin for e in scene_edits(20, 0, LANG, free_form_share=0.0)} == {"template"}


def test_scene_edits_are_balanced_and_masks_hold_whole_objects() -> None:
    edits = scene_edits(18, 2, LANG)
    assert Counter(e.edit_type for e in edits) == dict.fromkeys(EDIT_KINDS, 2)
    for edit in edits:
        assert edit.source_caption != edit.target_caption
        assert np.array_equal(edit.before[~edit.mask], edit.after[~edit.mask])
        assert (edit.before != edit.after).any()
        assert set(edit.instruction.text.replace(",", "").split()) <= WORDS
        if edit.edit_type == "background":
            assert edit.mask.mean() > 0.4


def test_every_kind_of_scene_edit_says_what_it_does() -> None:
    for index, scene in enumerate(sample_scenes(40, 3)):
        for kind in EDIT_KINDS:
            change = edit_scene(scene, kind, random.Random(index), LANG)
            if change is None:
                continue
            new = [o for o in change.target.objects if o not in scene.objects]
            if kind == "recolour":
                assert new[0].colour in change.instruction.text
            elif kind in ("replace", "add"):
                assert new[0].name in change.instruction.text
            elif kind == "background":
                assert change.target.background != scene.background
            else:
                gone = [o for o in scene.objects if o not in change.target.objects]
                assert all(o.name in change.instruction.text for o in gone)
            assert scene_caption(change.target) != scene_caption(scene)


def test_sessions_chain_and_have_one_to_three_turns() -> None:
    sessions = sample_sessions(24, 5, LANG)
    assert sum(map(len, sessions)) == 24
    assert {len(s) for s in sessions} == {1, 2, 3}
    assert any(s[0].attribute for s in sessions)
    assert any(not s[0].attribute for s in sessions)
    for session in sessions:
        for first, second in itertools.pairwise(session):
            assert np.array_equal(first.after, second.before)
            assert first.target_caption == second.source_caption
        names = [turn.attribute for turn in session if turn.attribute]
        assert len(set(names)) == len(names)


def test_training_pairs_are_visible_and_repeat() -> None:
    source, texts, target = session_pairs(12, 1, LANG)
    assert source.shape == target.shape == (12, 3, 64, 64)
    assert source.dtype == torch.uint8
    assert len(texts) == 12
    assert (source != target).flatten(1).any(1).all()
    again = session_pairs(12, 1, LANG)
    assert torch.equal(again[0], source)
    assert again[1] == texts
    assert session_pairs(3, 1, LANG, portrait_share=0.0)[0].shape[0] == 3
