"""Intervals of rendered edits hold the truth as often as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rendered_population import BINARY, Population, coverage, render_population

ATTRIBUTES = Path(__file__).resolve().parents[2] / "resources" / "micro" / "attributes"
STUDIES = 3000
"""The standard error of a coverage of 0.95 is 0.004."""


@pytest.fixture(scope="module")
def population() -> Population:
    return render_population(400, 2, 0, ATTRIBUTES)


@pytest.mark.parametrize("draws", [1, 2])
def test_reported_intervals_cover_95_percent(population: Population, draws: int) -> None:
    part = Population(population.metrics, population.values[:, :draws])
    found = coverage(part, STUDIES, 64, draws, resamples=500)
    assert len(found) == 3 * len(population.metrics)
    shares = {name: kinds["reported"] for name, kinds in found.items()}
    outside = {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97}
    assert not outside
    assert {name.split()[1] for name in found} >= set(BINARY)


def test_edits_vary_as_real_ones_do(population: Population) -> None:
    assert population.values.shape == (400, 2, 2, 4)
    assert np.isfinite(population.values).all()
    rates = population.values[..., -1].mean(axis=(0, 1))
    assert (rates > 0.3).all()
    assert (rates < 0.99).all()
    distance = population.values[..., 0].reshape(400, -1)
    assert np.corrcoef(distance[:, 0], distance[:, 2])[0, 1] > 0.3  # two edits of one portrait are alike
