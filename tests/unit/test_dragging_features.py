"""Features from forwards that stop early, and keys and values that are put back, on a tiny FLUX."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from editfrontier.base.errors import UserError
from editfrontier.diffusion import features
from editfrontier.diffusion.flow import FlowText, encode_flow_text, pack, velocity
from tiny_flux import DOUBLE, SINGLE, tiny_flux
from tiny_pipelines import tiny_pipeline


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_flux()


@pytest.fixture(scope="module")
def text(model: Any) -> FlowText:
    with torch.no_grad():
        return encode_flow_text(model, ["a hat", "an old face"])


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


class Calls:
    """Counts the calls of modules."""

    def __init__(self, *modules: nn.Module) -> None:
        self.counts = [0] * len(modules)
        self.handles = [module.register_forward_pre_hook(self._count(i)) for i, module in enumerate(modules)]

    def _count(self, number: int) -> Any:
        def count(*_: Any) -> None:
            self.counts[number] += 1

        return count

    def stop(self) -> list[int]:
        for handle in self.handles:
            handle.remove()
        return self.counts


def compared_with_forwards_of_their_own(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A list that says of all features from now on whether a forward without gradients gives the same, bit by bit."""
    equal: list[bool] = []
    plain = features.block_features

    def compare(network: nn.Module, taps: Any, run: Any) -> list[Tensor]:
        found = plain(network, taps, run)
        with torch.no_grad():
            equal.append(all(map(torch.equal, found, plain(network, taps, run))))
        return found

    monkeypatch.setattr(features, "block_features", compare)
    return equal


def test_the_forward_stops_at_the_last_block_that_is_asked_for(model: Any, text: FlowText, latents: Tensor) -> None:
    network = model.transformer
    calls = Calls(*network.transformer_blocks, *network.single_transformer_blocks, network.proj_out)
    taps = features.flux_taps([0, 1], "both")
    found = features.block_features(network, taps, lambda: velocity(model, latents, 0.7, text))
    assert calls.stop() == [1, 1, *[0] * (DOUBLE - 2 + SINGLE + 1)]
    assert [tuple(part.shape) for part in found] == [(2, 16, 16)] * 4


def test_the_input_of_the_last_block_needs_none_of_its_attention(model: Any, text: FlowText, latents: Tensor) -> None:
    network = model.transformer
    calls = Calls(network.transformer_blocks[1].attn, network.transformer_blocks[2])
    features.block_features(network, features.flux_taps([1], "input"), lambda: velocity(model, latents, 0.7, text))
    assert calls.stop() == [0, 0]


def test_the_features_are_those_of_a_whole_forward(model: Any, text: FlowText, latents: Tensor) -> None:
    seen: list[Tensor] = []
    handle = model.transformer.transformer_blocks[1].register_forward_hook(lambda m, i, output: seen.append(output[1]))
    velocity(model, latents, 0.7, text)
    handle.remove()
    (found,) = features.block_features(
        model.transformer, features.flux_taps([1], "output"), lambda: velocity(model, latents, 0.7, text)
    )
    assert torch.equal(found, seen[0])
    assert not model.transformer.transformer_blocks[1]._forward_hooks  # nothing is left behind


def test_gradients_reach_the_latents_and_not_the_weights(model: Any, text: FlowText, latents: Tensor) -> None:
    latents.requires_grad_()
    with features.frozen(model.transformer):
        taps = features.flux_taps([1], "both")
        found = features.block_features(model.transformer, taps, lambda: velocity(model, latents, 0.7, text))
        torch.cat(found).square().sum().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0
    assert all(weight.grad is None and weight.requires_grad for weight in model.transformer.parameters())


def test_the_token_grid_lies_as_the_latents_do() -> None:
    """Features of tokens are unpacked as latents are: cell by cell, the channels of a cell together."""
    latents = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(1))
    grid = features.latent_cells([pack(latents), pack(-latents)], (8, 12))
    assert torch.equal(grid, torch.cat([latents, -latents], dim=1))
    tokens = torch.arange(8.0)[None, None].repeat(1, 2, 1)  # one row of two tokens with 8 channels: 2 of a cell
    cells = features.latent_cells([tokens], (2, 4))
    assert cells[0].tolist() == [[[0, 1, 0, 1], [2, 3, 2, 3]], [[4, 5, 4, 5], [6, 7, 6, 7]]]
    whole = features.token_cells([tokens + torch.tensor([0.0, 8.0])[None, :, None]], (2, 4))
    assert whole.shape == (1, 8, 1, 2) and whole[0, :, 0].T.tolist() == [list(range(8)), list(range(8, 16))]


def test_a_block_that_the_model_lacks_is_named(model: Any, text: FlowText, latents: Tensor) -> None:
    with pytest.raises(UserError, match=r"has no block 'transformer_blocks.9"):
        features.block_features(model.transformer, features.flux_taps([9], "output"), lambda: None)
    unet = tiny_pipeline().unet
    with pytest.raises(UserError, match=r"never reached the block 'mid_block'"):
        features.block_features(unet, {"mid_block": lambda output: output}, lambda: None)


def test_lists_of_blocks() -> None:
    assert features.block_numbers("0-7-18") == [0, 7, 18]
    assert features.block_numbers("none") == []


def test_keys_and_values_that_are_put_back_at_their_time_change_nothing(
    model: Any, text: FlowText, latents: Tensor
) -> None:
    kept = features.KeyValues(model.transformer, [0, 2], [1])
    assert kept.count == 3 and len(kept.layers) == 6
    with torch.no_grad(), kept.recording():
        plain = {}
        for time in (0.9, 0.4):
            kept.at(time, "inversion")
            plain[time] = velocity(model, latents, time, text)
    with torch.no_grad():
        for time in (0.9, 0.4):
            with kept.injected(time + 0.05):  # the nearest time counts
                assert torch.equal(velocity(model, latents, time, text), plain[time])
        other = torch.randn_like(latents)
        free = velocity(model, other, 0.4, text)
        with kept.injected(0.4):
            assert not torch.allclose(velocity(model, other, 0.4, text), free, atol=1e-4)
        assert torch.equal(velocity(model, other, 0.4, text), free)  # the layers are left as they were


def test_branches_get_the_same_keys_and_values(model: Any, text: FlowText, latents: Tensor) -> None:
    kept = features.KeyValues(model.transformer, [1], [])
    other = torch.randn_like(latents)
    with torch.no_grad():
        with kept.recording():
            velocity(model, latents, 0.5, text)
        with kept.injected(0.5):
            alone = velocity(model, other, 0.5, text)
        with kept.injected(0.5, copies=2):
            both = velocity(model, torch.cat([latents, other]), 0.5, text.repeat(2))
    assert torch.allclose(both[2:], alone, atol=1e-5)


def test_no_gradient_flows_through_what_is_put_back(model: Any, text: FlowText, latents: Tensor) -> None:
    kept = features.KeyValues(model.transformer, range(DOUBLE), range(SINGLE))
    with torch.no_grad(), kept.recording():
        velocity(model, latents, 0.5, text)
    weights = [weight for layer in kept.layers.values() for weight in layer.parameters()]
    latents.requires_grad_()
    with kept.injected(0.5):
        loss = velocity(model, latents, 0.5, text).square().sum()
    found = torch.autograd.grad(loss, [latents, *weights], allow_unused=True)
    assert found[0] is not None and all(gradient is None for gradient in found[1:])


def test_injection_without_a_layer_or_into_a_missing_one_is_an_error(model: Any) -> None:
    with pytest.raises(UserError, match="no block is named"):
        features.KeyValues(model.transformer, [], [])
    with pytest.raises(UserError, match=r"has no block 'single_transformer_blocks.37.attn.to_k'"):
        features.KeyValues(model.transformer, [0], [37])
