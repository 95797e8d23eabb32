"""What the zoo's two flow transformers share: text, times, batches, attention that trains fast, and their loss.

Rectified flow (Liu et al., 2022; Esser et al., 2024): x_t = (1 - t) clean + t noise, and the network predicts the
velocity noise - clean. Text encoders are frozen, so a batch carries their embeddings.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from editfrontier.microworld.zoo.data import rows_for_step
from editfrontier.microworld.zoo.diffusion import tokenise

if TYPE_CHECKING:
    from transformers import CLIPTextConfig

    from editfrontier.microworld.zoo.editing_data import Captions

SPACING = {"base_image_seq_len": 4, "max_image_seq_len": 64, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
"""Dynamic shift of the times. FLUX goes from 0.5 at 256 tokens to 1.15 at 4096, those of its native 1024x1024 pixels.
The micro model is native at 64 tokens, so both ends are divided by 64: at the same part of the native size the times
agree."""


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
        """x_t."""
        level = self.times.view(-1, 1, 1, 1)
        return (1 - level) * self.latents + level * self.noise

    def middle(self, count: int) -> FlowBatch:
        """The `count` samples in its middle."""
        start = max(0, (len(self.times) - count) // 2)
        cut = {
            name: getattr(self, name)[start : start + count]
            for name in ("latents", "noise", "times", "prompt", "pooled", "extra", "guidance", "weight")
            if getattr(self, name) is not None
        }
        return replace(self, **cut)

    def to(self, device: torch.device | str) -> FlowBatch:
        """The batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        empty = None if self.empty is None else (self.empty[0].to(device), self.empty[1].to(device))
        return replace(self, **moved, empty=empty)


def flow_noise(
    shape: Sequence[int], generator: torch.Generator, *, mean: float, std: float, uniform: float
) -> tuple[Tensor, Tensor]:
    """Noise and times: logit-normal (Esser et al., 2024, sec. 3.1), but the share `uniform` uniformly in [0, 1)."""
    noise = torch.randn(*shape, generator=generator)
    times = torch.sigmoid(mean + std * torch.randn(shape[0], generator=generator))
    even = torch.rand(shape[0], generator=generator)
    return noise, torch.where(torch.rand(shape[0], generator=generator) < uniform, even, times)


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as plain products: PyTorch's fused one has a slow backward pass on CPUs at these sizes."""
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # the switch is the CPU's too, whatever its name
    with sdpa_kernel(SDPBackend.MATH):
        yield


def compiled(model: nn.Module, steps: int) -> Callable[..., Any]:
    """The network, compiled if that pays: it halves the time of a step on a CPU, but takes a minute or two.

    The result differs by rounding only. Without a C++ compiler, or for few steps, the network itself.
    """
    if steps < 100 or not (shutil.which("g++") or shutil.which("clang++")):
        return model
    fast: Callable[..., Any] = torch.compile(model)
    return fast


def clip_config(folder: Path, tokenizer: Any) -> CLIPTextConfig:
    """Sizes of the text tower of the open_clip model in `folder`, for transformers."""
    from transformers import CLIPTextConfig

    model = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    text = model["text_cfg"]
    return CLIPTextConfig(
        vocab_size=text["vocab_size"],
        hidden_size=text["width"],
        intermediate_size=4 * text["width"],
        projection_dim=model["embed_dim"],
        num_hidden_layers=text["layers"],
        num_attention_heads=text["heads"],
        max_position_embeddings=text["context_length"],
        hidden_act="gelu",  # what open_clip trained it with; transformers' default is another
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


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
    """The frozen text encoders of FLUX: tokens' embeddings from T5, the pooled one from CLIP, as `FluxPipeline`."""

    def __init__(self, clip: Any, tokenizer: Any, t5: Any, tokenizer_2: Any) -> None:
        self.clip, self.tokenizer, self.t5, self.tokenizer_2 = clip, tokenizer, t5, tokenizer_2

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts -> [B, L, D] and [B, P]."""
        with torch.autocast("cpu", torch.bfloat16):
            prompt = self.t5(tokenise(self.tokenizer_2, texts))[0]
            pooled = self.clip(tokenise(self.tokenizer, texts)).pooler_output
        return prompt.float(), pooled.float()


class CaptionBatches:
    """(step, generator) -> batch of cached latents with embedded captions.

    scene_share: of each batch; None = as many scenes as the data have.
    guidance: None for the number 1 everywhere (no distillation), or the range that guidance is drawn from.
    """

    def __init__(
        self,
        latents: Tensor,
        normalise: tuple[float, float],
        captions: Captions,
        text: FlowTextEncoders,
        config: Mapping[str, Any],
        name: str,
        seed: int,
        scene_share: float | None = None,
        guidance: Sequence[float] | None = None,
    ) -> None:
        self.latents, self.normalise, self.captions, self.text = latents, normalise, captions, text
        self.config, self.name, self.seed = config, name, seed
        self.scene_share, self.guidance = scene_share, guidance
        self.empty = text([""])

    def rows(self, step: int) -> Tensor:
        """Rows of the training data that one step takes."""
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
    """Mean squared error of the predicted velocity [B, 16, h, w], weighted where the batch says so."""
    error = (velocity.float() - (batch.noise - batch.latents)).pow(2)
    return error.mean() if batch.weight is None else (error * batch.weight).mean() / batch.weight.mean()
