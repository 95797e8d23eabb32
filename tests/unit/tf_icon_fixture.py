"""What the tests of TF-ICON share: a batch with exemplars, masks of half an image, and one way to run an editor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from editfrontier.diffusion import sampling
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from tiny_pipelines import SIZE, fresh_generators, tiny_batch

TOLERANCE = 1e-4
STEPS = 20


def composed_batch(count: int = 2) -> EditBatch:
    """The tiny batch, each case with the region of another image as its exemplar, elsewhere and of another size."""
    batch = tiny_batch(count)
    masks = torch.zeros(count, 1, SIZE, SIZE)
    masks[:, :, 4:12, 4:20] = 1.0
    return replace(batch, exemplars=tiny_batch(count, seed=9).images, exemplar_masks=masks)


def run(model: Any, batch: EditBatch, name: str = "tf_icon", **overrides: Any) -> tuple[Tensor, float, int]:
    """(images, controlled attention layers, forwards a case)."""
    editor, counter = get_editor(name), sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    fresh = replace(batch, generators=fresh_generators(len(batch.images)))
    made = editor.edit(model, fresh, make_params(editor, overrides))
    handle.remove()
    assert isinstance(made, Measured)
    return made.images, made.measures["attention_layers"][0], counter.samples // len(batch.images)


def halves(count: int = 1) -> tuple[Tensor, Tensor]:
    """(foreground, background) of a grid of 4 x 4 cells of 8 pixels: a corner and all but that half."""
    foreground, background = torch.zeros(2, count, 1, SIZE, SIZE)
    foreground[:, :, :16, :8] = 1.0
    background[:, :, :, 16:] = 1.0
    return foreground, background
