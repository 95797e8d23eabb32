"""Rows of experiments, of which one entry of the config may stand for several, and the metrics that statistics name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from editfrontier.errors import did_you_mean
from editfrontier.metrics.registry import METRICS


def swept(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that a row stands for: one for each combination of the values that its `sweep` lists.

    Args:
        row: an entry of the config. Its label may hold swept hyperparameters in braces, which stand for their values.
    """
    own = {key: value for key, value in row.items() if key != "sweep"}
    sweep = row.get("sweep", {})
    rows = []
    for values in itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, values, strict=True))
        entry = {**own, "params": {**row.get("params", {}), **chosen}}
        for key, value in chosen.items():
            if "label" in entry:
                entry["label"] = entry["label"].replace(f"{{{key}}}", f"{value}")
        rows.append(entry)
    return rows


def unusual(carry: str, size: int | None) -> dict[str, Any]:
    """Return what stands in specs and names of variants only where it differs from what is usual."""
    return ({} if carry == "png" else {"carry": carry}) | ({} if size is None else {"size": size})


def table_names(experiments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the tables of experiments, and of those that their `by` adds."""
    return [
        name for key, entry in experiments.items() for name in (key, *(f"{key}_{by}" for by in entry.get("by", [])))
    ]


def split_table(table: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return a table with its rows for each part of the cases. Metrics of sets need more images than a part has."""
    metrics = [name for name in table["metrics"] if METRICS[name].per_image]
    text = {"title": f"{table['title']}, by {split}", "caption": ""}
    return {
        **table,
        **text,
        "name": f"{table['name']}_{split}",
        "metrics": metrics,
        "by": split,
        "parent": table["name"],
    }


def statistics_problems(config: Mapping[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    """Yield metrics and anchors of `statistics` that are misspelt, as (path of the key, problem).

    They are read when every edit is scored; a name that nobody knows must not come to light as late as that.
    """
    statistics = config["statistics"]
    sections: list[tuple[list[str | int], Mapping[str, Any]]] = [(["statistics"], statistics)]
    sections += [(["statistics", "tasks", name], entry) for name, entry in statistics.get("tasks", {}).items()]
    for path, entry in sections:
        for key in ("fidelity", "controllability", "prenamed"):
            for index, name in enumerate(entry.get(key, [])):
                if name not in METRICS:
                    near = did_you_mean(name, METRICS)
                    yield [*path, key, index], f"'{name}' is no metric.{near} Correct the name."
                elif key != "prenamed" and not METRICS[name].per_image:
                    yield [*path, key, index], f"'{name}' is a metric of sets and cannot enter a composite. Remove it."
        for key in ("fidelity_anchors", "controllability_anchors"):
            for index, anchor in enumerate(entry.get(key, [])):
                # A variant that the task does not run leaves it without composites; one of no editor is a slip.
                if isinstance(anchor, str) and (editor := anchor.partition("+")[0]) not in config["editors"]:
                    near = did_you_mean(editor, config["editors"])
                    yield [*path, key, index], f"'{anchor}' is no variant of an editor of the config.{near} Correct it."
