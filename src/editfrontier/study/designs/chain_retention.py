"""Retention of the attributes that a chain of edits was not asked to change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.statistics.bootstrap import Array
from editfrontier.study.designs.chains import PRESENT, ChainData, attribute_names, mean_of
from editfrontier.study.findings import Finding
from editfrontier.study.results.naming import Row

if TYPE_CHECKING:
    from editfrontier.study.inputs import Inputs


def _verdicts(inputs: Inputs, data: ChainData, row: Row) -> tuple[list[str], Array, Array]:
    """Names [A]; verdicts [C, K, A] in {0, 1}; attributes that a chain leaves alone [C, A], 1 present and 0 absent."""
    names = attribute_names(inputs, data.scores.task)
    seen = data.attributes(inputs, row.variant)
    verdicts = np.where(np.isfinite(seen), seen >= PRESENT, np.nan)
    kept = np.full((len(data.chains), len(names)), np.nan)
    for number, chain in enumerate(data.chains):
        before = json.loads(chain[0].source_attributes or "{}")
        after = json.loads(chain[-1].target_attributes or "{}")
        for place, name in enumerate(names):
            if name in before and before[name] == after.get(name):
                kept[number, place] = float(before[name])
    return names, verdicts, kept


def retention(inputs: Inputs, data: ChainData, row: Row, weights: Array) -> list[Finding]:
    """Return, of the attributes not to be changed, how many are still seen and how many new ones appear."""
    names, verdicts, kept = _verdicts(inputs, data, row)
    findings = []
    for k in sorted({1, data.steps}) if names else ():
        for quantity, state in (("retained", 1.0), ("invented", 0.0)):
            chosen = np.where(kept == state, verdicts[:, k - 1], np.nan)
            count = np.isfinite(chosen).sum(1)
            share = np.where(count > 0, np.nansum(chosen, axis=1) / np.maximum(count, 1), np.nan)
            mean = mean_of(share, data.cluster, weights, inputs.settings, rate=True)
            findings.append(Finding(quantity=quantity, variant=row.variant, metric="success", x=k, **mean.fields()))
    return findings


def retention_by_attribute(inputs: Inputs, data: ChainData, rows: Sequence[Row], weights: Array) -> list[Finding]:
    """Return, over all editors, how often each attribute not to be changed is still seen after the last edit."""
    parts = [_verdicts(inputs, data, row) for row in rows if not row.control]
    if not parts or not parts[0][0]:
        return []
    findings = []
    for place, name in enumerate(parts[0][0]):
        held = np.concatenate([np.where(k[:, place] == 1, v[:, -1, place], np.nan) for _, v, k in parts])
        mean = mean_of(held, np.tile(data.cluster, len(parts)), weights, inputs.settings, rate=True)
        note = "" if mean.n else "no chain has it in its source and leaves it alone"
        about: dict[str, Any] = {"metric": "success", "level": name, "x": data.steps}
        findings.append(Finding(quantity="retained", **about, **mean.fields(), note=note))
    return findings
