"""Checks of the metrics in a config: their evaluators, the metrics of statistics, and the splits of tables.

Without them such mistakes would only show when every edit is made and scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from editfrontier.base.errors import did_you_mean
from editfrontier.data.dataset import splits_of
from editfrontier.scoring.metrics import METRICS, REGISTRY

Place = list[str | int]
"""Names and positions down to a key of the config."""


def without_null(config: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a config without the evaluators that are `null` in it, and their kinds."""
    section = config.get("evaluators")
    if not isinstance(section, Mapping):
        return dict(config), frozenset()
    left_out = frozenset(kind for kind, entry in section.items() if entry is None)
    present = {kind: entry for kind, entry in section.items() if kind not in left_out}
    return {**config, "evaluators": present}, left_out


def metric_problems(config: Mapping[str, Any], left_out: Set[str]) -> Iterator[tuple[Place, str]]:
    """Yield metrics that cannot be computed and parts without cases, as (path of the key, problem).

    Args:
        config: checked apart from the names in `statistics`.
        left_out: kinds of evaluator that are `null` in it; their metrics have no value, with a reason.
    """
    yield from _statistics_problems(config)
    known = set(config["evaluators"]) | left_out
    for path, name in _named_metrics(config):
        if name not in METRICS:
            yield path, f"'{name}': {REGISTRY.unknown(name)}"
            continue
        needs = METRICS[name].needs
        if needs and needs not in known:
            problem = f"'{name}' needs the evaluator '{needs}', which the config has not."
            remedy = f"say `evaluators: {{ {needs}: null }}` to keep it without a value"
            yield path, f"{problem} Add it under `evaluators`, remove the metric, or {remedy}."
    for name in config["run"]:
        experiment = config["experiments"][name]
        possible = splits_of(config["tasks"][experiment["task"]]["dataset"])
        for index, split in enumerate(experiment.get("by", [])):
            if split not in possible:
                problem = f"no case of task '{experiment['task']}' has {'an' if split[0] in 'aeiou' else 'a'} {split}."
                yield ["experiments", name, "by", index], f"{problem} Remove it, or take {' or '.join(possible)}."


def _named_metrics(config: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield the metrics of tables, composites and analyses that are run, with their places."""
    for name in config["run"]:
        for index, metric in enumerate(config["experiments"][name]["metrics"]):
            yield ["experiments", name, "metrics", index], metric
    for path, entry in _settings(config):
        for key in ("fidelity", "controllability"):
            for index, metric in enumerate(entry.get(key, [])):
                yield [*path, key, index], metric
    for name in config.get("analyse", []):
        for index, metric in enumerate(config.get("analyses", {}).get(name, {}).get("params", {}).get("metrics", [])):
            yield ["analyses", name, "params", "metrics", index], str(metric)


def _settings(config: Mapping[str, Any]) -> list[tuple[Place, Mapping[str, Any]]]:
    statistics = config["statistics"]
    of_tasks = [(["statistics", "tasks", name], entry) for name, entry in statistics.get("tasks", {}).items()]
    return [(["statistics"], statistics), *of_tasks]


def _statistics_problems(config: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield unknown metrics and anchors of `statistics`."""
    for path, entry in _settings(config):
        for key in ("fidelity", "controllability", "prenamed"):
            for index, name in enumerate(entry.get(key, [])):
                if name not in METRICS:
                    yield [*path, key, index], f"'{name}': {REGISTRY.unknown(name)}"
                elif key != "prenamed" and not METRICS[name].per_image:
                    yield [*path, key, index], f"'{name}' is a metric of sets and cannot enter a composite. Remove it."
        for key in ("fidelity_anchors", "controllability_anchors"):
            for index, anchor in enumerate(entry.get(key, [])):
                # A variant that the task does not run leaves it without composites; one of no editor is a slip.
                if isinstance(anchor, str) and (editor := anchor.partition("+")[0]) not in config["editors"]:
                    near = did_you_mean(editor, config["editors"])
                    yield [*path, key, index], f"'{anchor}' is no variant of an editor of the config.{near} Correct it."
