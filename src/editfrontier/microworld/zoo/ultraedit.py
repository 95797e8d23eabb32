"""The zoo's instruction editors in the layout of UltraEdit (Zhao et al., 2024): networks, batches, training, folder.

A Stable Diffusion 3 transformer that also reads the source image: first free-form, then with a mask in further input
channels, which start at zero. Latents follow UltraEdit's convention, see `ultraedit_sampling`. The text encoders are
frozen and the set of texts is finite, so that each text is embedded once.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from editfrontier.base.seeding import stable_seed
from editfrontier.editing.methods import ultraedit_sampling
from editfrontier.microworld.zoo.data import DataSettings, image_grid, load_data, to_uint8
from editfrontier.microworld.zoo.diffusion import widen_input
from editfrontier.microworld.zoo.editing_data import InstructionBatches, cached_latents, edit_masks, scene_pairs
from editfrontier.microworld.zoo.flow import (
    FlowBatch,
    compiled,
    flow_loss,
    flow_noise,
    plain_attention,
    start_transformer,
)
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, train
from editfrontier.microworld.zoo.provenance import save_pipeline_folder
from editfrontier.microworld.zoo.t5 import all_instructions, load_t5
from editfrontier.microworld.zoo.text_init import frozen_clip
from editfrontier.microworld.zoo.train_diffusion import load_autoencoder

if TYPE_CHECKING:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

log = logging.getLogger(__name__)

FREE_FORM, MASK = "ultraedit-freeform", "ultraedit-mask"
CHANNELS = {FREE_FORM: 32, MASK: 48}
PATCHES = "pos_embed.proj.weight"
"""The weight that the input channels of the transformer enter by."""

TEXT_BLOCK = 128
NOTICEABLE = 0.15
"""Mean absolute difference of bare latents, whose standard deviation is about 1.7, of a changed place."""


def build_ultraedit(config: Mapping[str, Any], channels: int, text_width: int, pooled: int) -> SD3Transformer2DModel:
    """Build a transformer of the config's `layers`, `heads` and `head_width`; images of up to 256x256 pixels."""
    from diffusers import SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=channels,
        out_channels=16,
        num_layers=config["layers"],
        num_attention_heads=config["heads"],
        attention_head_dim=config["head_width"],
        joint_attention_dim=text_width,
        caption_projection_dim=config["heads"] * config["head_width"],
        pooled_projection_dim=pooled,
        pos_embed_max_size=32,
    )
    start_transformer(model)
    return model


def load_text(models: Path, tokens: int) -> dict[str, Any]:
    """Return the frozen text encoders and tokenizers of Stable Diffusion 3 by name: the zoo's CLIP twice, its T5.

    tokens: tokens of an instruction, for each tokenizer.
    """
    from transformers import CLIPTextModelWithProjection

    encoder, tokenizer = frozen_clip(models / "clip", tokens, CLIPTextModelWithProjection)
    t5, tokenizer_3 = load_t5(models / "t5")
    tokenizer_3.model_max_length = tokens
    return {
        **{"text_encoder": encoder, "text_encoder_2": encoder, "text_encoder_3": t5},
        **{"tokenizer": tokenizer, "tokenizer_2": tokenizer, "tokenizer_3": tokenizer_3},
    }


def build_scheduler() -> Any:
    """Return Euler steps of rectified flow with Stable Diffusion 3's shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)


def build_pipeline(transformer: Any, vae: Any, text: Mapping[str, Any]) -> StableDiffusion3Pipeline:
    """Return the pipeline that the editors use, with these parts."""
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline(transformer=transformer, scheduler=build_scheduler(), vae=vae, **text)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class TextTable:
    """Embeddings of a finite set of texts, each computed once by the pipeline."""

    def __init__(self, pipeline: Any, texts: Sequence[str], tokens: int) -> None:
        distinct = list(dict.fromkeys(["", *texts]))
        self.place = {text: index for index, text in enumerate(distinct)}
        options: dict[str, Any] = {"do_classifier_free_guidance": False, "max_sequence_length": tokens}
        blocks = [distinct[start : start + TEXT_BLOCK] for start in range(0, len(distinct), TEXT_BLOCK)]
        with torch.no_grad():
            embedded = [pipeline.encode_prompt(block, None, None, **options) for block in blocks]
        self.prompts, self.pooled = (torch.cat([part[k].half() for part in embedded]) for k in (0, 2))

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the embeddings [B, L, D] and [B, P] of known texts."""
        rows = torch.tensor([self.place[text] for text in texts])
        return self.prompts[rows].float(), self.pooled[rows].float()


def changed_places(source: Tensor, target: Tensor) -> Tensor:
    """Return {0, 1} [B, 1, h, w]: where bare latents [B, C, h, w], or those of a neighbour, differ noticeably."""
    differs = (source - target).abs().mean(1, keepdim=True) > NOTICEABLE
    return F.max_pool2d(differs.float(), 3, 1, 1)


@dataclass
class UltraEditBatches:
    """(step, generator) -> pairs with embedded instructions and, as extra channels, the bare latents of the source.

    If `masked`, also the bare latents of the mask: the exact mask of the edit, grown by 0 to 5 pixels, or all white in
    a share `white` of the draws. Text, image and mask, or all of them, are left out as in `InstructionBatches`.
    """

    pairs: InstructionBatches
    scenes: tuple[Tensor, Tensor]
    table: TextTable
    vae: Any
    config: Mapping[str, Any]
    masked: bool

    def masks(self, pairs: Tensor, rows: Tensor, rng: random.Random) -> Tensor:
        """Draw masks float {0, 1} [B, 1, 64, 64] of portrait pairs and of scene pairs."""
        images = self.pairs.images
        before = torch.cat([images[pairs[:, 0]], self.scenes[0][rows]])
        exact = edit_masks(before, torch.cat([images[pairs[:, 1]], self.scenes[1][rows]]))
        masks = []
        for mask in exact:
            grow = rng.randint(0, 5)
            white = rng.random() < self.config["white"]
            masks.append(torch.ones_like(mask) if white else F.max_pool2d(mask[None], 2 * grow + 1, 1, grow)[0])
        return torch.stack(masks)

    def __call__(self, step: int, generator: torch.Generator) -> FlowBatch:
        rng = random.Random(generator.initial_seed())
        source, target, texts, pairs, rows = self.pairs.examples(step, rng)
        weight = 1 + self.config.get("stress", 0.0) * changed_places(source, target)
        target = target * float(self.vae.config.scaling_factor)
        noise, times = flow_noise(target.shape, generator, **self.config["times"])
        texts, keep = self.pairs.leave_out(texts, generator)
        extra = source
        if self.masked:
            masks = self.masks(pairs, rows, rng).expand(-1, 3, -1, -1) * 2 - 1
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                latents = self.vae.encode(masks).latent_dist.mode()
            extra = torch.cat([source, latents.float()], 1)
        prompt, pooled = self.table(texts)
        return FlowBatch(target, noise, times, prompt, pooled, extra=extra * keep, weight=weight)


def train_ultraedit(
    name: str, config: Mapping[str, Any], models: Path, work: Path
) -> tuple[SD3Transformer2DModel, Any, dict[str, Any], TrainResult]:
    """Train `ultraedit-freeform` or, from it, `ultraedit-mask`; return transformer, autoencoder, text parts, result.

    models: folder that holds `flow-autoencoder`, `clip`, `t5` and, for the mask, `ultraedit-freeform`.
    """
    from diffusers import SD3Transformer2DModel

    merged, shape = {**config[FREE_FORM], **config[name]}, config[FREE_FORM]["transformer"]
    second = merged.pop("second", None) if name == FREE_FORM else None
    settings = TrainSettings(**merged["train"])
    folder = work.parent / "data"
    data = load_data(DataSettings(**config["data"]), folder)
    vae = load_autoencoder(models / "flow-autoencoder")
    text = load_text(models, merged["tokens"])
    latents = cached_latents(vae, data.images, folder).half()
    before, texts, after = scene_pairs(merged["scene_pairs"], TrainSettings(**config[FREE_FORM]["train"]).seed)
    scenes = (cached_latents(vae, before, folder), texts, cached_latents(vae, after, folder))
    torch.manual_seed(stable_seed("train", name, "init", settings.seed))
    width, pooled = text["text_encoder_3"].config.d_model, 2 * text["text_encoder"].config.projection_dim
    model = build_ultraedit(shape, CHANNELS[name], width, pooled)
    if name == MASK:
        base = SD3Transformer2DModel.from_pretrained(str(models / FREE_FORM / "transformer"), dtype=torch.float32)
        widen_input(base.state_dict(), model, PATCHES)
    log.info("%s: %.2f million weights", name, sum(p.numel() for p in model.parameters()) / 1e6)
    pipeline = build_pipeline(model, vae, text)
    table = TextTable(pipeline, [*all_instructions(), *texts], merged["tokens"])
    pairs = InstructionBatches(data, latents, scenes, None, 1.0, merged, settings.seed, name)
    batches = UltraEditBatches(pairs, (before, after), table, vae, merged, masked=name == MASK)
    fast = compiled(model, settings.steps)

    def loss_fn(_: nn.Module, batch: FlowBatch) -> Tensor:
        batch = batch.to(settings.device)
        assert batch.extra is not None
        with plain_attention():
            velocity = fast(
                hidden_states=torch.cat([batch.noisy(), batch.extra], 1),
                timestep=batch.times * 1000,
                encoder_hidden_states=batch.prompt,
                pooled_projections=batch.pooled,
                return_dict=False,
            )[0]
            return flow_loss(velocity, batch)

    def show(step: int, model: nn.Module) -> None:
        grid = look(pipeline, batches, 16)
        image_grid(grid, 16, work / "samples" / f"{step:06d}.png")

    callbacks = [(int(merged["show_every"]), show)]
    result = train(name, model, batches, loss_fn, settings, work, callbacks)
    if second is not None:
        first, batches.config = result, {**merged, **second}
        later = TrainSettings(**second["train"])
        result = train(f"{name}-second", model, batches, loss_fn, later, work / "second", callbacks).plus(first)
    return model, vae, text, result


@torch.no_grad()
def look(pipeline: Any, batches: UltraEditBatches, count: int) -> Tensor:
    """Return sources, edits and true edits of the first batch, half of them scenes, uint8, to watch the training."""
    rng = random.Random(0)
    source, target, texts, pairs, rows = batches.pairs.examples(0, rng)
    chosen = [*range(count // 2), *range(len(source) - count // 2, len(source))]
    extra = source
    if batches.masked:
        masks = batches.masks(pairs, rows, rng).expand(-1, 3, -1, -1) * 2 - 1
        extra = torch.cat([source, ultraedit_sampling.raw_latents(pipeline, masks)], 1)
    generators = [torch.Generator().manual_seed(index) for index in chosen]
    instructions = [texts[index] for index in chosen]
    with torch.autocast("cpu", torch.bfloat16):
        edited = ultraedit_sampling.sample(pipeline, extra[chosen], instructions, generators, 20, 5.0, 1.5)
    scale = pipeline.vae.config.scaling_factor
    parts = (source[chosen] * scale, edited, target[chosen] * scale)
    return torch.cat([to_uint8(ultraedit_sampling.decode_unshifted(pipeline, part)) for part in parts])


def save_ultraedit(model: nn.Module, vae: Any, text: Mapping[str, Any], folder: Path) -> None:
    """Write a folder in the layout of the published UltraEdit weights, whose class diffusers does not have."""
    parts = {"transformer": model, "vae": vae, "scheduler": build_scheduler(), **text}
    save_pipeline_folder(folder, "StableDiffusion3InstructPix2PixPipeline", parts)
