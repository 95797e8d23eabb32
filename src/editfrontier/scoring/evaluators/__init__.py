"""The networks that judge images: loading and inference, one class each.

Images are uint8 [B, 3, H, W]; everything runs without gradients, in eval mode, in batches of BATCH, deterministically.
The names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from editfrontier.base.precision import full_float32
from editfrontier.models.files import named_if_broken
from editfrontier.models.registry import entry_of

_HOME = {
    "ClipEvaluator": "clip",
    "IdentityEvaluator": "identity",
    "AttributeEvaluator": "attributes",
    "FeatureEvaluator": "features",
    "LpipsEvaluator": "lpips",
    "QualityEvaluator": "quality",
    "SegmentationEvaluator": "segmentation",
    "DiftEvaluator": "dift",
    "AutoencoderEvaluator": "autoencoder",
    "ArcFaceEvaluator": "arcface",
    "CelebAttributeEvaluator": "celeba_attributes",
    "InceptionEvaluator": "inception",
    "MusiqEvaluator": "musiq",
    "PropagationEvaluator": "propagation",
    "VqaEvaluator": "vqa",
    "DinoEvaluator": "dino",
}

PUBLISHED = {
    "arcface_ir_se50": "ArcFaceEvaluator",
    "resnet50_attributes": "CelebAttributeEvaluator",
    "fid_inception": "InceptionEvaluator",
    "musiq": "MusiqEvaluator",
}
"""What `architecture` in a folder's config.json may say beside the networks of the micro scale -> class for it.

The other published networks (CLIP, LPIPS, diffusion features, autoencoders) are read by the classes of the micro scale.
"""

__all__ = [
    "ArcFaceEvaluator",
    "AttributeEvaluator",
    "AutoencoderEvaluator",
    "CelebAttributeEvaluator",
    "ClipEvaluator",
    "DiftEvaluator",
    "DinoEvaluator",
    "FeatureEvaluator",
    "IdentityEvaluator",
    "InceptionEvaluator",
    "LpipsEvaluator",
    "MusiqEvaluator",
    "PropagationEvaluator",
    "QualityEvaluator",
    "SegmentationEvaluator",
    "VqaEvaluator",
    "load_evaluator",
]


def load_evaluator(usual: str, reference: str | Path, device: str = "cpu") -> Any:
    """Load an evaluator; the folder says which class reads it. From then on convolutions keep float32.

    Args:
        usual: name of the class of its kind at the micro scale.
        reference: folder, or a text of `model_registry`.
        device: where it runs.

    Raises:
        UserError: the folder is missing or holds another kind of network, or its files cannot be read.
    """
    from editfrontier.models.loading import resolve_model

    entry, folder = entry_of(reference), resolve_model(reference)
    name = PUBLISHED.get(_architecture(folder), usual)
    if usual == "SegmentationEvaluator" and (folder / "model_index.json").is_file():
        name = "PropagationEvaluator"  # by the features of a diffusion model
    if usual == "DinoEvaluator" and _architecture(folder) == "features":
        name = "FeatureEvaluator"  # the micro scale has no network that was trained without labels
    full_float32()
    options = dict(entry.options) if entry else {}
    with named_if_broken(folder):
        return __getattr__(name).load(folder, device, **options)


def _architecture(folder: Path) -> str:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # the class that reads the folder says what is wrong
    return str(content.get("architecture", "")) if isinstance(content, dict) else ""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
