"""The data set of chains: repeated edits and sequences of attributes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.chains import COMPOSED_CASES, chains_of
from editfrontier.data.language import load_language
from editfrontier.microworld.chains import composed_chains, repeated_chains
from editfrontier.microworld.dataset import build_task
from editfrontier.microworld.edits import MINIMUM_PIXELS
from editfrontier.microworld.portraits import ATTRIBUTES

SIZE = (64, 64)


def chains(folder: Path, n: int, **options: Any) -> list[list[Case]]:
    build_task("mine", n, 5, folder, dataset="chains", **options)
    return chains_of(read_cases(folder / "cases.parquet"))


def test_a_repeated_edit_is_one_instruction_with_one_truth(tmp_path: Path) -> None:
    made = chains(tmp_path, 12, design="repeated", steps=4)
    assert [len(chain) for chain in made] == [4, 4, 4]
    for chain in made:
        assert [case.case_id for case in chain] == [f"{chain[0].chain}-k{k}" for k in (1, 2, 3, 4)]
        assert len({(case.instruction, case.attribute, case.image, case.cluster, case.identity) for case in chain}) == 1
        assert all(case.desired for case in chain)
        first, *later = chain
        assert first.source_caption != first.target_caption
        assert {case.source_caption for case in later} == {case.target_caption for case in chain}
        assert not json.loads(first.source_attributes)[first.attribute]
        assert all(json.loads(case.source_attributes)[first.attribute] for case in later)
        truths = [read_image(tmp_path / case.true_edit) for case in chain]
        assert all(np.array_equal(truth, truths[0]) for truth in truths)
        source = read_image(tmp_path / first.image)
        for case in chain:
            mask = read_mask(tmp_path / case.mask, SIZE)
            background = read_mask(tmp_path / case.background_mask, SIZE)
            assert np.array_equal(background, ~mask)
            assert not (source != truths[0]).any(2)[~mask].any()
            assert mask.sum() >= MINIMUM_PIXELS
    assert len({chain[0].cluster for chain in made}) == 3
    # Nothing lies about that belongs to no case.
    assert len(list((tmp_path / "image").iterdir())) == 3


def test_repeated_edits_add_every_attribute_in_turn_and_grow_without_changing() -> None:
    lang = load_language()
    few, many = repeated_chains(4, 2, 5, lang), repeated_chains(21, 5, 5, lang)
    assert sorted(chain.label for chain in many[:20]) == sorted(ATTRIBUTES)
    for a, b in zip(few, many, strict=False):
        assert a.label == b.label
        for first, second in zip(a.steps, b.steps, strict=False):
            assert first.edit.instruction == second.edit.instruction
            assert np.array_equal(first.edit.before, second.edit.before)
            assert np.array_equal(first.edit.after, second.edit.after)
    identities = {chain.steps[0].edit.identity for chain in many}
    assert len(identities) == 21


def test_sequences_of_two_and_three_attributes_in_both_orders(tmp_path: Path) -> None:
    made = chains(tmp_path, 2 * COMPOSED_CASES, design="composed")
    assert [len(chain) for chain in made] == [2, 2, 3, 3] * 2
    for portrait in (made[:4], made[4:]):
        designs = [(json.loads(chain[0].design)["length"], json.loads(chain[0].design)["order"]) for chain in portrait]
        assert designs == [(2, "forward"), (2, "reversed"), (3, "forward"), (3, "reversed")]
        orders = [[case.attribute for case in chain] for chain in portrait]
        assert orders[1] == orders[0][::-1]
        assert orders[3] == orders[2][::-1]
        assert orders[2][:2] == orders[0]
        assert len(set(orders[2])) == 3
        assert len({case.image for chain in portrait for case in chain}) == 1
        words = {(case.attribute, case.instruction) for chain in portrait for case in chain}
        assert len(words) == 3  # an attribute is asked for in the same words wherever it stands
        ends = [read_image(tmp_path / chain[-1].true_edit) for chain in portrait]
        assert np.array_equal(ends[0], ends[1])
        assert np.array_equal(ends[2], ends[3])
        assert portrait[2][-1].target_caption == portrait[3][-1].target_caption
    for chain in made:
        before = read_image(tmp_path / chain[0].image)
        union = np.zeros(SIZE, dtype=bool)
        for first, second in itertools.pairwise(chain):
            assert first.target_caption == second.source_caption
            assert first.target_attributes == second.source_attributes
        for case in chain:
            after, mask = read_image(tmp_path / case.true_edit), read_mask(tmp_path / case.mask, SIZE)
            changed = (before != after).any(2)  # by this step
            assert not changed[~mask].any()
            assert changed.sum() > 0.8 * mask.sum()  # the mask also fills holes
            assert mask.sum() >= MINIMUM_PIXELS
            union |= mask
            assert np.array_equal(read_mask(tmp_path / case.background_mask, SIZE, allow_empty=True), ~union)
            target = json.loads(case.target_attributes)
            done = {other.attribute for other in chain if other.step <= case.step}
            assert all(target[name] for name in done)
            before = after
    few = composed_chains(1, 5, load_language())
    assert [step.edit.attribute for chain in few for step in chain.steps] == [c.attribute for x in made[:4] for c in x]


@pytest.mark.parametrize(
    ("n", "options", "words"),
    [
        (12, {"design": "repeated", "steps": 8}, "cases is 12, expected a multiple of 8.*Take 8"),
        (8, {"design": "composed"}, "cases is 8, expected a multiple of 10, the cases of one portrait. Take 10"),
        (8, {"design": "repeat"}, "design 'repeat' is unknown. Did you mean 'repeated'"),
        (8, {"steps": 0}, "steps is 0, expected a whole number from 1"),
        (8, {"step": 4}, "unknown option 'step' of dataset 'chains'. Did you mean 'steps'"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, n: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_task("mine", n, 5, tmp_path, dataset="chains", **options)
