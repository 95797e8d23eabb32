"""Signatures of editors, metrics and evaluators name shapes, and every unit test that runs one checks them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import partial
from typing import get_type_hints

import pytest
import torch

from editfrontier.editing import editors
from editfrontier.editing.editor import EditBatch, Measured
from editfrontier.scoring import evaluators
from editfrontier.scoring.metrics import METRICS, background, truth
from shape_checks import instrument_loaded, namespace, shapes_of

EDITORS = sorted(module.name for module in pkgutil.iter_modules(editors.__path__))
EVALUATORS = sorted(module.name for module in pkgutil.iter_modules(evaluators.__path__))


@pytest.mark.parametrize("name", EDITORS)
def test_an_editor_says_what_it_returns(name: str) -> None:
    module = importlib.import_module(f"{editors.__name__}.{name}")
    names = namespace(module)
    assert get_type_hints(module.EDITOR.edit, names)["return"] is Measured or "return" in shapes_of(module.edit, names)


@pytest.mark.parametrize("name", EVALUATORS)
def test_an_evaluator_says_what_it_takes_and_returns(name: str) -> None:
    module = importlib.import_module(f"{evaluators.__name__}.{name}")
    names = namespace(module)
    classes = [v for k, v in vars(module).items() if k.endswith("Evaluator") and v.__module__ == module.__name__]
    assert classes
    for cls in classes:
        methods = [value for key, value in vars(cls).items() if inspect.isfunction(value) and key[0] != "_"]
        assert any("return" in shapes_of(method, names) for method in methods), cls.__name__


def test_a_metric_says_what_it_returns() -> None:
    for metric in METRICS.values():
        function = metric.compute.func if isinstance(metric.compute, partial) else metric.compute
        if function is not None and function.__name__ != "<lambda>":  # lambdas call formulas, which have shapes
            names = namespace(importlib.import_module(function.__module__))
            assert "return" in shapes_of(function, names), metric.name


def test_a_wrong_shape_is_seen() -> None:
    instrument_loaded()
    images, grey = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert truth.l1_distance(images, images).shape == (2,)
    with pytest.raises(TypeError, match=r"l1_distance, b: is torch.uint8 \[2, 1, 8, 8\], expected"):
        truth.l1_distance(images, grey)
    with pytest.raises(TypeError, match=r"fill_inside, edited: is torch.uint8 \[1, 3, 8, 8\]"):  # one batch, two sizes
        background.fill_inside(images, images[:1], torch.ones(2, 1, 8, 8, dtype=torch.bool))
    texts = {name: ["a"] * 2 for name in ("case_ids", "source_captions", "target_captions", "instructions")}
    EditBatch(images=images.float(), masks=None, generators=[], **texts)
    with pytest.raises(TypeError, match=r"EditBatch, masks: is torch.float32 \[2, 3, 8, 8\]"):
        EditBatch(images=images.float(), masks=images.float(), generators=[], **texts)
