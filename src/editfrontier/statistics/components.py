"""Variance components of a crossed design: how much each of two factors, and the rest, contributes."""

from __future__ import annotations

import numpy as np

from editfrontier.statistics.bootstrap import Array


def crossed_components(values: Array) -> Array:
    """Return the variances [..., 3] of the first factor, of the second, and of the rest, each unit by itself.

    The model within a unit is y_ij = mean + a_i + b_j + e_ij with random a, b and e; e is the interaction and whatever
    else is left, since a cell holds one value. The estimators are of the analysis of variance: unbiased, so that
    one of a small variance may be negative, and means over units keep that property.

    Args:
        values: [..., I, J], I levels of the first factor and J of the second, at least two each.

    Source:
        Searle, Casella and McCulloch (1992), "Variance components", chapter 4: two-way crossed, one observation a cell.

    Raises:
        ValueError: a factor has fewer than two levels.
    """
    first, second = values.shape[-2:]
    if min(first, second) < 2:
        raise ValueError(f"{first} x {second} levels, expected at least two of each factor")
    mean = values.mean(axis=(-2, -1), keepdims=True)
    a, b = values.mean(axis=-1, keepdims=True) - mean, values.mean(axis=-2, keepdims=True) - mean
    squares_a = second * (a**2).sum(axis=(-2, -1)) / (first - 1)
    squares_b = first * (b**2).sum(axis=(-2, -1)) / (second - 1)
    rest = ((values - mean - a - b) ** 2).sum(axis=(-2, -1)) / ((first - 1) * (second - 1))
    return np.stack([(squares_a - rest) / second, (squares_b - rest) / first, rest], axis=-1)


def pair_means(distances: Array) -> tuple[Array, Array]:
    """Return the mean distance of two cells that differ in the first factor alone, and in the second alone, each [...].

    Args:
        distances: [..., I, J, I, J] between cell (i, j) and cell (i', j'); symmetric.
    """
    first, second = distances.shape[-2:]
    i, j = np.triu_indices(first, 1), np.triu_indices(second, 1)
    same_second = np.arange(second)
    same_first = np.arange(first)
    between_first = distances[..., i[0][:, None], same_second, i[1][:, None], same_second]
    between_second = distances[..., same_first[:, None], j[0], same_first[:, None], j[1]]
    return between_first.mean(axis=(-2, -1)), between_second.mean(axis=(-2, -1))


def cell_distances(cells: Array) -> Array:
    """Return the root mean squared differences [I, J, I, J] between all cells [I, J, ...] of a unit."""
    first, second = cells.shape[:2]
    flat = cells.reshape(first * second, -1)
    squares = (flat**2).sum(axis=1)
    between = np.maximum(squares[:, None] + squares[None] - 2 * flat @ flat.T, 0.0) / flat.shape[1]
    np.fill_diagonal(between, 0.0)
    return np.sqrt(between).reshape(first, second, first, second)
