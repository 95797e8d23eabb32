"""Low-rank adapters of a denoiser that are trained on one image each, for a whole batch of images at once.

Every case has its own matrices: a leading axis of size B on them turns the training of B adapters into one training,
and what case i learns depends on case i alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.diffusion.features import frozen
from editfrontier.diffusion.sampling import TextEmbeddings

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def attention_projections(network: nn.Module) -> dict[str, nn.Linear]:
    """Return the query, key, value and output projections of all attention layers by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and any(name.endswith("." + end) for end in PROJECTIONS)
    }


class ImageLora:
    """One adapter a case on every attention projection: W x + up (down x), as Hu et al. (2022) with alpha = rank.

    Attributes:
        down: name of a projection -> [B, rank, inputs], started from a normal distribution of deviation 1 / rank.
        up: name of a projection -> [B, outputs, rank], started from 0, so that an untrained adapter changes nothing.
    """

    def __init__(self, network: nn.Module, rank: int, generators: Sequence[torch.Generator]) -> None:
        """Draw the adapters of B cases; generator i draws for case i.

        Raises:
            UserError: the network has no attention.
        """
        self.layers = attention_projections(network)
        if not self.layers:
            raise UserError(
                f"{type(network).__name__}: has no attention projections to adapt, expected a denoiser with "
                "attention. Set lora: false."
            )
        device = next(network.parameters()).device
        count = len(generators)
        self.down = {
            name: sampling.case_noise((count, rank, layer.in_features), generators, device) / rank
            for name, layer in self.layers.items()
        }
        self.up = {
            name: torch.zeros(count, layer.out_features, rank, device=device) for name, layer in self.layers.items()
        }

    def parameters(self) -> list[Tensor]:
        """Return all matrices."""
        return [*self.down.values(), *self.up.values()]

    @contextmanager
    def applied(self) -> Iterator[int]:
        """Adapt the network within the block; yields the number of adapted projections.

        The network is called with batches of m B samples within it, where sample k belongs to case k modulo B.
        """
        handles = [layer.register_forward_hook(self._hook(name)) for name, layer in self.layers.items()]
        try:
            yield len(handles)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            down, up = self.down[name].to(output.dtype), self.up[name].to(output.dtype)
            states = args[0].unflatten(0, (-1, len(down)))
            return output + (states @ down.mT @ up.mT).flatten(0, 1)

        return add


def train_image_lora(
    model: Any,
    clean: Tensor,
    text: TextEmbeddings,
    generators: Sequence[torch.Generator],
    *,
    rank: int,
    steps: int,
    learning_rate: float,
    batch_size: int,
) -> ImageLora:
    """Train one adapter for each image to denoise this image, by AdamW on the usual loss of a denoiser.

    Args:
        clean: [B, C, h, w] scaled latents of the images.
        generators: one a case; they draw the adapters, then timesteps and noise of each step.
        batch_size: noisy versions of an image in one step.

    Returns:
        The adapters; none is applied. The network's own weights are as before.

    Source:
        DragDiffusion (Shi et al., CVPR 2024), section 3.2: identity-preserving fine-tuning.
    """
    scheduler = sampling.make_scheduler(model.scheduler.config)
    prediction, levels = scheduler.config.prediction_type, scheduler.alphas_cumprod.to(clean.device)
    lora = ImageLora(model.unet, rank, generators)
    parameters = [parameter.requires_grad_(True) for parameter in lora.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate)
    images, states = torch.cat([clean] * batch_size), torch.cat([text.prompt.detach()] * batch_size)
    with torch.enable_grad(), frozen(model.unet), lora.applied():
        for _ in range(steps):
            drawn = [torch.randint(len(levels), (batch_size,), generator=generator) for generator in generators]
            timesteps = torch.stack(drawn, 1).flatten().to(clean.device)
            noise = torch.cat([sampling.case_noise(clean.shape, generators, clean.device) for _ in range(batch_size)])
            level = levels[timesteps][:, None, None, None]
            noisy = level**0.5 * images + (1.0 - level) ** 0.5 * noise
            output = model.unet(noisy, timesteps, encoder_hidden_states=states, return_dict=False)[0]
            target = noise
            if prediction != "epsilon":
                target = images if prediction == "sample" else level**0.5 * noise - (1.0 - level) ** 0.5 * images
            error = functional.mse_loss(output.float(), target, reduction="none").flatten(1).mean(1)
            # The mean over a case's own samples, summed over cases: the gradient of one does not know of the others.
            optimiser.zero_grad(set_to_none=True)
            (error.sum() / batch_size).backward()
            optimiser.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    return lora
