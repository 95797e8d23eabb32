"""From a config to a shipped folder: train one generator, write its files and its provenance."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editfrontier.models import weights_sha256
from editfrontier.zoo.data import DataSettings, load_data
from editfrontier.zoo.loop import TrainResult
from editfrontier.zoo.provenance import half_precision, write_provenance

log = logging.getLogger(__name__)

AUTOENCODERS = ("autoencoder", "flow-autoencoder")


def build(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
    """Train `name` (resuming from `work`) and write its folder `out`; the provenance comes last.

    models: folder that holds `autoencoder`, and `text-to-image` for the two editing models.
    """
    if name in AUTOENCODERS:
        _build_autoencoder(name, config, out, work)
    else:
        _build_diffusion(name, config, out, models, work)


def _build_autoencoder(name: str, config: Mapping[str, Any], out: Path, work: Path) -> None:
    from editfrontier.zoo.autoencoder import train_autoencoder

    data = load_data(DataSettings(**config["data"]), work.parent / "data")
    model: Any
    model, result = train_autoencoder(name, config[name], data, work)
    with half_precision(model):
        model.save_pretrained(str(out), safe_serialization=True)
    _provenance(name, config, out, result)


def _build_diffusion(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
    from editfrontier.zoo.diffusion import save_pipeline
    from editfrontier.zoo.train_diffusion import train_diffusion

    weights = work / "weights.pt"
    base = None
    if name != "text-to-image":
        base = base_weights(models / "text-to-image")
    model, vae, tokenizer, result = train_diffusion(name, config, models / "autoencoder", base, work)
    partial = weights.with_suffix(".partial")
    torch.save(result.model_state, partial)
    os.replace(partial, weights)
    model.cpu()
    save_pipeline(name, model, vae, tokenizer, out)
    share_autoencoder(out, models / "autoencoder")
    started: dict[str, Any] = {}
    if base is not None:
        origin = {"name": "text-to-image", "weights_sha256": weights_sha256(models / "text-to-image")}
        started = {"fine_tuned_from": origin}
    elif "text_encoder" in config[name].get("second", {}):
        clip = config[name]["second"]["text_encoder"]
        started = {"text_encoder_from": {"name": clip, "weights_sha256": weights_sha256(models / clip)}}
    _provenance(name, config, out, result, **started)


def share_autoencoder(folder: Path, autoencoder: Path) -> None:
    """Link the autoencoder's weights in a pipeline folder to those of the zoo, if they are equal: they ship once.

    The link is relative, so that both folders can be copied together.
    """
    own, shared = (part / "diffusion_pytorch_model.safetensors" for part in (folder / "vae", autoencoder))
    if not own.is_symlink() and shared.is_file() and own.read_bytes() == shared.read_bytes():
        own.unlink()
        own.symlink_to(os.path.relpath(shared.resolve(), own.parent.resolve()))


def base_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of a shipped text-to-image folder under the names of `TextConditioned`, fp32."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(str(folder / "unet"), dtype=torch.float32)
    encoder = CLIPTextModel.from_pretrained(str(folder / "text_encoder"), dtype=torch.float32)
    state = {f"unet.{key}": value for key, value in unet.state_dict().items()}
    return {**state, **{f"text_encoder.{key}": value for key, value in encoder.state_dict().items()}}


def _provenance(name: str, config: Mapping[str, Any], out: Path, result: TrainResult, **extra: Any) -> None:
    used = {"data": config["data"], name: config[name]}
    if name in ("inpainting", "instruct-pix2pix"):
        used["text-to-image"] = {key: config["text-to-image"][key] for key in ("unet", "text", "tokens")}
    write_provenance(out, name, used, config["data"]["seed"], result, {}, **extra)
    log.info("%s: written to %s", name, out)
