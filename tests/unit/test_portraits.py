"""The portraits are deterministic, and each parameter does what its name says and nothing else."""

from __future__ import annotations

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import (
    ATTRIBUTES,
    HAIR_COLOURS,
    IDENTITY,
    MAX_PRESENT,
    NUISANCE,
    REGIONS,
    Portraits,
    attribute_index,
    concatenate,
    conflicts,
    sample_portraits,
    set_attribute,
)


def plain(n: int = 8, seed: int = 0) -> Portraits:
    """Return portraits with brown hair and no other attribute."""
    drawn = sample_portraits(n, seed=seed)
    bare = Portraits(drawn.identity, torch.zeros_like(drawn.attributes), drawn.nuisance, drawn.population)
    return set_attribute(bare, "brown_hair", True)


def test_the_same_seed_gives_the_same_bytes_in_any_batch() -> None:
    portraits = sample_portraits(20, seed=3, population="outdoor")
    whole = render_portraits(portraits).images
    assert torch.equal(whole, render_portraits(sample_portraits(20, seed=3, population="outdoor"), batch=7).images)
    assert torch.equal(whole[5:6], render_portraits(portraits[5]).images)
    assert not torch.equal(whole, render_portraits(sample_portraits(20, seed=4, population="outdoor")).images)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_changes_every_face_and_only_a_part_of_the_image(name: str) -> None:
    before = plain()
    if name == "brown_hair":
        before = set_attribute(before, "red_hair", True)
    difference = (render_portraits(set_attribute(before, name, True)).images != render_portraits(before).images).any(1)
    share = difference.float().mean((1, 2))
    assert (share > 0.002).all(), "an attribute that cannot be seen cannot be judged"
    assert (share < 0.5).all(), "an attribute must not repaint the whole image"


@pytest.mark.parametrize("index", range(len(IDENTITY)), ids=IDENTITY)
def test_every_identity_parameter_is_visible(index: int) -> None:
    low, high = plain(), plain()
    low.identity[:, index], high.identity[:, index] = 0.0, 1.0
    changed = (render_portraits(low).images != render_portraits(high).images).any(1).flatten(1).any(1)
    assert changed.all()


@pytest.mark.parametrize("name", NUISANCE)
def test_every_nuisance_parameter_is_visible_in_some_population(name: str) -> None:
    index = NUISANCE.index(name)
    base = set_attribute(concatenate([plain(), sample_portraits(8, seed=1, population="outdoor")]), "hat", True)
    low, high = (Portraits(base.identity, base.attributes, base.nuisance.clone(), base.population) for _ in range(2))
    low.nuisance[:, index], high.nuisance[:, index] = 0.1, 0.6
    assert not torch.equal(render_portraits(low).images, render_portraits(high).images)


def test_sampled_attributes_can_be_shown_together() -> None:
    drawn = sample_portraits(2000, seed=9)
    hair = drawn.attributes[:, -len(HAIR_COLOURS) :]
    assert (hair.sum(1) == 1).all()
    assert drawn.attributes[:, : -len(HAIR_COLOURS)].sum(1).max() <= MAX_PRESENT
    for name in ATTRIBUTES:
        assert not (drawn.attribute(name) & conflicts(drawn, name)).any()
        assert 0.08 < drawn.attribute(name).float().mean() < 0.4


def test_setting_an_attribute_clears_what_it_would_hide() -> None:
    worn = set_attribute(plain(), "glasses", True)
    assert conflicts(worn, "sunglasses").all()
    shaded = set_attribute(worn, "sunglasses", True)
    assert shaded.attribute("sunglasses").all() and not shaded.attribute("glasses").any()
    blond = set_attribute(plain(), "blond_hair", True)
    assert blond.attribute("blond_hair").all() and not blond.attribute("brown_hair").any()


def test_impossible_requests_are_refused_with_the_fix() -> None:
    with pytest.raises(UserError, match="Did you mean 'sunglasses'"):
        attribute_index("sunglases")
    with pytest.raises(UserError, match="Set another hair colour"):
        set_attribute(plain(), "brown_hair", False)
    with pytest.raises(UserError, match="population 'studioo'.*Did you mean 'studio'"):
        sample_portraits(1, seed=0, population="studioo")


def test_regions_name_the_parts_of_every_face() -> None:
    regions = render_portraits(plain()).regions
    for name in ("background", "skin", "eyes", "mouth", "hair", "clothes"):
        assert (regions == REGIONS.index(name)).flatten(1).any(1).all(), name
