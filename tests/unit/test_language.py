"""Tests of the caption and instruction language."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from editfrontier.base.errors import UserError
from editfrontier.data.language import (
    DEFAULT_PATH,
    HAIR_COLOURS,
    instructions,
    load_language,
    portrait_caption,
    word_count,
)

LANG = load_language()
BROWN = {"brown_hair": True}


def test_size_of_the_language() -> None:
    assert len(LANG.attributes) == 20
    assert len(LANG.attributes) + len(LANG.scenes.edits) >= 20
    templates = [text for entry in LANG.attributes.values() for text in (*entry.add, *entry.remove)]
    templates += [text for edit in LANG.scenes.edits.values() for text in edit.templates]
    assert len(set(templates)) == len(templates) >= 50


def test_every_direction_has_templates_and_a_free_form_with_an_origin() -> None:
    for name in LANG.attributes:
        for desired in (True, False):
            assert len(set(instructions(LANG, name, desired))) >= 5
            free = LANG.free_form(name, desired)
            assert free
            assert all(entry.origin in LANG.origins for entry in free)
            assert not {entry.text for entry in free} & set(instructions(LANG, name, desired))
    for edit in LANG.scenes.edits.values():
        assert len(set(edit.templates)) >= 5
        assert edit.free_form


def test_canonical_caption() -> None:
    values = {"brown_hair": True, "long_hair": True, "bangs": True, "glasses": True, "smile": True, "hat": False}
    expected = "a portrait of a person with long brown hair, a smile, glasses and bangs"
    assert portrait_caption(LANG, values) == expected
    assert portrait_caption(LANG, BROWN) == "a portrait of a person with short brown hair"
    assert portrait_caption(LANG, {**BROWN, "old": True}) == "a portrait of an old person with short brown hair"


def test_paraphrases_name_every_true_attribute_within_the_limit() -> None:
    rng = random.Random(3)
    free = [name for name in LANG.attributes if name not in HAIR_COLOURS]
    for _ in range(500):
        values = {name: rng.random() < 0.35 for name in free} | {rng.choice(HAIR_COLOURS): True}
        values["sunglasses"] = values["sunglasses"] and not values["glasses"]
        caption = portrait_caption(LANG, values, rng)
        assert word_count(caption) <= 32, caption
        for name in ("smile", "hat", "beard", "scarf", "necklace", "bangs"):
            said = any(phrase in caption for phrase in LANG.attributes[name].phrases)
            assert said == values[name], (name, caption)
        assert ("long" in caption) == values["long_hair"]


def test_all_attributes_at_once_fit() -> None:
    values = dict.fromkeys(LANG.attributes, True) | dict.fromkeys(HAIR_COLOURS, False)
    values |= {"red_hair": True, "sunglasses": False}
    assert word_count(portrait_caption(LANG, values)) <= 32


def test_caption_needs_one_hair_colour_and_known_names() -> None:
    with pytest.raises(UserError, match="exactly one of black_hair"):
        portrait_caption(LANG, {"smile": True})
    with pytest.raises(UserError, match="'smiel': unknown"):
        portrait_caption(LANG, {"smiel": True, **BROWN})


def _broken(tmp_path: Path, change: str) -> Path:
    data = yaml.safe_load(DEFAULT_PATH.read_text(encoding="utf-8"))
    smile = data["portraits"]["attributes"]["smile"]
    if change == "unknown key":
        smile["colour"] = "x"
    elif change == "no templates":
        del smile["add"]
    elif change == "few templates":
        smile["remove"] = smile["remove"][:2]
    elif change == "wrong type":
        smile["geometric"] = "yes please"
    elif change == "wrong slot":
        data["scenes"]["edits"]["recolour"]["add"][0] = "make the {thing} {colour}"
    elif change == "unknown origin":
        smile["free_form"]["add"][0]["origin"] = "nobody"
    elif change == "upper case":
        smile["phrases"][0] = "A Smile"
    path = tmp_path / "language.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("unknown key", r"portraits\.attributes\.smile\.colour: unknown key, expected one of add, "),
        ("no templates", r"portraits\.attributes\.smile\.add: is missing"),
        ("few templates", r"portraits\.attributes\.smile\.remove: has 2 texts, expected at least 5"),
        ("wrong type", r"smile\.geometric: is a text, expected true or false"),
        ("wrong slot", r"scenes\.edits\.recolour\.add: .*slot \{thing\}"),
        ("unknown origin", r"free_form\.add\[0\]\.origin: is 'nobody'"),
        ("upper case", r"smile\.phrases: 'A Smile' has other characters"),
    ],
)
def test_bad_files_name_the_key(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_language(_broken(tmp_path, change))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.yaml: no such language file"):
        load_language(tmp_path / "gone.yaml")
