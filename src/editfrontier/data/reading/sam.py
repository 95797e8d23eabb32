"""Automatic masks by SAM (Kirillov et al. 2023) and SAM 2 (Ravi et al. 2024), through transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from editfrontier.base.errors import UserError
from editfrontier.base.precision import choose_device
from editfrontier.data.framing import Mask, Pixels
from editfrontier.data.reading.automatic import Box, Segmenter
from editfrontier.models.files import named_if_broken

CLASSES = {
    "sam": ("SamModel", "SamProcessor"),
    "sam_hq": ("SamHQModel", "SamHQProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "sam2_video": ("Sam2Model", "Sam2Processor"),  # the type of the hub's sam2.1-hiera-*
}
"""`model_type` of a checkpoint -> classes of transformers."""


def load_segmenter(folder: Path, device: str = "auto") -> Segmenter:
    """Load a checkpoint.

    Args:
        folder: folder with config.json, model.safetensors and the config of the processor, as on the hub.
        device: "cpu", "cuda", or "auto" = a GPU if there is one.

    Returns:
        (image, boxes) -> masks in the size of the image, one a box ("multimask_output" off, as the authors advise for
        prompts that are not ambiguous).

    Raises:
        UserError: the folder is no such checkpoint, or has only pickled weights.
    """
    place = torch.device(choose_device(device))
    with named_if_broken(folder):
        model, processor = _read(folder)
    model = model.eval().to(place)

    @torch.inference_mode()
    def segment(image: Pixels, boxes: Sequence[Box]) -> list[Mask]:
        inputs = processor(images=[image.copy()], input_boxes=[[list(box) for box in boxes]], return_tensors="pt")
        if "pixel_values" in inputs and inputs["input_boxes"].dtype == torch.float64:
            inputs["input_boxes"] = inputs["input_boxes"].float()
        moved = {name: value.to(place) for name, value in inputs.items() if name in ("pixel_values", "input_boxes")}
        outputs = model(**moved, multimask_output=False)
        sizes = [inputs["original_sizes"]]
        if "reshaped_input_sizes" in inputs:
            sizes.append(inputs["reshaped_input_sizes"])
        (masks,) = processor.image_processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)
        return list(np.asarray(masks[:, 0], dtype=np.bool_))

    return segment


def _kind(folder: Path) -> str:
    file = folder / "config.json"
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        raise UserError(
            f"{file}: not readable, expected a checkpoint of SAM or SAM 2 in the format of transformers, for example "
            "facebook/sam-vit-huge or facebook/sam2.1-hiera-large. Download one, or correct the option `sam`."
        ) from None
    if kind not in CLASSES:
        raise UserError(
            f"{file}: is of the type {kind!r}, expected one of {', '.join(CLASSES)}. Give another checkpoint by `sam`."
        )
    return str(kind)


def _read(folder: Path) -> tuple[Any, Any]:
    """Read the network and its processor."""
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    kind = _kind(folder)
    model_class, processor_class = (getattr(transformers, name) for name in CLASSES[kind])
    try:
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        processor = processor_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{folder}: not a readable checkpoint of SAM ({problem}). Download the whole folder "
            "again, with model.safetensors and the config of its processor."
        ) from None
    if lacking := sorted(report["missing_keys"]):
        # transformers fills them with random numbers, and the masks would be random too.
        raise UserError(
            f"{folder}: its weights lack {lacking[0]} (and {len(lacking) - 1} others). They are truncated or of "
            "another model: download the whole folder again."
        )
    return model, processor
