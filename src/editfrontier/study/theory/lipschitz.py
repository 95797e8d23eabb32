"""Theorem 1: local Lipschitz constants by power iteration on the Jacobian, and secants between two points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from editfrontier.study.designs.theory_cases import batches

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spectral:
    """Largest singular values of the Jacobians at B points.

    Attributes:
        values: [B], in units of the output over units of the input; Rayleigh quotients, so never above the true value.
        converged: [B], whether the last iteration changed the value by no more than the tolerance.
        directions: [B, ...] unit vectors of the input that are stretched by `values`; a start for a point nearby.
    """

    values: Tensor
    converged: Tensor
    iterations: int
    directions: Tensor


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Make attention use the implementation that has forward derivatives; the fused ones have none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def norms(values: Tensor) -> Tensor:
    """Return the L2 norm of each sample [B] of a tensor [B, ...], in float64."""
    return values.double().flatten(1).norm(dim=1)


def local_lipschitz(
    function: Function,
    points: Tensor,
    *,
    iterations: int = 50,
    tolerance: float = 1e-3,
    seed: int = 0,
    start: Tensor | None = None,
) -> Spectral:
    """Estimate the local Lipschitz constant of Theorem 1, the largest singular value of J, by power iteration on J^T J.

    L(x) = max over |v| = 1 of |J(x) v|; v <- J^T J v / |J^T J v| converges to the maximiser. J v is a forward
    derivative (jvp) and J^T u a backward one (vjp), so that no Jacobian is formed. J v needs no graph; J^T u builds
    its graph once, which is small where the networks recompute their blocks (gradient checkpointing).

    Args:
        function: [B, ...] -> [B, ...]; sample i of the output depends on sample i of the input alone.
        points: [B, ...] where the Jacobians are taken.
        iterations: most iterations, at least 1.
        tolerance: relative change of a value at which it counts as converged; all samples run until all are.
        seed: of the random start, the same for every sample.
        start: [B, ...] directions to start from instead, for example the result of a point nearby.
    """
    if iterations < 1:
        raise ValueError(f"{iterations} iterations, expected at least 1")
    if start is None:
        generator = torch.Generator("cpu").manual_seed(seed)
        start = torch.randn((1, *points.shape[1:]), generator=generator).to(points.device).expand_as(points)
    directions = _unit(start.to(points.dtype))
    with torch.enable_grad(), differentiable_attention():
        variable = points.detach().clone().requires_grad_()
        output = function(variable)
        values = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        converged = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        count = 0
        for count in range(1, iterations + 1):
            with torch.no_grad():
                pushed = torch.func.jvp(function, (points,), (directions,))[1]
            before, values = values, norms(pushed)
            converged = (values - before).abs() <= tolerance * values
            if count > 1 and bool(converged.all()):
                break
            (pulled,) = torch.autograd.grad(output, variable, pushed, retain_graph=True)
            # Where J v = 0 there is nothing to go on with; the value 0 stands for a start in the kernel.
            flat = norms(pulled).reshape(-1, *[1] * (points.ndim - 1)) > 0
            directions = torch.where(flat, _unit(pulled), directions)
    return Spectral(values.detach(), converged & (count > 1), count, directions)


def in_parts(points: Tensor, size: int, estimate: Callable[[Tensor, slice], Spectral]) -> Spectral:
    """Return the estimates of all points, made for at most `size` of them at a time: graphs of large models fill cards.

    Args:
        points: [B, ...].
        size: most points at once, at least 1.
        estimate: (some of the points, which rows they are) -> their estimates, such as by `local_lipschitz`.
    """
    parts = [estimate(points[rows], rows) for rows in batches(len(points), size)]
    return Spectral(
        torch.cat([part.values for part in parts]),
        torch.cat([part.converged for part in parts]),
        max(part.iterations for part in parts),
        torch.cat([part.directions for part in parts]),
    )


def secants(first: Tensor, second: Tensor, first_image: Tensor, second_image: Tensor) -> Tensor:
    """Return |f(a) - f(b)| / |a - b| [B], what Theorem 1's L must be at least between two points; NaN where a = b."""
    apart = norms(first - second)
    return torch.where(apart > 0, norms(first_image - second_image) / apart, torch.nan)


def error_bound(lipschitz: Tensor, latent_error: Tensor) -> Tensor:
    """Return the bound of Theorem 1, L |z~_T - z_T|."""
    return lipschitz * latent_error


def _unit(vectors: Tensor) -> Tensor:
    lengths = vectors.flatten(1).norm(dim=1).clamp_min(torch.finfo(vectors.dtype).tiny)
    return vectors / lengths.reshape(-1, *[1] * (vectors.ndim - 1))
