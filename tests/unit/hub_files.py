"""Files of checkpoints in the layout of the published ones: configs, weights in shards, indexes, tokenizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tiny_pipelines import tiny_tokenizer


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2))


def write_weights(path: Path, tensors: Mapping[str, Tensor], shards: int = 1) -> None:
    """Write weights as one file, or as shards with an index, as the published files of several gigabytes are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    copies = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    if shards == 1:
        save_file(copies, path, metadata={"format": "pt"})
        return
    where = {name: f"{path.stem}-{i % shards + 1:05d}-of-{shards:05d}.safetensors" for i, name in enumerate(copies)}
    for file in set(where.values()):
        part = {name: tensor for name, tensor in copies.items() if where[name] == file}
        save_file(part, path.with_name(file), metadata={"format": "pt"})
    size = sum(tensor.numel() * tensor.element_size() for tensor in copies.values())
    write_json(path.with_name(f"{path.name}.index.json"), {"metadata": {"total_size": size}, "weight_map": where})


def write_network(
    folder: Path,
    network_class: Any,
    config: Mapping[str, Any],
    version: str,
    renames: Mapping[str, str] | None = None,
    shards: int = 1,
) -> None:
    """Write a network with exactly the given config; renames: part of a weight's name -> what the file calls it."""
    tensors = {}
    for name, tensor in network_class.from_config(dict(config)).state_dict().items():
        for new, old in (renames or {}).items():
            name = name.replace(new, old)
        tensors[name] = tensor
    write_json(folder / "config.json", {"_class_name": network_class.__name__, "_diffusers_version": version, **config})
    write_weights(folder / "diffusion_pytorch_model.safetensors", tensors, shards)


def write_index(folder: Path, pipeline: str, version: str, components: Mapping[str, str | None], **more: Any) -> None:
    """Write model_index.json; components: name -> "library Class", None for an entry [null, null]."""
    entries = {name: value.split() if value else [None, None] for name, value in components.items()}
    write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": version, **entries, **more})


def write_clip_tokenizer(folder: Path, pad: str = "<|endoftext|>") -> None:
    """Write the files of the older tokenizers: vocab.json and merges.txt, no tokenizer.json."""
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(folder / "vocab.json", tiny_tokenizer().get_vocab())
    (folder / "merges.txt").write_text("#version: 0.2\n")
    write_json(folder / "special_tokens_map.json", {**ends, "pad_token": pad})
    write_json(
        folder / "tokenizer_config.json",
        {
            **ends,
            "pad_token": "<|endoftext|>",  # whatever special_tokens_map.json says, which goes before it
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": 77,
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def write_t5_tokenizer(folder: Path) -> None:
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789,.'-"]
    T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=512).save_pretrained(folder)
    tokens = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", tokens)
    write_json(folder / "tokenizer_config.json", {**tokens, "model_max_length": 512, "tokenizer_class": "T5Tokenizer"})
