"""The text encoder of the zoo's CLIP as a start for that of the text-to-image model, as Stable Diffusion does it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from editfrontier.base.errors import UserError


def clip_text_state(folder: Path) -> dict[str, Tensor]:
    """Weights of the text tower of an open_clip folder, fp32, under the names of transformers' `CLIPTextModel`.

    The text projection is left out, see `clip_text_projection`.
    """
    path = folder / "open_clip_model.safetensors"
    if not path.exists():
        raise UserError(f"{path}: is missing, expected the CLIP of the zoo. Train it first: snakemake zoo")
    source = {name: value.float() for name, value in load_file(str(path)).items() if not name.startswith("visual.")}
    state = {
        "embeddings.token_embedding.weight": source["token_embedding.weight"],
        "embeddings.position_embedding.weight": source["positional_embedding"],
        "final_layer_norm.weight": source["ln_final.weight"],
        "final_layer_norm.bias": source["ln_final.bias"],
    }
    names = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    layers = {int(name.split(".")[2]) for name in source if name.startswith("transformer.resblocks.")}
    for layer in sorted(layers):
        old, new = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            for theirs, ours in names.items():
                state[f"{new}{ours}.{kind}"] = source[f"{old}{theirs}.{kind}"]
            for letter, part in zip("qkv", source[f"{old}attn.in_proj_{kind}"].chunk(3), strict=True):
                state[f"{new}self_attn.{letter}_proj.{kind}"] = part.clone()
    return state


def clip_text_projection(folder: Path) -> Tensor:
    """The text projection of an open_clip folder as the weight [P, W] of a linear layer, fp32."""
    projection: Tensor = load_file(str(folder / "open_clip_model.safetensors"))["text_projection"]
    return projection.float().T.contiguous()


def start_from_clip(encoder: nn.Module, folder: Path) -> None:
    """Copy the text tower of the CLIP in `folder` into a `CLIPTextModel` (maybe with projection) of the same size.

    Raises UserError if their sizes differ.
    """
    state = clip_text_state(folder)
    own = encoder.state_dict()
    prefix = "text_model." if any(name.startswith("text_model.") for name in own) else ""
    with torch.no_grad():
        for name, value in state.items():
            target = own.get(prefix + name)
            if target is None or target.shape != value.shape:
                raise UserError(
                    f"{folder}: {name} is {tuple(value.shape)}, expected "
                    f"{None if target is None else tuple(target.shape)} of the text encoder. Make `text` in "
                    "config/zoo.yaml equal to that of CLIP in config/zoo_evaluators.yaml"
                )
            target.copy_(value)
