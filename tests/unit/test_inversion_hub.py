"""Every inversion on checkpoints in the layout of the published ones, at 256 and 512."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from editfrontier import inversion
from editfrontier.diffusion import sampling

TWICE = ("midpoint", "rf_solver", "null_text")  # two evaluations a step and more


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("name", inversion.METHODS)
def test_inversion_and_back(name: str, size: int, hub_model: Callable[[str], Any]) -> None:
    steps = 1 if name in TWICE and size == 512 else 2
    diffusion = inversion.METHODS[name].backbone == "diffusion"
    model = hub_model("sd2_base" if diffusion else "flux")
    assert name in inversion.methods_of(model)
    guidance = 3.0 if name in ("ddim_guided", "null_text") else 1.0
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(size)) * 2 - 1
    with torch.no_grad():
        clean = sampling.encode(model, image)
    text = inversion.embed(model, ["a face"], guidance != 1.0)
    options = {"inner_steps": 1} if name == "null_text" else {}
    found = inversion.invert(model, clean, name, steps, text, guidance=guidance, images=image, **options)
    made = inversion.reconstruct(model, found, name, steps, text, guidance=guidance)
    assert clean.shape == made.shape == (1, 4 if diffusion else 16, size // 8, size // 8)
    assert len(found.latents) == len(found.times) == steps + 1
    assert found.forwards > 0
    assert torch.equal(found.latents[-1], clean)
    error = inversion.latent_error(clean, made)[0]
    assert math.isfinite(error)
    assert (error == 0.0) == (name == "direct")
