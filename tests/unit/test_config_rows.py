"""Rows of a sweep."""

from __future__ import annotations

from editfrontier.study.config.rows import swept


def test_a_row_without_a_sweep_is_itself() -> None:
    assert swept({"editor": "sdedit", "label": "{x}"}) == [{"editor": "sdedit", "label": "{x}", "params": {}}]


def test_values_stand_in_labels_and_over_the_other_parameters() -> None:
    row = {"editor": "e", "params": {"a": 0, "b": 5}, "sweep": {"a": [1, 2.5], "c": ["x"]}, "label": "a = {a}, {c} {d}"}
    assert swept(row) == [
        {"editor": "e", "label": "a = 1, x {d}", "params": {"a": 1, "b": 5, "c": "x"}},
        {"editor": "e", "label": "a = 2.5, x {d}", "params": {"a": 2.5, "b": 5, "c": "x"}},
    ]
