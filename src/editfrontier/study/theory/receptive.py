"""Locality (the paper, section 6): the receptive field of a network, measured, and distances from a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]


def response(function: Callable[[Tensor], Tensor], points: Tensor, place: tuple[int, int]) -> Tensor:
    """Return how strongly one place of the output depends on each place of the input.

    Args:
        function: [B, C, h, w] -> [B, D, H, W], sample by sample.
        points: [B, C, h, w].
        place: row and column of the output.

    Returns:
        [B, h, w], the Frobenius norm over channels of d output[:, :, place] / d input[:, :, i, j], float64. An entry
        is exactly 0 where no path of the network leads from that place to the output's.
    """
    with torch.enable_grad():
        derived: Any = torch.func.vjp(function, points)
        outputs, pull = derived[0], derived[1]
        total = torch.zeros(len(points), *points.shape[-2:], dtype=torch.float64, device=points.device)
        for channel in range(outputs.shape[1]):
            picked = torch.zeros_like(outputs)
            picked[:, channel, place[0], place[1]] = 1.0
            total += pull(picked)[0].detach().double().square().sum(1)
    return total.sqrt()


def unit_distances(place: tuple[int, int], output_unit: int, size: tuple[int, int], input_unit: int) -> Floats:
    """Return Chebyshev distances in pixels [h, w] from the centre of an output unit to the centres of input units.

    Args:
        place: row and column of the output unit.
        output_unit, input_unit: sides of a unit in pixels: 1 for an image, the autoencoder's factor for latents.
        size: (h, w) of the input.
    """
    rows, columns = ((np.arange(n) + 0.5) * input_unit for n in size)
    row, column = ((index + 0.5) * output_unit for index in place)
    return np.maximum(np.abs(rows - row)[:, None], np.abs(columns - column)[None, :])


def holding_radius(values: npt.ArrayLike, distances: npt.ArrayLike, share: float = 0.95) -> float:
    """Return the least distance within which `share` of the sum of non-negative values lies; NaN if the sum is 0."""
    flat, apart = np.asarray(values, dtype=np.float64).ravel(), np.asarray(distances, dtype=np.float64).ravel()
    order = np.argsort(apart, kind="stable")
    held = np.cumsum(flat[order])
    if not len(held) or not held[-1] > 0:
        return float("nan")
    # Of places at the same distance all count, so that the order among them does not matter.
    first = int(np.searchsorted(held, share * held[-1] * (1 - 1e-12)))
    return float(apart[order][first])


def support_radius(values: npt.ArrayLike, distances: npt.ArrayLike) -> float:
    """Return the greatest distance at which a value is not 0; 0 if all are."""
    apart = np.asarray(distances, dtype=np.float64)[np.asarray(values) != 0]
    return float(apart.max()) if apart.size else 0.0


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Take the means and variances of group normalisation as constants, so that gradients show the convolutions alone.

    A group norm averages over the whole map, which connects every place with every other; without it the support of
    the gradient is the receptive field that kernels and strides give (and attention, where there is some).
    """
    layers = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    for layer in layers:
        layer.__dict__["forward"] = partial(_normalise_frozen, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


def _normalise_frozen(layer: nn.GroupNorm, values: Tensor) -> Tensor:
    groups = values.reshape(len(values), layer.num_groups, -1)
    fixed = groups.detach()
    spread = (fixed.var(-1, keepdim=True, correction=0) + layer.eps).rsqrt()
    scaled = ((groups - fixed.mean(-1, keepdim=True)) * spread).reshape(values.shape)
    if not layer.affine:
        return scaled
    shape = (1, -1, *[1] * (values.ndim - 2))
    return scaled * layer.weight.reshape(shape) + layer.bias.reshape(shape)


def has_attention(network: nn.Module) -> bool:
    """Return whether a network of diffusers has attention layers, through which every place reads every other."""
    from diffusers.models.attention_processor import Attention

    return any(isinstance(module, Attention) for module in network.modules())


def mask_distances(mask: npt.NDArray[np.bool_]) -> Floats:
    """Return Chebyshev distances in pixels [H, W] from each pixel to the mask, 0 inside it.

    Kernels are squares, so that this is the distance that receptive fields are measured in.
    """
    if not mask.any():
        raise ValueError("an empty mask has no distances")
    distances: Any = distance_transform_cdt(~mask, metric="chessboard")
    return np.asarray(distances, dtype=np.float64)


def distance_profile(values: Floats, distances: Floats, edges: Sequence[float]) -> Floats:
    """Return the mean of values [H, W] in each ring edges[i] <= distance < edges[i + 1]; NaN where a ring is empty."""
    rings = np.digitize(distances.ravel(), np.asarray(edges, dtype=np.float64)) - 1
    count = len(edges) - 1
    inside = (rings >= 0) & (rings < count)
    sums = np.bincount(rings[inside], weights=values.ravel()[inside], minlength=count)
    sizes = np.bincount(rings[inside], minlength=count)
    with np.errstate(invalid="ignore"):
        return np.where(sizes > 0, sums / np.where(sizes > 0, sizes, 1), np.nan)
