"""The common parts of the zoo's two flow transformers: text, times, batches, attention that trains fast, the loss.

Rectified flow (Liu et al., 2022; Esser et al., 2024): x_t = (1 - t) clean + t noise, and the network predicts the
velocity noise - clean. Text encoders are frozen, so a batch carries their embeddings.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from editfrontier.microworld.zoo.data import rows_for_step
from editfrontier.microworld.zoo.diffusion import tokenise

if TYPE_CHECKING:
    from editfrontier.microworld.zoo.editing_data import Captions

SPACING = {"base_image_seq_len": 4, "max_image_seq_len": 64, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
"""Dynamic shift of the times. FLUX goes from 0.5 at 256 tokens to 1.15 at 4096, the tokens of its native 1024x1024
pixels. The native size of the micro model is 64 tokens, so both numbers are divided by 64: the times agree at the same
share of the native size."""


@dataclass
class FlowBatch:
    """One training batch: latents and noise [B, 16, h, w], times [B] in (0, 1), embeddings [B, L, D] and [B, P].

    extra: latents of the image (and mask) that stand beside the noisy ones, or None. guidance: embedded guidance [B],
    or None. weight: of the loss at each place [B, 1, h, w], or None for 1. empty: embeddings of the empty prompt,
    [1, L, D] and [1, P], for a teacher's guidance, or None.
    """

    latents: Tensor
    noise: Tensor
    times: Tensor
    prompt: Tensor
    pooled: Tensor
    extra: Tensor | None = None
    guidance: Tensor | None = None
    weight: Tensor | None = None
    empty: tuple[Tensor, Tensor] | None = None

    def noisy(self) -> Tensor:
        """Return x_t."""
        level = self.times.view(-1, 1, 1, 1)
        return (1 - level) * self.latents + level * self.noise

    def middle(self, count: int) -> FlowBatch:
        """Return the `count` samples in the middle of the batch."""
        start = max(0, (len(self.times) - count) // 2)
        return replace(self, **{name: value[start : start + count] for name, value in self._tensors().items()})

    def to(self, device: torch.device | str) -> FlowBatch:
        """Return the batch on a device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        empty = None if self.empty is None else (self.empty[0].to(device), self.empty[1].to(device))
        return replace(self, **moved, empty=empty)

    def _tensors(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


def flow_noise(
    shape: Sequence[int], generator: torch.Generator, *, mean: float, std: float, uniform: float
) -> tuple[Tensor, Tensor]:
    """Draw noise and times: logit-normal (Esser et al., 2024, sec. 3.1), a share `uniform` in [0, 1)."""
    noise = torch.randn(*shape, generator=generator)
    times = torch.sigmoid(mean + std * torch.randn(shape[0], generator=generator))
    even = torch.rand(shape[0], generator=generator)
    return noise, torch.where(torch.rand(shape[0], generator=generator) < uniform, even, times)


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention by plain products: PyTorch's fused one has a slow backward pass on CPUs at these sizes."""
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # despite its name, the switch counts on CPUs too
    with sdpa_kernel(SDPBackend.MATH):
        yield


def compiled(model: nn.Module, steps: int) -> Callable[..., Any]:
    """Return the network, compiled if that pays: it halves the time of a step on a CPU, but takes a minute or two.

    The results differ by rounding. Without a C++ compiler, or for few steps, the network is returned as it is.
    """
    if steps < 100 or not (shutil.which("g++") or shutil.which("clang++")):
        return model
    fast: Callable[..., Any] = torch.compile(model)
    return fast


def start_transformer(model: nn.Module) -> None:
    """Initialise a transformer as DiT does (Peebles and Xie, 2023): blocks start as the identity, the output at 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, module in model.named_modules():
        modulates = name.split(".")[-2:] in (["norm1", "linear"], ["norm1_context", "linear"], ["norm", "linear"])
        if isinstance(module, nn.Linear) and (modulates or name in ("norm_out.linear", "proj_out")):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.Linear) and name.startswith("time_text_embed"):
            nn.init.normal_(module.weight, std=0.02)


class FlowTextEncoders:
    """The frozen text encoders of FLUX, as in `FluxPipeline`: T5 embeds the tokens, CLIP gives the pooled embedding."""

    def __init__(self, clip: Any, tokenizer: Any, t5: Any, tokenizer_2: Any) -> None:
        self.clip, self.tokenizer, self.t5, self.tokenizer_2 = clip, tokenizer, t5, tokenizer_2

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the embeddings of texts, [B, L, D] and [B, P]."""
        with torch.autocast("cpu", torch.bfloat16):
            prompt = self.t5(tokenise(self.tokenizer_2, texts))[0]
            pooled = self.clip(tokenise(self.tokenizer, texts)).pooler_output
        return prompt.float(), pooled.float()


@dataclass
class CaptionBatches:
    """(step, generator) -> batch of cached latents with embedded captions.

    scene_share: of each batch; None = as many scenes as the data have.
    guidance: None for the number 1 everywhere (no distillation), or the range that guidance is drawn from.
    """

    latents: Tensor
    normalise: tuple[float, float]
    captions: Captions
    text: FlowTextEncoders
    config: Mapping[str, Any]
    name: str
    seed: int
    scene_share: float | None = None
    guidance: Sequence[float] | None = None

    def __post_init__(self) -> None:
        self.empty = self.text([""])

    def rows(self, step: int) -> Tensor:
        """Return the rows of the training data that one step takes."""
        batch, portraits = int(self.config["batch"]), len(self.captions.attributes)
        if self.scene_share is None:
            return rows_for_step(len(self.latents), batch, step, self.name, self.seed)
        count = round(batch * self.scene_share)
        scenes = rows_for_step(len(self.latents) - portraits, count, step, f"{self.name}-scenes", self.seed)
        return torch.cat([rows_for_step(portraits, batch - count, step, self.name, self.seed), portraits + scenes])

    def __call__(self, step: int, generator: torch.Generator) -> FlowBatch:
        rows = self.rows(step)
        shift, scale = self.normalise
        latents = (self.latents[rows].float() - shift) * scale
        noise, times = flow_noise(latents.shape, generator, **self.config["times"])
        guidance = torch.ones(len(rows))
        if self.guidance is not None:
            low, high = self.guidance
            guidance = low + (high - low) * torch.rand(len(rows), generator=generator)
        prompt, pooled = self.text(self.captions.texts(rows, random.Random(generator.initial_seed())))
        return FlowBatch(latents, noise, times, prompt, pooled, guidance=guidance, empty=self.empty)


def flow_loss(velocity: Tensor, batch: FlowBatch) -> Tensor:
    """Return the mean squared error of the velocity [B, 16, h, w], weighted if the batch has weights."""
    error = (velocity.float() - (batch.noise - batch.latents)).pow(2)
    return error.mean() if batch.weight is None else (error * batch.weight).mean() / batch.weight.mean()
