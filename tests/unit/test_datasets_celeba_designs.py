"""Designed experiments on CelebA-HQ: repeated and composed edits, wordings, on a fixture in the published format."""

# ruff: noqa: F811 (fixtures are arguments)
from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_mask
from test_datasets_celeba import SIZE, build, no_checksums, raw  # noqa: F401 (fixtures)


def test_repeated_edits_ask_for_what_is_there_from_the_second_step_on(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path, n=12, design="repeated", steps=4, split="all")
    assert [case.step for case in cases] == [1, 2, 3, 4] * 3
    assert len({case.chain for case in cases}) == len({case.cluster for case in cases}) == 3
    for first, *later in (cases[place : place + 4] for place in range(0, 12, 4)):
        assert first.desired and first.source_caption != first.target_caption
        background = read_mask(tmp_path / first.background_mask, (SIZE, SIZE))
        assert (background == ~read_mask(tmp_path / first.mask, (SIZE, SIZE))).all()
        for case in later:
            assert case.source_caption == case.target_caption == first.target_caption
            assert (case.image, case.mask, case.instruction) == (first.image, first.mask, first.instruction)
            assert json.loads(case.source_attributes)[case.attribute]
            assert json.loads(case.design) == {"design": "repeated"}
    assert build(raw, tmp_path / "one", n=4, design="repeated", steps=4, split="all") == cases[:4]


def test_composed_edits_end_alike_in_both_orders(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path, n=20, design="composed", split="all")
    assert len(cases) == 20 and len({case.image for case in cases}) == len({case.cluster for case in cases}) == 2
    chains: dict[str, list[Case]] = {}
    for case in cases:
        chains.setdefault(case.chain, []).append(case)
    assert Counter(len(chain) for chain in chains.values()) == {2: 4, 3: 4}
    for chain in chains.values():
        assert [case.step for case in chain] == list(range(1, len(chain) + 1))
        kept = np.ones((SIZE, SIZE), dtype=bool)
        for before, after in itertools.pairwise(chain):
            assert before.target_attributes == after.source_attributes
        for case in chain:
            kept &= ~read_mask(tmp_path / case.mask, (SIZE, SIZE))
            assert (read_mask(tmp_path / case.background_mask, (SIZE, SIZE), allow_empty=True) == kept).all()
        assert len({case.attribute for case in chain}) == len(chain)
        forward, backward = (
            chains[chain[0].chain.rpartition("-")[0] + f"-{order}"] for order in ("forward", "reversed")
        )
        assert forward[-1].target_attributes == backward[-1].target_attributes
        assert [case.attribute for case in forward] == [case.attribute for case in backward][::-1]
        assert {case.instruction for case in forward} == {case.instruction for case in backward}


def test_attributes_that_hide_one_another_are_not_composed(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path, n=50, design="composed", split="all", attributes=["hat", "bangs", "smile", "glasses"])
    assert cases
    for cluster in {case.cluster for case in cases}:
        assert not {"hat", "bangs"} <= {case.attribute for case in cases if case.cluster == cluster}


def test_wordings_of_an_edit_differ_in_words_alone(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path, n=12, design="wordings", wordings=4, split="all")
    for group in (cases[place : place + 4] for place in range(0, 12, 4)):
        assert len({case.instruction for case in group}) == len({case.target_caption for case in group}) == 4
        assert len({(case.image, case.mask, case.source_caption, case.cluster) for case in group}) == 1
        assert [json.loads(case.design)["wording"] for case in group] == [0, 1, 2, 3]
        assert len({json.loads(case.design)["noise"] for case in group}) == 1
    with pytest.raises(UserError, match="option 'wordings': 40, but case"):
        build(raw, tmp_path / "many", n=40, design="wordings", wordings=40, split="all")


@pytest.mark.parametrize(("design", "size"), [("repeated", 8), ("composed", 10)])
def test_chains_are_not_cut(raw: Path, tmp_path: Path, design: str, size: int) -> None:
    with pytest.raises(UserError, match=f"cases is 21, expected a multiple of {size}.*Take {21 // size * size}"):
        build(raw, tmp_path, n=21, design=design, split="all")


def test_chains_keep_to_human_masks(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="option 'design': 'repeated' takes human masks only"):
        build(raw, tmp_path, n=8, design="repeated", masks="all", sam="somewhere")
