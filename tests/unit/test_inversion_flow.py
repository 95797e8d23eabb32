"""Inversions of flow models: equivalence with the pipeline, counts, and the order on the shipped model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier import inversion
from editfrontier.base.errors import UserError
from editfrontier.diffusion import flow, sampling
from editfrontier.editing.editor import Measured, get_editor, make_params
from editfrontier.inversion import Trajectory
from tiny_pipelines import tiny_batch

PROMPTS = ["a hat", "an old face"]
STEPS = 4
FORWARDS = {"euler": STEPS, "midpoint": 2 * STEPS, "rf_solver": 2 * STEPS, "fireflow": STEPS + 1, "rf_inversion": STEPS}


@pytest.fixture(scope="module")
def model(hub_model: Callable[[str], Any]) -> Any:
    return hub_model("flux")


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def counter(model: Any) -> Any:
    found = sampling.ForwardCounter()
    handle = found.attach(model.transformer)
    yield found
    handle.remove()


def test_the_way_back_of_euler_is_the_pipeline(model: Any, clean: Tensor) -> None:
    times = flow.flow_times(model, (8, 8), STEPS)
    noise = Trajectory([clean], times)
    made = inversion.reconstruct(model, noise, "euler", STEPS, PROMPTS, guidance=3.5)
    expected = model(
        PROMPTS,
        height=64,
        width=64,
        num_inference_steps=STEPS,
        guidance_scale=3.5,
        latents=flow.pack(clean),
        output_type="latent",
    ).images
    assert torch.allclose(flow.pack(made), expected, atol=1e-5)
    assert not torch.allclose(made, clean, atol=1e-2)


@pytest.mark.parametrize("method", FORWARDS)
def test_forwards_are_counted_in_both_directions(model: Any, clean: Tensor, counter: Any, method: str) -> None:
    told: list[tuple[float, str]] = []

    def listen(time: float, direction: str) -> None:
        told.append((time, direction))

    found = inversion.invert(model, clean, method, STEPS, PROMPTS, on_evaluation=listen)
    assert found.forwards == FORWARDS[method]
    assert counter.samples == 2 * FORWARDS[method]
    assert found.times == flow.flow_times(model, (8, 8), STEPS)
    assert torch.equal(found.latents[-1], clean)
    assert all(latents.dtype == torch.float32 for latents in found.latents)
    inversion.reconstruct(model, found, method, STEPS, PROMPTS, on_evaluation=listen)
    # The full pull of RF-Inversion in the first quarter of the way back asks the network nothing.
    assert counter.samples == 4 * FORWARDS[method] - (2 if method == "rf_inversion" else 0)
    assert told[0] == (0.0, "inversion")
    first = next(time for time, way in told if way == "reconstruction")
    assert first == (found.times[1] if method == "rf_inversion" else 1.0)
    if method == "fireflow":
        middles = [(a + b) / 2 for a, b in pairwise(found.times[::-1])]
        assert [time for time, _ in told[1 : STEPS + 1]] == pytest.approx(middles)


def test_a_start_leaves_out_the_noisiest_levels(model: Any, clean: Tensor) -> None:
    whole = inversion.invert(model, clean, "fireflow", STEPS, PROMPTS)
    part = inversion.invert(model, clean, "fireflow", STEPS, PROMPTS, start=1)
    assert part.times == whole.times[1:]
    assert part.forwards == STEPS
    assert torch.equal(part.latents[0], whole.latents[1])


def test_rf_inversion_pulls_to_noise_that_the_image_decides(model: Any, clean: Tensor) -> None:
    full = inversion.invert(model, clean, "rf_inversion", STEPS, PROMPTS, gamma=1.0)
    flipped = inversion.invert(model, clean.flip(0), "rf_inversion", STEPS, PROMPTS[::-1], gamma=1.0)
    assert full.forwards == 0
    assert torch.equal(full.latents[0], flipped.latents[0].flip(0))
    assert full.latents[0].std().item() == pytest.approx(1, abs=0.05)
    noise = torch.ones_like(clean)
    named = inversion.invert(model, clean, "rf_inversion", STEPS, PROMPTS, gamma=1.0, noise=noise)
    assert torch.allclose(named.latents[0], noise, atol=1e-5)
    free = inversion.invert(model, clean, "rf_inversion", STEPS, PROMPTS, gamma=0.0)
    euler = inversion.invert(model, clean, "euler", STEPS, PROMPTS)
    assert torch.equal(free.latents[0], euler.latents[0])
    back = inversion.reconstruct(model, full, "rf_inversion", STEPS, PROMPTS, eta=1.0, stop=1.0)
    assert torch.allclose(back, clean, atol=1e-5)


def test_latents_stay_in_full_precision_beside_a_network_in_half(
    hub_folder: Callable[[str], Path], model: Any, clean: Tensor
) -> None:
    from editfrontier.models.loading import load_pipeline

    half = load_pipeline("flux", hub_folder("flux"))
    sampling.prepare_model(half, torch.device("cpu"), "bfloat16")
    low, full = (inversion.invert(one, clean, "fireflow", STEPS, PROMPTS) for one in (half, model))
    assert low.latents[0].dtype == torch.float32
    assert low.times == full.times
    difference = (low.latents[0] - full.latents[0]).abs().max()
    assert 0 < difference < 0.05 * (full.latents[0] - clean).abs().max()


def test_reconstruction_editor_measures_latents_and_counts_both_directions(model: Any, counter: Any) -> None:
    batch, editor = tiny_batch(), get_editor("flow_reconstruction")
    expected = {"none": 0, "fireflow": 6, "rf_inversion": 4}
    for method, forwards in expected.items():
        before = counter.samples
        params = make_params(editor, {"method": method, "num_inference_steps": 2, "prompt": "empty"})
        with torch.no_grad():
            made = editor.edit(model, batch, params)
            assert isinstance(made, Measured)
            assert counter.samples - before == 2 * forwards
            errors = made.measures["latent_error"]
            if method == "none":
                assert errors == [0.0, 0.0]
                assert torch.equal(made.images, sampling.decode(model, sampling.encode(model, batch.images)))
            else:
                assert min(errors) > 0
    with pytest.raises(UserError, match="'eta': 2.0, expected in"):
        make_params(editor, {"eta": 2.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "fire_flow"}, r"inversion 'fire_flow': is not known\. Did you mean 'fireflow'\?"),
        ({"method": "ddim"}, r"inversion 'ddim': is not of a flow model\."),
        ({"steps": 0}, r"inversion 'euler': 0 steps, expected at least 1\. Correct"),
        ({"text": ["a" * 600, "b"]}, r"prompt 'a+\.\.\.': \d+ tokens, expected at most 512\. Shorten"),
        ({"gamma": 2.0}, r"gamma 2\.0, expected in \[0, 1\]"),
    ],
)
def test_bad_input(model: Any, clean: Tensor, change: dict[str, Any], message: str) -> None:
    arguments = {"method": "euler", "steps": 4, "text": PROMPTS, **change}
    with pytest.raises(UserError, match=message):
        inversion.invert(model, clean, **arguments)
