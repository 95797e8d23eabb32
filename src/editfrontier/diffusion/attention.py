"""Access to networks: blocks by name, self-attention layers, and temporary attention processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from editfrontier.base.errors import UserError, did_you_mean


def named_blocks(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return modules of a network by their dotted names, for example "up_blocks.1".

    Raises:
        UserError: the network has no module of a name.
    """
    known = dict(network.named_modules())
    for name in names:
        if name not in known:
            raise UserError(
                f"{type(network).__name__}: has no block '{name}'.{did_you_mean(name, known)} "
                "Choose a block that this model has."
            )
    return {name: known[name] for name in names}


def self_attention(network: nn.Module) -> dict[str, Any]:
    """Return the self-attention layers of a denoiser by name, in the order of the network.

    These are the `attn1` of a UNet's transformer blocks; of a transformer with joint attention (FLUX, Stable
    Diffusion 3), whose image tokens attend to text and image at once, the `attn` of its blocks.
    """
    return {
        name: module
        for name, module in network.named_modules()
        if name.rpartition(".")[2] in ("attn1", "attn") and hasattr(module, "set_processor")
    }


@contextmanager
def controlled(layers: Mapping[str, Any], make: Callable[[str, Any, Any], Any]) -> Iterator[int]:
    """Give attention layers other processors within the block, and restore the old ones afterwards.

    Args:
        layers: attention layers by name.
        make: (name, layer, old processor) -> new processor.

    Yields:
        The number of layers.

    Raises:
        UserError: there is no layer; a method without control would silently be another method.
    """
    if not layers:
        raise UserError(
            "attention control: there is no layer to control, expected at least one. "
            "Use a model with self-attention, or name blocks that hold some."
        )
    kept = {name: layer.processor for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            layer.set_processor(make(name, layer, kept[name]))
        yield len(layers)
    finally:
        for name, layer in layers.items():
            layer.set_processor(kept[name])
