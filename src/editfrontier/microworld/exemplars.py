"""Exemplars of portrait edits: pictures of other people that show the result of the edit, and where they show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from editfrontier.base.seeding import stable_seed
from editfrontier.data.pictures import Mask, Pixels
from editfrontier.microworld.edits import Edit, prepared, to_array, visible_change
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import (
    NUISANCE,
    Portraits,
    concatenate,
    conflicts,
    sample_portraits,
    set_attribute,
)
from editfrontier.microworld.segment import exact_mask

POSE = ("shift_x", "shift_y", "tilt", "scale", "light_angle", "light_strength")
"""Nuisance parameters that an exemplar shares with its source, as if it were aligned to it."""

_BLOCK = 2  # candidates drawn at once; fixed, so that a longer list of cases starts with the shorter one
_ROUNDS = 200


@dataclass(frozen=True)
class Exemplar:
    """A picture uint8 [64, 64, 3] and the mask bool [64, 64] of the pixels that show the attribute's value."""

    image: Pixels
    mask: Mask


def portrait_exemplars(edits: Sequence[Edit], seed: int, population: str) -> list[Exemplar]:
    """Draw an exemplar for each portrait edit, in the pose and light of its source.

    The mask holds the pixels that differ from the same picture with the attribute's other value (another colour, for
    hair), at least `edits.MINIMUM_PIXELS`.

    Args:
        edits: edits of portraits.
        seed: seed of the cases; exemplars are disjoint from their sources and from training data.
        population: one of `portraits.POPULATIONS`, that of the sources.
    """
    exemplars: dict[int, Exemplar] = {}
    for turn in range(_ROUNDS):
        rows = [row for row in range(len(edits)) if row not in exemplars]
        if not rows:
            return [exemplars[row] for row in range(len(edits))]
        drawn = [_candidates(edits[row], stable_seed("exemplars", seed, row, turn), population) for row in rows]
        without, with_it = concatenate([pair[0] for pair in drawn]), concatenate([pair[1] for pair in drawn])
        before, after = render_portraits(without).images, render_portraits(with_it).images
        usable = visible_change(before, after)
        for place, row in enumerate(rows):
            attribute, desired = edits[row].attribute, edits[row].desired
            for k in range(place * _BLOCK, (place + 1) * _BLOCK):
                clear = not desired or not bool(conflicts(without[k], attribute)[0])
                if row not in exemplars and usable[k] and clear:
                    images = to_array(before[k]), to_array(after[k])
                    exemplars[row] = Exemplar(images[1], exact_mask(*images))
    missing = sorted({edit.attribute for row, edit in enumerate(edits) if row not in exemplars})
    raise RuntimeError(f"no exemplars found for {', '.join(missing)} after {_ROUNDS} rounds")


def _candidates(edit: Edit, seed: int, population: str) -> tuple[Portraits, Portraits]:
    """Draw other people in the source's pose, before and after the edit."""
    assert edit.portrait is not None
    people = sample_portraits(_BLOCK, seed=seed, population=population)
    shared = torch.tensor([name in POSE for name in NUISANCE])
    people = replace(people, nuisance=torch.where(shared, edit.portrait.nuisance, people.nuisance))
    without = prepared(people, edit.attribute, edit.desired)
    return without, set_attribute(without, edit.attribute, edit.desired)
