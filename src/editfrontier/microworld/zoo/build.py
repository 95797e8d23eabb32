"""From a config to a shipped folder: train one generator, write its files and its provenance."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
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

AUTOENCODERS = ("autoencoder", "flow-autoencoder")
ULTRAEDIT = ("ultraedit-freeform", "ultraedit-mask")


def build(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
    """Train `name` (resuming from `work`) and write its folder `out`; the provenance comes last.

    models: folder that holds the models that this one is trained on (ZOO_BASE in rules/zoo.smk).
    """
    if name in AUTOENCODERS:
        _build_autoencoder(name, config, out, work)
    elif name == "t5":
        _build_t5(config, out, work)
    elif name == "flux":
        _build_flux(config, out, models, work)
    elif name in ULTRAEDIT:
        _build_ultraedit(name, config, out, models, work)
    else:
        _build_diffusion(name, config, out, models, work)


def _build_autoencoder(name: str, config: Mapping[str, Any], out: Path, work: Path) -> None:
    data = load_data(DataSettings(**config["data"]), work.parent / "data")
    model: Any
    model, result = train_autoencoder(name, config[name], data, work)
    with half_precision(model):
        model.save_pretrained(str(out), safe_serialization=True)
    _provenance(name, config, out, result)


def _build_t5(config: Mapping[str, Any], out: Path, work: Path) -> None:
    encoder: Any
    encoder, tokenizer, result, scores = train_t5(config, work)
    with half_precision(encoder):
        encoder.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    _provenance("t5", config, out, result, scores)


def _build_flux(config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
    model, vae, text, result = train_flux(config, models, work)
    save_flux(model, vae, text, out)
    share_autoencoder(out, models / "flow-autoencoder")
    share_weights(out / "text_encoder_2", models / "t5", "model.safetensors")
    _provenance("flux", config, out, result, frozen_parts=_frozen_parts(models))


def _frozen_parts(models: Path) -> list[dict[str, str]]:
    names = ("flow-autoencoder", "clip", "t5")
    return [{"name": name, "weights_sha256": weights_sha256(models / name)} for name in names]


def _build_ultraedit(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
    model, vae, text, result = train_ultraedit(name, config, models, work)
    save_ultraedit(model, vae, text, out)
    share_autoencoder(out, models / "flow-autoencoder")
    share_weights(out / "text_encoder_3", models / "t5", "model.safetensors")
    free_form = models / "ultraedit-freeform"
    started: dict[str, Any] = {}
    if name == "ultraedit-mask":
        share_weights(out / "text_encoder", free_form / "text_encoder", "model.safetensors")
        started = {"fine_tuned_from": {"name": free_form.name, "weights_sha256": weights_sha256(free_form)}}
    share_weights(out / "text_encoder_2", out / "text_encoder", "model.safetensors")
    _provenance(name, config, out, result, frozen_parts=_frozen_parts(models), **started)


def _build_diffusion(name: str, config: Mapping[str, Any], out: Path, models: Path, work: Path) -> None:
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
    share_weights(folder / "vae", autoencoder)


def share_weights(part: Path, original: Path, name: str = "diffusion_pytorch_model.safetensors") -> None:
    """Link the file `name` in the folder `part` to that in `original`, if they are equal. The link is relative."""
    own, shared = part / name, original / name
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


def _provenance(
    name: str,
    config: Mapping[str, Any],
    out: Path,
    result: TrainResult,
    scores: Mapping[str, float] | None = None,
    **extra: Any,
) -> None:
    used = {"data": config["data"], name: config[name]}
    if name in ("inpainting", "instruct-pix2pix"):
        used["text-to-image"] = {key: config["text-to-image"][key] for key in ("unet", "text", "tokens")}
    if name == "ultraedit-mask":
        used["ultraedit-freeform"] = config["ultraedit-freeform"]
    write_provenance(out, name, used, config["data"]["seed"], result, scores or {}, **extra)
    log.info("%s: written to %s", name, out)
