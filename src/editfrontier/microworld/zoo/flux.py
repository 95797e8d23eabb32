"""The zoo's text-to-image model in the layout of FLUX.1-dev: networks, training, the folder.

Two stages of plain rectified flow with some captions left out, the second with more scenes. Then classifier-free
guidance is distilled into the guidance embedding, as in FLUX.1-dev (Meng et al., 2023, sec. 3.1): a student that gets w
learns the prediction of its teacher, the frozen second stage, with guidance w in two passes.
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editfrontier.base.seeding import stable_seed
from editfrontier.microworld.zoo.data import DataSettings, image_grid, load_data, to_uint8
from editfrontier.microworld.zoo.editing_data import Captions, cached_latents
from editfrontier.microworld.zoo.flow import (
    SPACING,
    CaptionBatches,
    FlowBatch,
    FlowTextEncoders,
    compiled,
    flow_loss,
    plain_attention,
    start_transformer,
)
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, train
from editfrontier.microworld.zoo.provenance import save_pipeline_folder
from editfrontier.microworld.zoo.t5 import load_t5
from editfrontier.microworld.zoo.text_init import frozen_clip
from editfrontier.microworld.zoo.train_diffusion import load_autoencoder

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

log = logging.getLogger(__name__)


def build_flux(config: Mapping[str, Any], text_width: int, pooled_width: int) -> FluxTransformer2DModel:
    """Build a transformer of the config's `double`, `single`, `heads`, `head_width` and `rope`, for 16 channels."""
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
    """Return the velocity [B, 16, h, w] at times [B], as `FluxPipeline` asks for it (times 1000 inside)."""
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
    """Return the velocity with embedded guidance at the noisy latents of the batch, or at `noisy`."""
    assert batch.guidance is not None
    latents = batch.noisy() if noisy is None else noisy
    return flux_velocity(model, latents, batch.times, batch.prompt, batch.pooled, batch.guidance)


@torch.no_grad()
def guided(teacher: Callable[..., Any], batch: FlowBatch) -> Tensor:
    """Return the teacher's velocity with classifier-free guidance: free + w (conditional - free)."""
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
    """Return the frozen encoders: the text tower of the zoo's CLIP as `CLIPTextModel`, and the zoo's T5."""
    from transformers import CLIPTextModel

    return FlowTextEncoders(*frozen_clip(clip, tokens, CLIPTextModel), *load_t5(t5))


def train_flux(
    config: Mapping[str, Any], models: Path, work: Path
) -> tuple[FluxTransformer2DModel, Any, FlowTextEncoders, TrainResult]:
    """Train `flux` of the zoo config; return transformer with averaged weights, autoencoder, text encoders, result.

    Args:
        config: the zoo config.
        models: folder that holds `flow-autoencoder`, `clip` and `t5`.
        work: folder of state and samples; renders and latents are shared in its parent folder.
    """
    flux, data_settings = config["flux"], DataSettings(**config["data"])
    stages = {"flux": flux, "flux-second": {**flux, **flux["second"]}, "flux-distil": flux["distil"]}
    settings = {name: TrainSettings(**stage["train"]) for name, stage in stages.items()}
    data = load_data(data_settings, work.parent / "data")
    vae = load_autoencoder(models / "flow-autoencoder")
    text = load_text(models / "clip", models / "t5", flux["tokens"])
    latents = cached_latents(vae, data.images, work.parent / "data").half()
    normalise = (float(vae.config.shift_factor), float(vae.config.scaling_factor))
    torch.manual_seed(stable_seed("train", "flux", "init", settings["flux"].seed))
    model = build_flux(flux["transformer"], text.t5.config.d_model, text.clip.config.hidden_size)
    log.info("flux: %.2f million weights", sum(p.numel() for p in model.parameters()) / 1e6)

    def batches(name: str) -> CaptionBatches:
        stage = stages[name]
        captions = Captions(data, data_settings, text.tokenizer, stage["drop"])
        options = stage.get("scene_share"), stage.get("guidance")
        return CaptionBatches(latents, normalise, captions, text, flux, name, settings[name].seed, *options)

    # Portraits, then scenes.
    shown = batches("flux-second")(0, torch.Generator().manual_seed(0)).middle(24).to(settings["flux"].device)

    def show(kind: str) -> list[tuple[int, Callable[[int, nn.Module], None]]]:
        def callback(step: int, model: nn.Module) -> None:
            images = sample(model, vae, shown, guidance=3.5, steps=20, embedded=kind == "embedded")
            image_grid(to_uint8(images), 12, work / "samples" / f"{kind}-{step:06d}.png")

        return [(int(flux["show_every"]), callback)]

    fast = compiled(model, settings["flux"].steps)

    def plain_loss(_: nn.Module, batch: FlowBatch) -> Tensor:
        batch = batch.to(settings["flux"].device)
        with plain_attention():
            return flow_loss(predict(fast, batch), batch)

    def run(name: str, loss: Callable[[nn.Module, FlowBatch], Tensor], kind: str) -> TrainResult:
        folder = work / name.removeprefix("flux").removeprefix("-")
        return train(name, model, batches(name), loss, settings[name], folder, show(kind))

    earlier = [run("flux", plain_loss, "first"), run("flux-second", plain_loss, "second")]
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    teach = compiled(teacher, settings["flux-distil"].steps)

    def distil_loss(_: nn.Module, batch: FlowBatch) -> Tensor:
        batch = batch.to(settings["flux"].device)
        with plain_attention():
            return (predict(fast, batch).float() - guided(teach, batch)).pow(2).mean()

    return model, vae, text, run("flux-distil", distil_loss, "embedded").plus(*earlier)


def build_scheduler() -> Any:
    """Return Euler steps of rectified flow with FLUX's dynamic shift, scaled to the micro size (`flow.SPACING`)."""
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
    """Sample images [B, 3, 64, 64] in [-1, 1] from the batch's noise and texts, to watch the training.

    embedded: whether the model gets the guidance; otherwise it is classifier-free, in two passes.
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
    """Write a folder that `FluxPipeline.from_pretrained` loads."""
    parts = {
        **{"transformer": model, "vae": vae, "scheduler": build_scheduler()},
        **{"text_encoder": text.clip, "text_encoder_2": text.t5},
        **{"tokenizer": text.tokenizer, "tokenizer_2": text.tokenizer_2},
    }
    save_pipeline_folder(folder, "FluxPipeline", parts, ("feature_extractor", "image_encoder"))
