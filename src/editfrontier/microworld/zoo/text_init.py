"""The text tower of the zoo's CLIP as a `CLIPTextModel` of transformers: to start from, or frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from editfrontier.base.errors import UserError
from editfrontier.data.language import DEFAULT_PATH
from editfrontier.microworld.zoo.tokenizer import build_tokenizer, language_words

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def clip_text_state(folder: Path) -> dict[str, Tensor]:
    """Return the weights of an open_clip text tower, fp32, under the names of transformers' `CLIPTextModel`.

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
    """Return the text projection of an open_clip folder as the weight [P, W] of a linear layer, fp32."""
    projection: Tensor = load_file(str(folder / "open_clip_model.safetensors"))["text_projection"]
    return projection.float().T.contiguous()


def start_from_clip(encoder: nn.Module, folder: Path) -> None:
    """Copy the text tower of the CLIP in `folder` into a `CLIPTextModel` (maybe with projection) of the same size.

    Raises:
        UserError: the sizes differ.
    """
    state, targets = clip_text_state(folder), encoder.state_dict()
    prefix = "text_model." if any(name.startswith("text_model.") for name in targets) else ""
    with torch.no_grad():
        for name, value in state.items():
            target = targets.get(prefix + name)
            if target is None or target.shape != value.shape:
                raise UserError(
                    f"{folder}: {name} is {tuple(value.shape)}, expected "
                    f"{None if target is None else tuple(target.shape)} of the text encoder. Make `text` in "
                    "config/zoo.yaml equal to that of CLIP in config/zoo_evaluators.yaml"
                )
            target.copy_(value)


def frozen_clip(folder: Path, tokens: int, kind: type[Any]) -> tuple[Any, CLIPTokenizer]:
    """Return the text tower of the open_clip model in `folder`, frozen, and the zoo's tokenizer.

    Args:
        folder: folder of the zoo's CLIP.
        tokens: tokens of a text with its start and end token.
        kind: `CLIPTextModel` or `CLIPTextModelWithProjection` of transformers.
    """
    from transformers import CLIPTextConfig

    tokenizer = build_tokenizer(language_words(DEFAULT_PATH), tokens)
    model = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    text = model["text_cfg"]
    config = CLIPTextConfig(
        vocab_size=text["vocab_size"],
        hidden_size=text["width"],
        intermediate_size=4 * text["width"],
        projection_dim=model["embed_dim"],
        num_hidden_layers=text["layers"],
        num_attention_heads=text["heads"],
        max_position_embeddings=text["context_length"],
        hidden_act="gelu",  # what open_clip trained it with; the default of transformers differs
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = kind(config)
    start_from_clip(encoder, folder)
    if hasattr(encoder, "text_projection"):
        with torch.no_grad():
            encoder.text_projection.weight.copy_(clip_text_projection(folder))
    return encoder.eval().requires_grad_(False), tokenizer
