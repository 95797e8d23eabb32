"""The zoo's text-to-image model in the layout of FLUX.1-dev: networks, training, the folder.

Two stages of plain rectified flow with captions left out now and then, the second with more scenes. Then
classifier-free guidance is distilled into the guidance embedding, as FLUX.1-dev's was (Meng et al., 2023, sec. 3.1): a
student that is told w learns what its teacher, the frozen second stage, predicts with guidance w in two passes.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import DEFAULT_PATH
from editfrontier.microworld.zoo.data import DataSettings, image_grid, load_data, to_uint8
from editfrontier.microworld.zoo.editing_data import Captions, cached_latents
from editfrontier.microworld.zoo.flow import (
    SPACING,
    CaptionBatches,
    FlowBatch,
    FlowTextEncoders,
    clip_config,
    compiled,
    flow_loss,
    plain_attention,
    start_transformer,
)
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, train
from editfrontier.microworld.zoo.provenance import half_precision
from editfrontier.microworld.zoo.t5 import load_t5
from editfrontier.microworld.zoo.text_init import start_from_clip
from editfrontier.microworld.zoo.tokenizer import build_tokenizer, language_words, save_tokenizer
from editfrontier.microworld.zoo.train_diffusion import load_autoencoder

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

log = logging.getLogger(__name__)


def build_flux(config: Mapping[str, Any], text_width: int, pooled_width: int) -> FluxTransformer2DModel:
    """A new transformer of the config's `double`, `single`, `heads`, `head_width` and `rope`, for 16 channels."""
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(
        in_channels=64,
        num_layers=config["double"],
        num_single_layers=config["single"],
        num_attention_heads=config["heads"],
        attention_head_dim=config["head_width"],
        joint_attention_dim=text_width,
        pooled_projection_dim=pooled_width,
        guidance_embeds=True,
        axes_dims_rope=tuple(config["rope"]),
    )
    start_transformer(model)
    return model


def flux_velocity(
    model: Callable[..., Any], latents: Tensor, times: Tensor, prompt: Tensor, pooled: Tensor, guidance: Tensor
) -> Tensor:
    """Velocity [B, 16, h, w] at times [B], as `FluxPipeline` calls the transformer (which multiplies by 1000)."""
    from diffusers import FluxPipeline

    batch, _, height, width = latents.shape
    place: dict[str, Any] = {"device": latents.device, "dtype": torch.float32}
    output = model(
        hidden_states=FluxPipeline._pack_latents(latents, *latents.shape),
        timestep=times,
        guidance=guidance,
        pooled_projections=pooled,
        encoder_hidden_states=prompt,
        txt_ids=torch.zeros(prompt.shape[1], 3, **place),
        img_ids=FluxPipeline._prepare_latent_image_ids(batch, height // 2, width // 2, **place),
        return_dict=False,
    )[0]
    velocity: Tensor = FluxPipeline._unpack_latents(output, height, width, vae_scale_factor=1)
    return velocity


def predict(model: Callable[..., Any], batch: FlowBatch, noisy: Tensor | None = None) -> Tensor:
    """Velocity at the batch's own noisy latents, or at others, with its embedded guidance."""
    assert batch.guidance is not None
    latents = batch.noisy() if noisy is None else noisy
    return flux_velocity(model, latents, batch.times, batch.prompt, batch.pooled, batch.guidance)


@torch.no_grad()
def guided(teacher: Callable[..., Any], batch: FlowBatch) -> Tensor:
    """The teacher's velocity with classifier-free guidance of the batch's scales: free + w (conditional - free)."""
    assert batch.guidance is not None
    assert batch.empty is not None
    noisy, count = batch.noisy(), len(batch.latents)
    both = flux_velocity(
        teacher,
        torch.cat([noisy, noisy]),
        batch.times.repeat(2),
        torch.cat([batch.prompt, batch.empty[0].expand(count, -1, -1)]),
        torch.cat([batch.pooled, batch.empty[1].expand(count, -1)]),
        torch.ones(2 * count, device=noisy.device),
    )
    conditional, free = both.float().chunk(2)
    return free + batch.guidance.view(-1, 1, 1, 1) * (conditional - free)


def load_text(clip: Path, t5: Path, tokens: int) -> FlowTextEncoders:
    """The frozen encoders: the text tower of the zoo's CLIP as `CLIPTextModel`, and the zoo's T5."""
    from transformers import CLIPTextModel

    tokenizer = build_tokenizer(language_words(DEFAULT_PATH), tokens)
    encoder = CLIPTextModel(clip_config(clip, tokenizer))
    start_from_clip(encoder, clip)
    return FlowTextEncoders(encoder.eval().requires_grad_(False), tokenizer, *load_t5(t5))


def train_flux(
    config: Mapping[str, Any], models: Path, work: Path
) -> tuple[FluxTransformer2DModel, Any, FlowTextEncoders, TrainResult]:
    """Train `flux` of the zoo config -> transformer with averaged weights, autoencoder, text encoders, result.

    models: folder that holds `flow-autoencoder`, `clip` and `t5`. work: state and samples; renders and latents are
    shared in its parent folder.
    """
    own = config["flux"]
    settings = TrainSettings(**own["train"])
    data_settings = DataSettings(**config["data"])
    data = load_data(data_settings, work.parent / "data")
    vae = load_autoencoder(models / "flow-autoencoder")
    text = load_text(models / "clip", models / "t5", own["tokens"])
    latents = cached_latents(vae, data.images, work.parent / "data").half()
    normalise = (float(vae.config.shift_factor), float(vae.config.scaling_factor))
    torch.manual_seed(stable_seed("train", "flux", "init", settings.seed))
    model = build_flux(own["transformer"], text.t5.config.d_model, text.clip.config.hidden_size)
    log.info("flux: %.2f million weights", sum(p.numel() for p in model.parameters()) / 1e6)

    def batches(name: str, stage: Mapping[str, Any]) -> CaptionBatches:
        captions = Captions(data, data_settings, text.tokenizer, stage["drop"])
        seed = TrainSettings(**stage["train"]).seed
        return CaptionBatches(
            latents, normalise, captions, text, own, name, seed, stage.get("scene_share"), stage.get("guidance")
        )

    first, second, distil = own, {**own, **own["second"]}, own["distil"]
    second_batches = batches("flux-second", second)
    shown = second_batches(0, torch.Generator().manual_seed(0)).middle(24)  # portraits, then scenes
    fast = compiled(model, settings.steps)

    def show(scale: float, kind: str) -> list[tuple[int, Callable[[int, nn.Module], None]]]:
        def callback(step: int, model: nn.Module) -> None:
            embedded = kind == "embedded"
            images = sample(model, vae, shown.to(settings.device), guidance=scale, steps=20, embedded=embedded)
            image_grid(to_uint8(images), 12, work / "samples" / f"{kind}-{step:06d}.png")

        return [(int(own["show_every"]), callback)]

    def plain_loss(_: nn.Module, batch: FlowBatch) -> Tensor:
        batch = batch.to(settings.device)
        with plain_attention():
            return flow_loss(predict(fast, batch), batch)

    done = [train("flux", model, batches("flux", first), plain_loss, settings, work, show(3.5, "first"))]
    later = TrainSettings(**second["train"])
    folder = work / "second"
    done.append(train("flux-second", model, second_batches, plain_loss, later, folder, show(3.5, "second")))
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    final = TrainSettings(**distil["train"])
    teach = compiled(teacher, final.steps)

    def distil_loss(_: nn.Module, batch: FlowBatch) -> Tensor:
        batch = batch.to(settings.device)
        with plain_attention():
            return (predict(fast, batch).float() - guided(teach, batch)).pow(2).mean()

    lessons, folder = batches("flux-distil", distil), work / "distil"
    result = train("flux-distil", model, lessons, distil_loss, final, folder, show(3.5, "embedded"))
    result.steps, result.seconds = (
        sum(part.steps for part in [*done, result]),
        sum(part.seconds for part in [*done, result]),
    )
    return model, vae, text, result


def build_scheduler() -> Any:
    """Euler steps of rectified flow with FLUX's dynamic shift, its spacing scaled to the micro size (flow.SPACING)."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, use_dynamic_shifting=True, **SPACING)


@torch.no_grad()
def sample(
    model: nn.Module,
    vae: Any,
    batch: FlowBatch,
    *,
    guidance: float,
    steps: int,
    embedded: bool = True,
    bf16: bool = True,
) -> Tensor:
    """A quick look at training: images [B, 3, 64, 64] in [-1, 1] from the batch's noise and texts.

    embedded: the guidance is told to the model; otherwise it is classifier-free, in two passes.
    """
    scheduler = build_scheduler()
    scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], mu=SPACING["max_shift"])
    times, latents = scheduler.sigmas.tolist(), batch.noise.clone()
    device = latents.device
    scale = torch.full((len(latents),), guidance, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for now, later in itertools.pairwise(times):
            # With no clean part, the batch's noisy latents are these at every time.
            at = torch.full((len(latents),), now, device=device)
            here = FlowBatch(latents, latents, at, batch.prompt, batch.pooled, guidance=scale, empty=batch.empty)
            velocity = predict(model, here, latents) if embedded else guided(model, here)
            latents = latents + (later - now) * velocity.float()
        latents = latents.to(vae.device) / vae.config.scaling_factor + vae.config.shift_factor
        images: Tensor = vae.decode(latents).sample
    return images.float().clamp(-1, 1)


def save_flux(model: nn.Module, vae: Any, text: FlowTextEncoders, folder: Path) -> None:
    """Write a folder that `FluxPipeline.from_pretrained` loads: fp16 safetensors."""
    from diffusers import __version__

    folder.mkdir(parents=True, exist_ok=True)
    parts: tuple[tuple[Any, str], ...] = (
        *((model, "transformer"), (vae, "vae")),
        *((text.clip, "text_encoder"), (text.t5, "text_encoder_2")),
    )
    for part, name in parts:
        with half_precision(part):
            part.save_pretrained(str(folder / name), safe_serialization=True)
    save_tokenizer(text.tokenizer, folder / "tokenizer")
    text.tokenizer_2.save_pretrained(str(folder / "tokenizer_2"))
    build_scheduler().save_pretrained(str(folder / "scheduler"))
    index = {
        "_class_name": "FluxPipeline",
        "_diffusers_version": __version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
