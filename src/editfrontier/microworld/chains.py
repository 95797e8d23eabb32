"""Chains of portrait edits with known results: one edit repeated, and several attributes edited one after another."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.seeding import stable_seed
from editfrontier.data.chains import ORDERS, count_units
from editfrontier.data.language import HAIR_COLOURS, Language, attribute_instruction
from editfrontier.data.pictures import Mask
from editfrontier.microworld.edits import Edit, attribute_directions, portrait_edit, portrait_edits, visible_change
from editfrontier.microworld.portrait_painter import render_portraits
from editfrontier.microworld.portraits import (
    ATTRIBUTES,
    MAX_PRESENT,
    Portraits,
    concatenate,
    conflicts,
    sample_portraits,
    set_attribute,
)

DESIGNS = ("repeated", "composed")

_VISIBLE = ((0, 1, 2), (2, 1, 0), (1, 0), (0, 2, 1))
"""Sequences whose steps must all be visible: those of the chains, and one that ends with the middle edit."""
_BLOCK = 8  # portraits drawn at once; fixed, so that a longer list starts with the shorter one
_ROUNDS = 60


@dataclass(frozen=True)
class Step:
    """One step of a chain.

    Attributes:
        edit: images before and after the step if every step succeeds, captions, mask and instruction.
        background: bool [H, W], True where no step up to this one changes anything.
    """

    edit: Edit
    background: Mask


@dataclass(frozen=True)
class Chain:
    """The steps of one chain on one source image.

    Attributes:
        label: part of case ids that distinguishes the chains of one source.
        source: number of the source image.
        steps: steps in order.
        design: factor -> value of a designed experiment.
    """

    label: str
    source: int
    steps: tuple[Step, ...]
    design: Mapping[str, str | int]


def repeated_chains(
    n: int, steps: int, seed: int, lang: Language, *, population: str = "studio", free_form_share: float = 0.2
) -> list[Chain]:
    """Draw `n` chains that repeat one instruction; each adds an attribute to another person.

    From the second step on the attribute is there already and the truth does not change: a good editor then changes
    nothing.

    Args:
        n: number of chains; a longer list starts with the shorter one, and each of twenty chains in a row adds another
            attribute.
        steps: number of steps of each chain; earlier steps do not depend on it.
        seed: seed of everything, disjoint from the seeds of training data.
        lang: the language.
        population: one of `portraits.POPULATIONS`.
        free_form_share: expected share of free-form instructions in [0, 1].
    """
    directions = attribute_directions()
    added = len(ATTRIBUTES)  # number of edits that add an attribute in each round of the directions
    rounds = -(-n // added)
    where = stable_seed("repeated chains", seed)
    edits = portrait_edits(
        rounds * len(directions), where, lang, population=population, free_form_share=free_form_share
    )
    chains = []
    for first in range(0, len(edits), len(directions)):
        adding = [edit for edit in edits[first : first + len(directions)] if edit.desired]
        # Hair colours are last in the round robin; the order is shuffled so that a short list has some.
        adding.sort(key=lambda edit: stable_seed("repeated chain", edit.attribute))
        chains += adding
    return [_repeated(edit, number, steps) for number, edit in enumerate(chains[:n])]


def _repeated(edit: Edit, source: int, steps: int) -> Chain:
    again = replace(
        edit,
        before=edit.after,
        source_caption=edit.target_caption,
        source_attributes=edit.target_attributes,
        portrait=None,
    )
    repeats = tuple(Step(again if number else edit, ~edit.mask) for number in range(steps))
    return Chain(edit.attribute, source, repeats, {"design": "repeated"})


def composed_chains(
    n: int, seed: int, lang: Language, *, population: str = "studio", free_form_share: float = 0.2
) -> list[Chain]:
    """Draw sequences of two and of three attributes for each of `n` portraits, forward and reversed.

    All edits add an attribute. Both orders have the same truth: no attribute hides, clears or replaces another. The
    words that ask for an attribute do not depend on its place.

    Args:
        n: number of portraits, four chains each; a longer list starts with the shorter one.
        seed, lang, population, free_form_share: as for `repeated_chains`.
    """
    chains: list[Chain] = []
    for number in range(n):
        portrait, names = _portrait(number, seed, population)
        rng = random.Random(stable_seed("cases", "composed words", seed, number))
        words = {name: attribute_instruction(lang, name, True, rng, free_form_share) for name in names}
        person = f"composed-{population}-{seed}-{number:05d}"
        for length, orders in ORDERS.items():
            for order, places in zip(("forward", "reversed"), orders, strict=True):
                sequence = [names[place] for place in places]
                states = _states(portrait, sequence)
                images = render_portraits(concatenate(states)).images
                steps, background = [], np.ones(images.shape[2:], dtype=np.bool_)
                for place, name in enumerate(sequence):
                    pair = images[place], images[place + 1]
                    target = states[place + 1]
                    edit = portrait_edit(lang, states[place], target, pair, (name, True), words[name], person)
                    background = background & ~edit.mask
                    steps.append(Step(edit, background))
                design: dict[str, str | int] = {"design": "composed", "order": order, "length": len(sequence)}
                chains.append(Chain(f"{length}-{order}", number, tuple(steps), design))
    return chains


def _states(portrait: Portraits, names: Sequence[str]) -> list[Portraits]:
    """Return the portrait before the first edit and after each edit."""
    states = [portrait]
    for name in names:
        states.append(set_attribute(states[-1], name, True))
    return states


def _portrait(number: int, seed: int, population: str) -> tuple[Portraits, tuple[str, ...]]:
    """Draw portraits and three attributes for each until every step of every order is visible by itself."""
    for turn in range(_ROUNDS):
        where = stable_seed("cases", "composed", seed, number, turn)
        rng = random.Random(where)
        drawn = sample_portraits(_BLOCK, seed=where, population=population)
        usable = [(drawn[row], names) for row in range(_BLOCK) if (names := _three(drawn[row], rng)) is not None]
        if not usable:
            continue
        states = [
            state
            for portrait, names in usable
            for sequence in _VISIBLE
            for state in _states(portrait, [names[place] for place in sequence])
        ]
        images = render_portraits(concatenate(states)).images
        place = 0
        for portrait, names in usable:
            seen = True
            for sequence in _VISIBLE:
                steps = images[place : place + len(sequence) + 1]
                seen = seen and bool(visible_change(steps[:-1], steps[1:]).all())
                place += len(sequence) + 1
            if seen:
                return portrait, names
    raise RuntimeError(f"no portrait with three visible edits after {_ROUNDS} rounds")


def _three(portrait: Portraits, rng: random.Random) -> tuple[str, ...] | None:
    """Draw three attributes to add that clear no other one and fit into one caption; None if there are too many."""
    values = portrait.attributes_of(0)
    present = sum(values[name] for name in ATTRIBUTES if name not in HAIR_COLOURS)
    if present + 3 > MAX_PRESENT:
        return None
    free = [name for name in ATTRIBUTES if not values[name] and not bool(conflicts(portrait, name)[0])]
    colours = [name for name in free if name in HAIR_COLOURS]
    names = [name for name in free if name not in HAIR_COLOURS] + rng.sample(colours, 1)
    chosen = tuple(rng.sample(names, 3))
    states = _states(portrait, chosen)
    kept = all(bool(states[-1].attribute(name)[0]) for name in chosen)  # none of the three clears another
    return chosen if kept else None


def sample_chains(
    n: int, design: str, steps: int, seed: int, lang: Language, *, population: str, free_form_share: float, task: str
) -> list[Chain]:
    """Draw chains with `n` cases in all.

    Args:
        n: number of cases; a multiple of `steps` for "repeated", of `chains.COMPOSED_CASES` for "composed".
        design: one of `DESIGNS`.
        steps: number of steps of a repeated chain, at least 1.
        seed, lang, population, free_form_share: as for `repeated_chains`.
        task: name of the task in messages.

    Raises:
        UserError: an option is out of range.
    """
    if design not in DESIGNS:
        raise UserError(f"task '{task}': design '{design}' is unknown.{did_you_mean(design, DESIGNS)} Correct it.")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise UserError(f"task '{task}': steps is {steps!r}, expected a whole number from 1. Correct it.")
    units = count_units(task, n, design, steps)
    if design == "repeated":
        return repeated_chains(units, steps, seed, lang, population=population, free_form_share=free_form_share)
    return composed_chains(units, seed, lang, population=population, free_form_share=free_form_share)
