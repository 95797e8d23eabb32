"""Reference attention: a branch looks up its keys and values in another one (MasaCtrl; DragDiffusion, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from editfrontier.diffusion.attention import controlled, self_attention

_STAGES = ("down_blocks", "mid_block", "up_blocks")


def execution_order(layers: dict[str, Any]) -> dict[str, Any]:
    """Return the layers of a UNet by name in the order in which they run; the network names its middle block last."""
    return dict(sorted(layers.items(), key=lambda item: _STAGES.index(item[0].partition(".")[0])))


class _Reference:
    """Processor: the keys and values of the first half of a batch serve both halves."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, layer: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        first = hidden_states[: len(hidden_states) // 2]
        kwargs["encoder_hidden_states"] = first.repeat(2, *[1] * (first.ndim - 1))
        return self.processor(layer, hidden_states, **kwargs)


@contextmanager
def reference_attention(network: nn.Module, start: float) -> Iterator[int]:
    """Let the second half of a batch attend to the first within the block; yields the number of controlled layers.

    Args:
        network: a UNet, called with batches of 2 B samples: B references, then the B samples that look at them.
        start: share of the self-attention layers, in the order of execution, that keep to themselves.

    Raises:
        UserError: no layer is left to control.
    """
    layers = list(execution_order(self_attention(network)).items())
    chosen = dict(layers[int(start * len(layers)) :])
    with controlled(chosen, lambda name, layer, processor: _Reference(processor)) as count:
        yield count
