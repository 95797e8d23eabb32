"""From a config to a shipped folder: train a generator, write its files and its provenance."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editfrontier.microworld.zoo.autoencoder import train_autoencoder
from editfrontier.microworld.zoo.data import DataSettings, load_data
from editfrontier.microworld.zoo.diffusion import save_pipeline
from editfrontier.microworld.zoo.flux import save_flux, train_flux
from editfrontier.microworld.zoo.loop import TrainResult
from editfrontier.microworld.zoo.provenance import half_precision, write_provenance
from editfrontier.microworld.zoo.t5 import train_t5
from editfrontier.microworld.zoo.train_diffusion import train_diffusion
from editfrontier.microworld.zoo.ultraedit import save_ultraedit, train_ultraedit
from editfrontier.models.loading import weights_sha256

log = logging.getLogger(__name__)

Built = tuple[TrainResult, dict[str, Any]]
"""The result of a training, and further entries of the provenance."""

AUTOENCODERS = ("autoencoder", "flow-autoencoder")
FROZEN_PARTS = ("flow-autoencoder", "clip", "t5")
ULTRAEDIT = ("ultraedit-freeform", "ultraedit-mask")


def build(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
    """Train `name` (resuming from `work`) and write its folder `out`; the provenance comes last.

    models: folder that holds the models that this one is trained on (ZOO_BASE in rules/zoo.smk).
    """
    if name in AUTOENCODERS:
        builder: Callable[[str, Mapping[str, Any], Path, Path, Path], Built] = _autoencoder
    elif name == "t5":
        builder = _t5
    elif name == "flux":
        builder = _flux
    else:
        builder = _ultraedit if name in ULTRAEDIT else _diffusion
    result, extra = builder(name, config, out, models, work)
    used = {"data": config["data"], name: config[name]}
    if name in ("inpainting", "instruct-pix2pix"):
        used["text-to-image"] = {key: config["text-to-image"][key] for key in ("unet", "text", "tokens")}
    if name == "ultraedit-mask":
        used["ultraedit-freeform"] = config["ultraedit-freeform"]
    write_provenance(out, name, used, config["data"]["seed"], result, extra.pop("scores", {}), **extra)
    log.info("%s: written to %s", name, out)


def _autoencoder(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> Built:
    data = load_data(DataSettings(**config["data"]), work.parent / "data")
    model: Any
    model, result = train_autoencoder(name, config[name], data, work)
    with half_precision(model):
        model.save_pretrained(str(out), safe_serialization=True)
    return result, {}


def _t5(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> Built:
    encoder: Any
    encoder, tokenizer, result, scores = train_t5(config, work)
    with half_precision(encoder):
        encoder.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    return result, {"scores": scores}


def _flux(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> Built:
    model, vae, text, result = train_flux(config, models, work)
    save_flux(model, vae, text, out)
    share_weights(out / "vae", models / "flow-autoencoder")
    share_weights(out / "text_encoder_2", models / "t5", "model.safetensors")
    return result, {"frozen_parts": [_origin(models, part) for part in FROZEN_PARTS]}


def _ultraedit(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> Built:
    model, vae, text, result = train_ultraedit(name, config, models, work)
    save_ultraedit(model, vae, text, out)
    share_weights(out / "vae", models / "flow-autoencoder")
    share_weights(out / "text_encoder_3", models / "t5", "model.safetensors")
    extra: dict[str, Any] = {"frozen_parts": [_origin(models, part) for part in FROZEN_PARTS]}
    if name == "ultraedit-mask":
        share_weights(out / "text_encoder", models / "ultraedit-freeform" / "text_encoder", "model.safetensors")
        extra["fine_tuned_from"] = _origin(models, "ultraedit-freeform")
    share_weights(out / "text_encoder_2", out / "text_encoder", "model.safetensors")
    return result, extra


def _diffusion(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> Built:
    base = None if name == "text-to-image" else base_weights(models / "text-to-image")
    model, vae, tokenizer, result = train_diffusion(name, config, models / "autoencoder", base, work)
    save_pipeline(name, model.cpu(), vae, tokenizer, out)
    share_weights(out / "vae", models / "autoencoder")
    if base is not None:
        return result, {"fine_tuned_from": _origin(models, "text-to-image")}
    clip = config[name].get("second", {}).get("text_encoder")
    return result, {"text_encoder_from": _origin(models, clip)} if clip else {}


def _origin(models: Path, name: str) -> dict[str, str]:
    return {"name": name, "weights_sha256": weights_sha256(models / name)}


def share_weights(part: Path, original: Path, name: str = "diffusion_pytorch_model.safetensors") -> None:
    """Link the file `name` in the folder `part` to the file in `original` if both are equal, so that it ships once.

    The link is relative, so that both folders can be copied together.
    """
    file, shared = part / name, original / name
    if not file.is_symlink() and shared.is_file() and file.read_bytes() == shared.read_bytes():
        file.unlink()
        file.symlink_to(os.path.relpath(shared.resolve(), file.parent.resolve()))


def base_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a shipped text-to-image folder under the names of `TextConditioned`, fp32."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(str(folder / "unet"), dtype=torch.float32)
    encoder = CLIPTextModel.from_pretrained(str(folder / "text_encoder"), dtype=torch.float32)
    state = {f"unet.{key}": value for key, value in unet.state_dict().items()}
    return {**state, **{f"text_encoder.{key}": value for key, value in encoder.state_dict().items()}}
