"""Branches of a network call: predictions of the same latents under several conditions, side by side in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def only(network: nn.Module, wanted: Sequence[bool]) -> Iterator[None]:
    """Compute only the wanted branches of every call within the block; the outputs of the others are zeros.

    For a pipeline whose guidance gives some branches the weight 0.

    Args:
        network: a UNet, called as in the pipelines: (latents [n B, ...], timestep, encoder_hidden_states=[n B, L, D],
            ..., return_dict=False).
        wanted: whether to compute each of the n branches of B samples.
    """

    def rows(batch: Tensor) -> Tensor:
        return torch.cat([part for part, made in zip(batch.chunk(len(wanted)), wanted, strict=True) if made])

    def ask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states = rows(kwargs["encoder_hidden_states"])
        return (rows(args[0]), *args[1:]), kwargs | {"encoder_hidden_states": states}

    def answer(module: nn.Module, args: tuple[Any, ...], output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        parts = iter(output[0].chunk(sum(wanted)))
        nothing = torch.zeros_like(output[0][: len(output[0]) // sum(wanted)])
        return (torch.cat([next(parts) if made else nothing for made in wanted]), *output[1:])

    if all(wanted):
        yield
        return
    # First of all hooks, so that a counter of forwards sees the computed samples.
    handles = [
        network.register_forward_pre_hook(ask, prepend=True, with_kwargs=True),
        network.register_forward_hook(answer),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
