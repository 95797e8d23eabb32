"""Training of the zoo's text-to-image model and of its inpainting and InstructPix2Pix fine-tunes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import DEFAULT_PATH
from editfrontier.microworld.zoo.data import DataSettings, image_grid, load_data, to_uint8
from editfrontier.microworld.zoo.diffusion import (
    DiffusionBatch,
    TextConditioned,
    build_model,
    build_scheduler,
    diffusion_loss,
    tokenise,
    widen_input,
)
from editfrontier.microworld.zoo.editing_data import (
    Captions,
    InpaintingBatches,
    InstructionBatches,
    TextToImageBatches,
    cached_latents,
    scene_pairs,
)
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, train
from editfrontier.microworld.zoo.text_init import start_from_clip
from editfrontier.microworld.zoo.tokenizer import build_tokenizer, language_words

log = logging.getLogger(__name__)

CHANNELS = {"text-to-image": 4, "inpainting": 9, "instruct-pix2pix": 8}


def load_autoencoder(folder: Path) -> Any:
    """Load a shipped autoencoder, frozen, in fp32; raise `UserError` if the folder holds none."""
    from diffusers import AutoencoderKL

    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no autoencoder here, expected config.json and weights. Train it: snakemake zoo")
    return AutoencoderKL.from_pretrained(str(folder), dtype=torch.float32).eval().requires_grad_(False)


def train_diffusion(
    name: str, config: Mapping[str, Any], vae_folder: Path, base_state: Mapping[str, Tensor] | None, work: Path
) -> tuple[TextConditioned, Any, Any, TrainResult]:
    """Train one of CHANNELS; return model with averaged weights, autoencoder, tokenizer, result.

    Args:
        name: name of the model.
        config: the zoo config.
        vae_folder: folder of the shipped autoencoder.
        base_state: weights of the text-to-image model, from which the other two start.
        work: folder of state and samples; renders and latents are shared in its parent folder.
    """
    entry = config[name]
    settings = TrainSettings(**entry["train"])
    data_settings, folder = DataSettings(**config["data"]), work.parent / "data"
    data = load_data(data_settings, folder)
    vae = load_autoencoder(vae_folder)
    scale = float(vae.config.scaling_factor)
    tokenizer = build_tokenizer(language_words(DEFAULT_PATH), config["text-to-image"]["tokens"])
    latents = cached_latents(vae, data.images, folder)
    torch.manual_seed(stable_seed("train", name, "init", settings.seed))
    model = build_model(config["text-to-image"], tokenizer, CHANNELS[name])
    if base_state is not None:
        widen_input(base_state, model)
    batch_fn: InstructionBatches | InpaintingBatches | TextToImageBatches
    if name == "instruct-pix2pix":
        before, texts, after = scene_pairs(entry["scene_pairs"], settings.seed)
        scenes = (cached_latents(vae, before, folder), texts, cached_latents(vae, after, folder))
        batch_fn = InstructionBatches(data, latents, scenes, tokenizer, scale, entry, settings.seed)
    else:
        captions = Captions(data, data_settings, tokenizer, entry["drop"])
        if name == "inpainting":
            batch_fn = InpaintingBatches(data, latents * scale, captions, vae, entry["batch"], settings.seed)
        else:
            batch_fn = TextToImageBatches(latents * scale, captions, entry["batch"], name, settings.seed)
    alphas = build_scheduler().alphas_cumprod

    def loss_fn(model: nn.Module, batch: DiffusionBatch) -> Tensor:
        return diffusion_loss(model, batch.to(settings.device), alphas, entry["min_snr_gamma"])

    sample_batch = batch_fn(0, torch.Generator().manual_seed(0))

    def show(step: int, model: nn.Module) -> None:
        images = sample(model, vae, sample_batch, tokenizer, guidance=3.0, steps=25)
        image_grid(to_uint8(images), 12, work / "samples" / f"{step:06d}.png")

    callbacks = [(int(entry["show_every"]), show)]
    result = train(name, model, batch_fn, loss_fn, settings, work, callbacks)
    if "second" in entry:
        if "text_encoder" in entry["second"]:
            start_from_clip(model.text_encoder, vae_folder.parent / entry["second"]["text_encoder"])
        batch_fn.high_noise = float(entry["second"].get("high_noise", 0.0))
        later = TrainSettings(**entry["second"]["train"])
        result = train(f"{name}-second", model, batch_fn, loss_fn, later, work / "second", callbacks).plus(result)
    return model, vae, tokenizer, result


@torch.no_grad()
def sample(
    model: nn.Module, vae: Any, batch: DiffusionBatch, tokenizer: Any, *, guidance: float, steps: int, count: int = 24
) -> Tensor:
    """Draw DDIM samples [count, 3, 64, 64] in [-1, 1] for the texts (and images) of a batch, to watch the training."""
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    device = next(model.parameters()).device
    batch = batch.to(device)
    tokens = batch.tokens[:count]
    empty = tokenise(tokenizer, [""] * len(tokens)).to(device)
    latents = batch.noise[:count].clone()
    with torch.autocast(device.type, torch.bfloat16):
        for timestep in scheduler.timesteps:
            sample = latents if batch.extra is None else torch.cat([latents, batch.extra[:count]], 1)
            noise = model(
                torch.cat([sample, sample]), timestep.to(device).expand(2 * len(tokens)), torch.cat([tokens, empty])
            ).float()
            conditional, free = noise.chunk(2)
            latents = scheduler.step(free + guidance * (conditional - free), timestep, latents).prev_sample
        images: Tensor = vae.decode(latents.to(vae.device) / vae.config.scaling_factor).sample
    return images.float().clamp(-1, 1)
