"""Rows of experiments, which may be swept, and tables that split their cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from editfrontier.scoring.metrics import METRICS


def swept(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each combination of the values in the `sweep` of a row.

    Swept hyperparameters in braces in its label become their values.
    """
    shared = {key: value for key, value in row.items() if key != "sweep"}
    sweep = row.get("sweep", {})
    rows = []
    for values in itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, values, strict=True))
        entry = {**shared, "params": {**row.get("params", {}), **chosen}}
        for key, value in chosen.items():
            if "label" in entry:
                entry["label"] = entry["label"].replace(f"{{{key}}}", f"{value}")
        rows.append(entry)
    return rows


def unusual(carry: str, size: int | None) -> dict[str, Any]:
    """Return the settings that differ from the usual ones, for specs and names of variants."""
    return ({} if carry == "png" else {"carry": carry}) | ({} if size is None else {"size": size})


def table_names(experiments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the tables of experiments, and of those that their `by` adds."""
    return [
        name for key, entry in experiments.items() for name in (key, *(f"{key}_{by}" for by in entry.get("by", [])))
    ]


def split_table(table: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return a table with its rows for each part of the cases. Metrics of sets need more images than a part has."""
    metrics = [name for name in table["metrics"] if METRICS[name].per_image]
    text = {"title": f"{table['title']}, by {split}", "caption": "", "name": f"{table['name']}_{split}"}
    return {**table, **text, "metrics": metrics, "by": split, "parent": table["name"]}
