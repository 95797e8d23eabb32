"""Composite scores of fidelity and controllability, and the Pareto front of the editors in their plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array, Estimates
from editfrontier.statistics.taskscores import Settings, TaskScores, task_weights

if TYPE_CHECKING:
    import pandas as pd

AXES = ("fidelity", "controllability")


def composites(data: TaskScores, settings: Settings) -> tuple[Estimates, Estimates] | str:
    """Return fidelity and controllability of all variants (quantities [V]), or why there is none.

    A composite is the mean of its metrics, each scaled so that it is 0 and 1 at the anchors; the anchors are resampled
    with the rest. Both axes come from the same resamples, of `task_weights`.
    """
    n, v, m = data.values.shape
    means = bootstrap.means(data.values.reshape(n, v * m), data.cluster, task_weights(data, settings)).reshape(v, m)
    axes = []
    for key in AXES:
        composite = _composite(data, means, getattr(settings, key), getattr(settings, f"{key}_anchors"))
        if isinstance(composite, str):
            return f"{key}: {composite}"
        axes.append(composite)
    return axes[0], axes[1]


def frontier(data: TaskScores, settings: Settings) -> tuple[pd.DataFrame, str]:
    """Composite scores of every variant and the probability of standing on the Pareto front of the editors.

    Controls have composites but take no part in the front. Returns the table (task, variant, control, fidelity,
    fidelity_low, fidelity_high, controllability, ..._low, ..._high, on_front, probability, n) and "" or the reason why
    it is empty.
    """
    import pandas as pd

    columns = ["task", "variant", "control"]
    columns += [f"{axis}{end}" for axis in AXES for end in ("", "_low", "_high")]
    columns += ["on_front", "probability", "n"]
    axes = composites(data, settings)
    if isinstance(axes, str):
        return pd.DataFrame(columns=columns), axes
    v = len(data.variants)
    editors = np.array([name not in settings.controls for name in data.variants])
    x, y = axes
    on_front, share = np.zeros(v, dtype=bool), np.zeros(v)
    on_front[editors] = bootstrap.pareto_front(x.point[editors], y.point[editors])
    share[editors] = bootstrap.pareto_front(x.resampled[:, editors], y.resampled[:, editors]).mean(axis=0)
    bounds = [bootstrap.intervals(axis, settings.level, settings.interval) for axis in axes]
    rows = []
    for i, name in enumerate(data.variants):
        numbers = [
            float(b) for axis, (low, high) in zip(axes, bounds, strict=True) for b in (axis.point[i], low[i], high[i])
        ]
        held = int((~np.isnan(data.values[:, i])).any(axis=1).sum())
        rows.append((data.task, name, not editors[i], *numbers, bool(on_front[i]), float(share[i]), held))
    return pd.DataFrame(rows, columns=columns), ""


def _composite(
    data: TaskScores, means: Estimates, metrics: Sequence[str], anchors: tuple[str | float, str | float]
) -> Estimates | str:
    """Composite of all variants, or why there is none."""
    for anchor in anchors:
        if isinstance(anchor, str) and anchor not in data.variants:
            return f"the control '{anchor}' was not run"
    for name in metrics:
        if name not in data.metrics:
            return f"no case has the metric '{name}'"
    chosen = [data.metrics.index(name) for name in metrics]

    def scaled(values: Array) -> Array:
        picked = values[..., chosen]
        zero, one = (
            picked[..., data.variants.index(anchor) : data.variants.index(anchor) + 1, :]
            if isinstance(anchor, str)
            else anchor
            for anchor in anchors
        )
        span = np.where(np.abs(np.asarray(one) - zero) > 1e-9, np.asarray(one) - zero, np.nan)
        return ((picked - zero) / span).mean(axis=-1)

    point = scaled(means.point)
    if np.isnan(point).all():
        return "the anchors do not differ in one of " + ", ".join(metrics)
    return Estimates(point, scaled(means.resampled), scaled(means.jackknife))
