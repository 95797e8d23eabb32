"""Adapters of one image: they equal merged weights, learn their image, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.editing.methods.image_lora import ImageLora, attention_projections, train_image_lora
from tiny_pipelines import fresh_generators, latents_of, predicted, tiny_pipeline


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def test_an_untrained_adapter_changes_nothing_and_none_stays(model: Any) -> None:
    plain = predicted(model, latents_of(2))
    lora = ImageLora(model.unet, 3, fresh_generators())
    with lora.applied() as count:
        assert count == 4 * 2 * 4  # q, k, v and out, self and cross, in the four transformers of the tiny UNet
        torch.testing.assert_close(predicted(model, latents_of(2)), plain)
        for matrix in lora.up.values():
            matrix.add_(0.1)
        assert not torch.allclose(predicted(model, latents_of(2)), plain, atol=1e-3)
    assert torch.equal(predicted(model, latents_of(2)), plain)


def test_an_adapter_equals_merged_weights_case_by_case(model: Any) -> None:
    """Also where each case stands in the batch several times."""
    lora = ImageLora(model.unet, 3, fresh_generators())
    generator = torch.Generator().manual_seed(5)
    for matrix in lora.up.values():
        matrix.copy_(0.2 * torch.randn(matrix.shape, generator=generator))
    latents = latents_of(4)
    with lora.applied():
        together = predicted(model, latents)
    for row in range(4):
        merged = tiny_pipeline()
        for name, layer in attention_projections(merged.unet).items():
            assert isinstance(layer, nn.Linear)
            layer.weight.data += lora.up[name][row % 2] @ lora.down[name][row % 2]
        torch.testing.assert_close(predicted(merged, latents[row : row + 1])[0], together[row], atol=1e-5, rtol=1e-4)


def test_training_learns_the_image_and_each_case_by_itself(model: Any) -> None:
    clean = latents_of(2)
    text = sampling.encode_text(model, ["a face", "hat"], False)
    before = {name: parameter.clone() for name, parameter in model.unet.named_parameters()}

    def trained(rows: list[int]) -> ImageLora:
        generators = [fresh_generators()[row] for row in rows]
        part = sampling.TextEmbeddings(text.prompt[rows], None)
        return train_image_lora(model, clean[rows], part, generators, rank=2, steps=4, learning_rate=0.01, batch_size=2)

    both, alone = trained([0, 1]), trained([1])
    for name in both.down:
        torch.testing.assert_close(both.up[name][1], alone.up[name][0], atol=2e-5, rtol=1e-3)
        assert both.up[name].abs().sum() > 0
    for name, parameter in model.unet.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])

    def error(lora: ImageLora | None) -> float:
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(11))
        level = sampling.alpha_bar(sampling.make_scheduler(model.scheduler.config), 301)
        noisy = sampling.add_noise(clean, noise, level)
        if lora is None:
            return functional.mse_loss(predicted(model, noisy), noise).item()
        with lora.applied():
            return functional.mse_loss(predicted(model, noisy), noise).item()

    assert error(both) < error(None)


def test_a_network_without_attention_cannot_be_adapted() -> None:
    with pytest.raises(UserError, match="no attention projections to adapt"):
        ImageLora(nn.Conv2d(3, 3, 1), 2, fresh_generators())
