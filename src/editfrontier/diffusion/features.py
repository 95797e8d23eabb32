"""Features of a network's blocks, from a forward that stops after the last one, and injected keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, cat, nn
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.diffusion.attention import named_blocks
from editfrontier.diffusion.flow import unpack

Pick = Callable[[Any], Tensor]


class _Complete(Exception):
    """All features are there: the rest of the forward is not needed."""


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of the weights, whose graph would cost memory, while latents are optimised."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def block_features(network: nn.Module, taps: Mapping[str, Pick], run: Callable[[], object]) -> list[Tensor]:
    """Run a network up to the last tapped block, and return the features of all taps.

    Args:
        network: the network.
        taps: dotted name of a block -> function that picks the feature from its output.
        run: function that runs one forward of the network.

    Returns:
        One float32 tensor for each tap, in their order, with gradients if they are enabled.

    Raises:
        UserError: the network has no block of a name, or its forward did not reach a block.
    """
    blocks = named_blocks(network, list(taps))
    features: dict[str, Tensor] = {}

    def tap(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            features[name] = taps[name](output).float()
            if len(features) == len(taps):
                raise _Complete

        return keep

    handles = [block.register_forward_hook(tap(name)) for name, block in blocks.items()]
    try:
        run()
    except _Complete:
        pass
    else:
        missing = next((name for name in taps if name not in features), "none at all")
        raise UserError(
            f"{type(network).__name__}: its forward never reached the block '{missing}'. Choose another one."
        )
    finally:
        for handle in handles:
            handle.remove()
    return [features[name] for name in taps]


# Networks in the layout of FLUX ---------------------------------------------------------------------------------------


def block_numbers(text: str) -> list[int]:
    """Return the numbers of a list such as "7-8-18"; none for "none". Raises ValueError for another text."""
    return [] if text == "none" else [int(number) for number in text.split("-")]


def flux_taps(blocks: Sequence[int], points: str) -> dict[str, Pick]:
    """Return the taps of double blocks of a `FluxTransformer2DModel`, image tokens [B, N, D] each.

    Args:
        blocks: numbers of the blocks.
        points: "input" (of the attention, modulated by AdaLN), "output" (of the block) or "both".

    Source:
        DragFlow's features "-0" and "-2".
    """
    taps: dict[str, Pick] = {}
    for block in blocks:
        if points != "output":
            taps[f"transformer_blocks.{block}.norm1"] = lambda output: output[0]
        if points != "input":
            taps[f"transformer_blocks.{block}"] = lambda output: output[1]
    return taps


def latent_cells(tokens: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Lay tokens of several features side by side on the grid of the latents, unpacked as latents are.

    Args:
        tokens: [B, h/2 * w/2, D] each; the D channels of a token become 2 x 2 cells of D/4 channels.
        size: (h, w) of the latents.

    Returns:
        [B, sum of D/4, h, w].

    Source:
        DragFlow, which decodes features of tokens by the function that decodes latents.
    """
    return cat([unpack(part, size) for part in tokens], dim=1)


def token_cells(tokens: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Lay tokens of several features side by side on their own grid, a token a cell.

    Args:
        tokens: [B, h/2 * w/2, D] each.
        size: (h, w) of the latents.

    Returns:
        [B, sum of D, h/2, w/2].
    """
    return cat([part.transpose(1, 2).unflatten(2, (size[0] // 2, size[1] // 2)) for part in tokens], dim=1)


class KeyValues:
    """Keys and values of chosen attention layers, recorded at times of a trajectory and injected at these times.

    Injected keys and values have no gradient and replace those that the layer computes; in single blocks, whose tokens
    are text and image in one row, also those of the text.
    """

    def __init__(self, network: nn.Module, double: Sequence[int], single: Sequence[int]) -> None:
        """Find the layers.

        Args:
            network: a `FluxTransformer2DModel`.
            double, single: numbers of its blocks with separate and with joint streams of text and image.

        Raises:
            UserError: there is no such block, or no block is named.
        """
        blocks = [f"transformer_blocks.{block}" for block in double]
        blocks += [f"single_transformer_blocks.{block}" for block in single]
        if not blocks:
            raise UserError(
                "key and value injection: no block is named, expected at least one. Name one, or none at all."
            )
        self.layers = named_blocks(network, [f"{block}.attn.to_{part}" for block in blocks for part in "kv"])
        self.count = len(blocks)
        self._kept: dict[float, dict[str, Tensor]] = {}
        self._time = 0.0

    def at(self, time: float, *_: Any) -> None:
        """Set the time of the next forward."""
        self._time = time

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the keys and values of every forward in the block, under the time of the last `at`."""

        def hook(name: str) -> Callable[..., None]:
            def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
                # A trajectory of a large model takes gigabytes, which the host's memory holds.
                self._kept.setdefault(self._time, {})[name] = output.detach().cpu()

            return keep

        with _hooked(self.layers, hook):
            yield

    @contextmanager
    def injected(self, time: float, copies: int = 1) -> Iterator[None]:
        """Inject the keys and values of the recorded time nearest to this one.

        Args:
            time: time of the forwards in the block.
            copies: number of branches, each as large as the recorded batch, in the batch of these forwards.
        """
        kept = self._kept[min(self._kept, key=lambda other: abs(other - time))]

        def hook(name: str) -> Callable[..., Tensor]:
            def replace(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                return kept[name].to(output).repeat(copies, 1, 1)

            return replace

        with _hooked(self.layers, hook):
            yield


@contextmanager
def _hooked(layers: Mapping[str, nn.Module], hook: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def sample_at(features: Tensor, positions: Tensor) -> Tensor:
    """Sample features [B, C, h, w] bilinearly at positions [B, ..., 2]: [B, ..., C]; outside the border is repeated."""
    height, width = features.shape[-2:]
    size = torch.tensor([width, height], dtype=positions.dtype, device=positions.device)
    grid = (2 * positions + 1) / size - 1
    sampled = functional.grid_sample(
        features, grid.reshape(len(grid), -1, 1, 2), mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[..., 0].transpose(1, 2).reshape(*positions.shape[:-1], features.shape[1])
