"""All metrics by name. Imports nothing heavy: formulas import torch when they compute.

A metric is one entry `Metric(...)` next to its formula in a file of this folder, or `METRIC` in a module that an
installed package names as an entry point of the group `editfrontier.metrics`.
"""

from __future__ import annotations

from editfrontier.base.registry import Registry
from editfrontier.scoring.metrics import (
    alignment,
    attributes,
    background,
    cost,
    distribution,
    drags,
    drift,
    identity,
    quality,
    regions,
    truth,
    vqa,
)
from editfrontier.scoring.metrics.background import PSNR_CAP
from editfrontier.scoring.metrics.metric import Metric
from editfrontier.scoring.metrics.truth import CHANGED_LEVELS

__all__ = ["CHANGED_LEVELS", "METRICS", "PSNR_CAP", "REGISTRY", "Metric", "get_metric", "modules_of_packages"]

_FAMILIES = (
    identity, background, alignment, attributes, vqa, drags, regions, drift, quality, distribution, truth, cost
)  # fmt: skip
"""Modules with entries, in the order of tables."""

REGISTRY = Registry(
    "metric",
    Metric,
    "METRIC",
    group="editfrontier.metrics",
    entries={metric.name: metric for family in _FAMILIES for metric in family.METRICS},
    home="an entry to `METRICS` of a file in src/editfrontier/scoring/metrics",
)

METRICS: dict[str, Metric] = dict(REGISTRY.entries) | REGISTRY.load_all()  # type: ignore[arg-type]
"""All metrics by name in the order of tables: this project's, which none replaces, then packages'."""


def get_metric(name: str) -> Metric:
    """Return the metric of this name; raise `UserError` with the nearest known name if there is none."""
    return METRICS[name] if name in METRICS else REGISTRY.get(name)


def modules_of_packages() -> list[str]:
    """Return the modules of installed packages that define metrics, for the hash of the code that scores."""
    return [REGISTRY.module_of(name) for name in METRICS if name not in REGISTRY.own_names()]
