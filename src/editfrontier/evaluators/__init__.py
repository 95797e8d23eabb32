"""The networks that judge images: loading and inference, one class each.

Images are uint8 [B, 3, H, W]; everything runs without gradients, in eval mode, in batches of BATCH, deterministically.
The names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

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
}

__all__ = [
    "AttributeEvaluator",
    "AutoencoderEvaluator",
    "ClipEvaluator",
    "DiftEvaluator",
    "FeatureEvaluator",
    "IdentityEvaluator",
    "LpipsEvaluator",
    "QualityEvaluator",
    "SegmentationEvaluator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
