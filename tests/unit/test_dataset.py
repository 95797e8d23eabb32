"""Tests of the data sets that are written to disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import read_cases, read_image, read_mask
from editfrontier.microworld.dataset import DATASETS, build_reference, build_task


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_writes_complete_and_consistent_cases(name: str, tmp_path: Path) -> None:
    count = 8 if name == "chains" else 9  # whole chains only
    cases = build_task("task", count, 3, tmp_path, dataset=name)
    assert read_cases(tmp_path / "cases.parquet") == cases
    assert len({case.case_id for case in cases}) == len(cases) == count
    for case in cases:
        assert case.case_id.startswith("task-")
        before, after = read_image(tmp_path / case.image), read_image(tmp_path / case.true_edit)
        mask = read_mask(tmp_path / case.mask, (64, 64))
        if case.mask_origin != "exact":  # what must not change is known all the same
            mask = ~read_mask(tmp_path / case.background_mask, (64, 64))
        assert read_mask(tmp_path / case.automatic_mask, (64, 64)).any()
        assert np.array_equal(before[~mask], after[~mask])
        assert not np.array_equal(before, after)
        assert case.licence == "CC0-1.0, rendered"
        assert case.instruction_origin in ("template", "free_form")


def test_portrait_cases_state_the_attributes(tmp_path: Path) -> None:
    case = build_task("portraits", 1, 0, tmp_path)[0]
    assert case.case_id == "portraits-00000-smile-add"
    assert json.loads(case.source_attributes)["smile"] is False
    assert json.loads(case.target_attributes)["smile"] is True
    assert "smile" in case.target_caption
    assert case.cluster == case.case_id


def test_turns_of_a_session_share_a_cluster(tmp_path: Path) -> None:
    cases = build_task("sessions", 8, 0, tmp_path)
    clusters = {case.cluster for case in cases}
    assert 1 < len(clusters) < 8
    for case in cases:
        assert case.case_id.startswith(case.cluster + "-t")
    first = [case for case in cases if case.cluster == cases[0].cluster]
    assert [int(case.case_id.split("-t")[1][0]) for case in first] == list(range(1, len(first) + 1))


def test_drags_name_their_masks(tmp_path: Path) -> None:
    case = build_task("drags", 2, 0, tmp_path)[1]
    (operation,) = json.loads(case.drags)
    assert operation["kind"] == case.edit_type == "rotation"
    assert np.asarray(operation["affine"]).shape == (2, 3)
    source = read_mask(tmp_path / operation["source_mask"], (64, 64))
    background = read_mask(tmp_path / case.background_mask, (64, 64))
    assert not (source & background).any()
    assert read_mask(tmp_path / operation["target_mask"], (64, 64)).any()
    assert len(operation["points"]) == 4


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_task("portraits", 4, 11, tmp_path / name)
    first, second = (sorted(p for p in (tmp_path / name).rglob("*.png")) for name in ("one", "two"))
    regions = sum(len(json.loads(case.regions)) for case in read_cases(tmp_path / "one" / "cases.parquet"))
    assert len(first) == 24 + regions
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert read_cases(tmp_path / "one" / "cases.parquet") == read_cases(tmp_path / "two" / "cases.parquet")


def test_seeds_and_populations_differ(tmp_path: Path) -> None:
    images = [
        read_image(
            tmp_path / str(k) / build_task("portraits", 1, seed, tmp_path / str(k), population=population)[0].image
        )
        for k, (seed, population) in enumerate([(1, "studio"), (2, "studio"), (1, "outdoor")])
    ]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_reference(tmp_path: Path) -> None:
    build_reference(5, 1, "outdoor", tmp_path / "reference.npz")
    with np.load(tmp_path / "reference.npz") as data:
        images = data["images"]
    assert images.shape == (5, 64, 64, 3)
    assert images.dtype == np.uint8
    build_reference(2, 1, "outdoor", tmp_path / "folder")
    assert len(list((tmp_path / "folder").glob("*.png"))) == 2
    with pytest.raises(UserError, match="population 'indoor': unknown"):
        build_reference(5, 1, "indoor", tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "portrait"}, "Did you mean 'portraits'"),
        ({"free_from_share": 0.5}, "unknown option 'free_from_share'.*Did you mean 'free_form_share'"),
        ({"free_form_share": 2}, "free_form_share is 2, expected a number from 0 to 1"),
        ({"population": "indoor"}, "population 'indoor'"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        build_task("portraits", 1, 0, tmp_path, **options)  # type: ignore[arg-type]


def test_no_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cases is 0, expected at least 1"):
        build_task("portraits", 0, 0, tmp_path)
