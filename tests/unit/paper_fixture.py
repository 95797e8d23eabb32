"""The models and evaluators of the paper's config as small checkpoints with random weights in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from editfrontier.models.loading import file_sha256
from hub_layout import KIND_OF, write_checkpoint

MODELS = {
    "text_to_image": "sd2_base",
    "inpainting": "sd2_inpainting",
    "instruct_pix2pix": "instruct_pix2pix",
    "flux": "flux",
    "ultraedit_freeform": "ultraedit_freeform",
    "ultraedit_mask": "ultraedit_mask",
}
"""Kind of a model -> name of its checkpoint in `hub_layout`."""


def images(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Random images, uint8 [count, 3, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def folder_of(path: Path, config: dict[str, Any], **files: Any) -> Path:
    """Write a folder with config.json and pickled weights; keyword = file name without .pth."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        torch.save(content, path / f"{name}.pth")
    return path


def write_models(folder: Path) -> dict[str, dict[str, Any]]:
    """Write a checkpoint of each kind; return the `models` of a config."""
    for kind, name in MODELS.items():
        assert KIND_OF.get(name, name) == kind
    return {kind: {"path": str(write_checkpoint(name, folder / name)), "size": 128} for kind, name in MODELS.items()}


def write_evaluators(folder: Path, text_to_image: Path, quality: bool = False) -> dict[str, dict[str, Any]]:
    """Write a checkpoint of each evaluator; return the `evaluators` of a config.

    Networks that have one published size are as large as that: about 350 MB. Their files are links to others that are
    named by their checksums, as in the cache of the hub. No face detector can be made up, so faces are taken for
    aligned. quality: whether MUSIQ is there, which needs pyiqa.
    """
    import torchvision

    from editfrontier.scoring.evaluators.arcface import ArcFaceNet
    from editfrontier.scoring.evaluators.celeba_attributes import CELEBA_NAMES
    from editfrontier.scoring.evaluators.inception import build_inception

    torch.manual_seed(0)
    networks: dict[str, tuple[torch.nn.Module, dict[str, str]]] = {
        "identity": (ArcFaceNet(), {"architecture": "arcface_ir_se50", "detector": "aligned"}),
        "attributes": (
            torchvision.models.resnet50(weights=None, num_classes=2 * len(CELEBA_NAMES)),
            {"architecture": "resnet50_attributes"},
        ),
        "features": (build_inception(), {"architecture": "fid_inception", "preprocessing": "legacy_tensorflow"}),
        "lpips": (
            torchvision.models.alexnet(weights=None),
            {"architecture": "lpips_torchvision", "net": "alex", "trunk": "weights.pth"},
        ),
    }
    if quality:
        from pyiqa.archs.musiq_arch import MUSIQ

        networks["quality"] = (MUSIQ(pretrained=False), {"architecture": "musiq"})
    for kind, (network, config) in networks.items():
        state = network.state_dict()
        if kind == "lpips":  # nothing reads the classifier, which holds most of the weights
            state |= {name: value[:1, ...].clone() for name, value in state.items() if name.startswith("classifier.")}
        write_blob(state, folder / "blobs", folder / kind / "weights.pth")
        (folder / kind / "config.json").write_text(json.dumps({"weights": "weights.pth", **config}))
    write_clip(folder / "clip")
    write_vqa(folder / "vqa")
    write_dino(folder / "dino")
    kinds = (*networks, "clip", "vqa", "dino")
    entries: dict[str, dict[str, Any]] = {kind: {"path": str(folder / kind)} for kind in kinds}
    for kind in ("dift", "segmentation"):
        entries[kind] = {"path": str(text_to_image)}
    without_weights = Path(__file__).resolve().parents[2] / "resources/pyiqa"
    entries["full_reference"] = {"path": str(without_weights)}
    return entries | {"autoencoder": {"path": str(text_to_image), "subfolder": "vae"}}


def write_dino(folder: Path) -> Path:
    """Write a small vision transformer with the files of the published repository, whose weights are a pickle."""
    from safetensors.torch import load_file
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(**sizes, image_size=28, patch_size=4)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    norm = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(norm))
    return folder


def write_blob(state: dict[str, torch.Tensor], blobs: Path, link: Path) -> None:
    """Write weights to a file of `blobs` that its checksum names, and a link to it."""
    blobs.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, blobs / "new")
    blob = (blobs / "new").rename(blobs / file_sha256(blobs / "new"))
    link.symlink_to(blob.resolve())


def write_clip(folder: Path) -> Path:
    """Write a tiny CLIP as a hub repository of open_clip, whose config does not speak of its activation."""
    import open_clip
    from safetensors.torch import save_file

    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_cfg": model_cfg, "preprocess_cfg": {"mean": mean, "std": std}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.CLIP(**model_cfg)
    for parameter in model.parameters():
        parameter.data.mul_(4)  # signals large enough for activations to differ
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def write_vqa(folder: Path, **text: Any) -> Path:
    """Write a tiny BLIP for questions as the hub has it; `text`: changes of its text_config."""
    from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters), *'?",.']
    vocabulary += ["yes", "no", "does", "this", "image", "show", "a", "of", "red", "blue", "ball", "box", "portrait"]
    vocabulary = list(dict.fromkeys(vocabulary))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = BertTokenizer(vocab={word: row for row, word in enumerate(vocabulary)}, model_max_length=512)
    tokenizer.save_pretrained(str(folder))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    # [DEC] and [ENC] follow the tokenizer's words, as 30522 and 30523 do in the published model.
    words = {"vocab_size": len(vocabulary) + 2, "bos_token_id": len(vocabulary), "sep_token_id": 3, "pad_token_id": 0}
    torch.manual_seed(0)
    model = BlipForQuestionAnswering(
        BlipConfig(
            text_config={**size, **words, "projection_dim": 32, **text},
            vision_config={**size, "image_size": 48, "patch_size": 16, "initializer_range": 0.02},
        )
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(6)  # signals large enough for answers to differ
    model.save_pretrained(str(folder))
    content = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "BlipImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": 48, "width": 48},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder
