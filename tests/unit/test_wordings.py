"""Edits in several wordings: what varies, what is shared, and that wordings are drawn with equal noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case
from editfrontier.data.language import load_language
from editfrontier.editing.inputs import make_batch, noise_name, read_inputs
from editfrontier.editing.records import EditSpec
from editfrontier.microworld.dataset import build_task

SPEC = {"editor": "sdedit", "variant": "sdedit", "params": {}, "model": None, "dtype": "float32", "seed": 7, "code": ""}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    folder = tmp_path_factory.mktemp("wordings")
    return folder, build_task("words", 10, 3, folder, dataset="wordings", repeats=3)


def test_the_design_crosses_wordings_and_seeds_within_an_edit(cases: tuple[Path, list[Case]]) -> None:
    _, made = cases
    assert len(made) == 2 * 5 * 3
    cells = {(case.cluster, *(json.loads(case.design).get(key, 0) for key in ("wording", "repeat"))) for case in made}
    assert len(cells) == len(made)
    assert {cell[1:] for cell in cells} == {(wording, repeat) for wording in range(5) for repeat in range(3)}
    assert "-w3-r2" in " ".join(case.case_id for case in made)


def test_words_vary_and_everything_else_of_an_edit_is_one(cases: tuple[Path, list[Case]]) -> None:
    _, made = cases
    lang = load_language()
    for cluster in {case.cluster for case in made}:
        group = [case for case in made if case.cluster == cluster]
        for name in ("image", "mask", "true_edit", "source_caption", "attribute", "desired", "target_attributes"):
            assert len({getattr(case, name) for case in group}) == 1
        entry = lang.attributes[group[0].attribute]
        texts = entry.add if group[0].desired else entry.remove
        assert {case.instruction for case in group} == set(texts[:5])
        assert len({case.target_caption for case in group}) == 5


def test_wordings_share_noise_and_repeats_do_not(cases: tuple[Path, list[Case]]) -> None:
    folder, made = cases
    inputs = [read_inputs(case, made, folder, {"instruction"}, 0) for case in made]
    batch = make_batch(inputs, EditSpec.parse(SPEC), torch.device("cpu"))
    first = {
        case.case_id: tuple(torch.randn(3, generator=generator).tolist())
        for case, generator in zip(made, batch.generators, strict=True)
    }
    by_noise: dict[str, set[tuple[float, ...]]] = {}
    for case in made:
        by_noise.setdefault(noise_name(case), set()).add(first[case.case_id])
    assert len(by_noise) == 2 * 3
    assert all(len(draws) == 1 for draws in by_noise.values())
    assert len(set(first.values())) == 2 * 3


def test_more_wordings_than_the_language_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"wordings': 20, but .*portraits.attributes.smile.add.*paraphrases"):
        build_task("words", 20, 3, tmp_path, dataset="wordings", wordings=20)
