"""Parts of a task's cases: who belongs to which, and statistics of one part that equal those of its cases alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, write_cases
from editfrontier.data.dataset import DATASETS, RENDERED, splits_of
from editfrontier.data.dataset import SPLITS as ALL_SPLITS
from editfrontier.microworld.dataset import build_task
from editfrontier.statistics.subsets import SPLITS, groups_of, part_of
from editfrontier.statistics.task import Settings, subset_summaries, summary
from editfrontier.statistics.taskscores import TaskScores

SETTINGS = Settings(resamples=80, permutations=99, set_resamples=10)


def case(index: int, kind: str, grade: str, **values: str) -> Case:
    drags = json.dumps([{"kind": kind, "grade": grade}]) if grade else ""
    texts = {"image": "a.png", "source_caption": "", "target_caption": "", "instruction": "", "drags": drags} | values
    return Case(
        case_id=f"case-{index}", task="drags", edit_type=kind, cluster=f"scene-{index // 2}", licence="CC0-1.0", **texts
    )


def cases() -> list[Case]:
    grades = ("large", "large", "small", "small", "medium", "medium", "small", "large", "medium", "")
    return [case(i, ("rotation", "relocation")[i % 2], grade) for i, grade in enumerate(grades)]


def scores(count: int = 10) -> TaskScores:
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(count, 2, 2))
    values[3, 1] = np.nan
    return TaskScores(
        "drags",
        ["source", "sdedit"],
        ["id_sim", "success"],
        values,
        np.arange(count) // 2,
        [0, 1],
        {"source": (np.arange(count), rng.uniform(size=(count, 4)))},
        rng.uniform(size=(20, 4)),
        tuple(f"case-{i}" for i in range(count)),
        ({}, {"case-3": "no face"}),
    )


def test_sizes_go_from_small_to_large_and_kinds_as_they_appear() -> None:
    assert groups_of(cases(), "size") == {
        "small": ["case-2", "case-3", "case-6"],
        "medium": ["case-4", "case-5", "case-8"],
        "large": ["case-0", "case-1", "case-7"],
    }
    assert list(groups_of(cases(), "kind")) == ["rotation", "relocation"]


def test_cases_without_a_group_belong_to_none_and_a_task_without_any_is_refused() -> None:
    broken = [case(0, "rotation", "", drags=text) for text in ("{}", "no JSON", "[]", "[3]", '[{"grade": null}]')]
    with pytest.raises(UserError, match=r"by 'size': no case of task 'drags' has a size"):
        groups_of(broken, "size")
    assert groups_of([*broken, case(1, "rotation", "small")], "size") == {"small": ["case-1"]}
    assert groups_of([], "size") == {}


def test_unknown_split_is_named() -> None:
    with pytest.raises(UserError, match=r"by 'sizes'.*Did you mean 'size'"):
        groups_of(cases(), "sizes")


def test_a_part_has_its_own_cases_clusters_and_failures() -> None:
    part = part_of(scores(), ["case-7", "case-2", "case-3"])
    assert part.case_ids == ("case-2", "case-3", "case-7")
    assert part.cluster.tolist() == [0, 0, 1]
    assert part.failed == [0, 1]
    assert part_of(scores(), ["case-2"]).failed == [0, 0]
    assert part.features == {} and part.reference is None
    np.testing.assert_array_equal(part.values, scores().values[[2, 3, 7]])


def test_statistics_of_a_part_are_those_of_its_cases_alone(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.parquet", cases())
    data = scores()
    frame = subset_summaries(data, SETTINGS, tmp_path / "cases.parquet", ["kind", "size"])
    assert list(dict.fromkeys(zip(frame["split"], frame["subset"], strict=True))) == [
        ("kind", "rotation"),
        ("kind", "relocation"),
        ("size", "small"),
        ("size", "medium"),
        ("size", "large"),
    ]
    rows = [2, 3, 6]
    alone = replace(
        data, values=data.values[rows], cluster=np.array([0, 0, 1]), features={}, reference=None, failed=[0, 1]
    )
    found = frame[frame["subset"] == "small"].drop(columns=["split", "subset"]).reset_index(drop=True)
    expected = summary(alone, SETTINGS)
    assert found.equals(expected)
    row = found[(found["variant"] == "sdedit") & (found["metric"] == "id_sim")].iloc[0]
    assert row["value"] == pytest.approx(np.nanmean(data.values[rows, 1, 0]))
    assert (row["n"], row["failed"]) == (2, 1)
    assert not set(frame["metric"]) & {"fid", "kid"}


def test_no_splits_make_an_empty_table_with_the_same_columns(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.parquet", cases())
    full = subset_summaries(scores(), SETTINGS, tmp_path / "cases.parquet", ["kind"])
    none = subset_summaries(scores(), SETTINGS, None, [])
    assert none.empty
    assert list(none.columns) == list(full.columns)


@pytest.mark.parametrize("name", list(RENDERED))
def test_rendered_cases_can_be_split_by_what_their_data_set_says(tmp_path: Path, name: str) -> None:
    options = {"design": "repeated", "steps": 2} if name == "chains" else {}
    made = build_task("t", 10, 3, tmp_path, dataset=name, **options)
    possible = {split for split in SPLITS if any(SPLITS[split](case) for case in made)}
    assert possible == set(splits_of(name))


def test_data_sets_name_splits_that_there_are() -> None:
    assert set(ALL_SPLITS) == set(SPLITS)
    assert all(set(splits_of(name)) <= set(SPLITS) for name in DATASETS)
