"""Inversions of a tiny random diffusion model and of the shipped one: equivalences, exactness, counts, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, StableDiffusionPipeline
from torch import Tensor

from editfrontier import inversion
from editfrontier.base.errors import UserError
from editfrontier.data.cases import read_cases, read_image
from editfrontier.data.pixels import to_images
from editfrontier.diffusion import attention, sampling
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.editing.editor import Measured, get_editor, make_params
from editfrontier.inversion import diffusion
from editfrontier.microworld.dataset import build_task
from editfrontier.models.loading import load_pipeline
from tiny_pipelines import TOKENS, tiny_batch, tiny_pipeline

PROMPTS = ["hat", "old"]
DIFFUSION = ("ddim", "ddim_guided", "direct", "null_text", "dpm_solver")
GUIDED = ("ddim_guided", "null_text")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def clean(model: Any) -> Tensor:
    with torch.no_grad():
        return sampling.encode(model, tiny_batch().images)


@pytest.fixture
def counter(model: Any) -> Any:
    found = sampling.ForwardCounter()
    handle = found.attach(model.unet)
    yield found
    handle.remove()


def error(clean: Tensor, made: Tensor) -> float:
    return max(inversion.latent_error(clean, made))


def test_ddim_makes_the_steps_of_the_inverse_scheduler(model: Any, clean: Tensor) -> None:
    found = inversion.invert(model, clean, "ddim", 10, PROMPTS)
    inverse = DDIMInverseScheduler.from_config(sampling.make_scheduler(model.scheduler.config).config)
    inverse.set_timesteps(10)
    with torch.no_grad():
        text = sampling.encode_text(model, PROMPTS, False)
        latents = [clean]
        for timestep in inverse.timesteps:
            output = sampling.guided_output(model, latents[0], int(timestep), text, 1.0)
            latents.insert(0, inverse.step(output, timestep, latents[0]).prev_sample)
    assert found.times == [*reversed(inverse.timesteps.tolist()), -1]
    assert len(found.latents) == 11
    for ours, theirs in zip(found.latents, latents, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert torch.equal(found.latents[-1], clean)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_the_way_back_of_ddim_is_the_pipeline(model: Any, clean: Tensor, guidance: float) -> None:
    found = inversion.invert(model, clean, "ddim", 10, PROMPTS)
    made = inversion.reconstruct(model, found, "ddim", 10, PROMPTS, guidance=guidance)
    pipeline = sampling.as_pipeline(model, StableDiffusionPipeline)
    expected = pipeline(
        PROMPTS,
        height=32,
        width=32,
        num_inference_steps=10,
        guidance_scale=guidance,
        latents=found.latents[0],
        output_type="latent",
    ).images
    assert torch.allclose(made, expected, atol=1e-4)


@pytest.mark.parametrize("method", DIFFUSION)
def test_forwards_are_counted_and_told(model: Any, clean: Tensor, counter: Any, method: str) -> None:
    guidance = 3.0 if method in GUIDED else 1.0
    told: list[tuple[float, str]] = []

    def listen(time: float, direction: str) -> None:
        told.append((time, direction))

    found = inversion.invert(
        model, clean, method, 6, PROMPTS, guidance=guidance, inner_steps=2, on_evaluation=listen, learning_rate=1e-6
    )
    # Null-text: the inversion, then in each step the prompt once, two updates, and the output that they lead to.
    expected = {"ddim_guided": 12, "null_text": 6 + 6 * 4}.get(method, 6)
    assert found.forwards == expected
    assert counter.samples == 2 * expected
    inversion.reconstruct(model, found, method, 6, PROMPTS, guidance=guidance, on_evaluation=listen)
    back = {"direct": 0, "null_text": 0, "ddim_guided": 12}.get(method, 6)
    assert counter.samples == 2 * (expected + back)
    assert {direction for _, direction in told} == ({"inversion"} if not back else {"inversion", "reconstruction"})
    assert found.latents[0].dtype == torch.float32


def test_direct_inversion_returns_the_source_exactly(model: Any, clean: Tensor) -> None:
    found = inversion.invert(model, clean, "direct", 5, PROMPTS)
    assert torch.equal(inversion.reconstruct(model, found, "direct", 5, PROMPTS, guidance=7.5), clean)
    plain = inversion.reconstruct(model, found, "ddim", 5, PROMPTS, guidance=7.5)
    assert error(clean, plain) > 1e-3


class SharedAttention:
    """A control of the kind that direct inversion serves: every branch attends to the source's keys and values."""

    def __init__(self, processor: Any, branches: int) -> None:
        self.processor, self.branches = processor, branches

    def __call__(self, layer: Any, hidden_states: Tensor, **arguments: Any) -> Tensor:
        source = hidden_states.chunk(self.branches)[0]
        arguments["encoder_hidden_states"] = torch.cat([source] * self.branches)
        return self.processor(layer, hidden_states, **arguments)


def test_direct_edit_with_attention_control_takes_four_sample_forwards_a_step(
    model: Any, clean: Tensor, counter: Any
) -> None:
    steps = 7
    with torch.no_grad():
        source = sampling.encode_text(model, ["a face", "a face"], False)
        target = sampling.encode_text(model, PROMPTS, True)
        found = inversion.invert(model, clean, "direct", steps, source)
        seen: list[Tensor] = []

        def look(step: int, latents: Tensor, pinned: Tensor) -> Tensor:
            seen.append(pinned)
            return latents

        with attention.controlled(
            attention.self_attention(model.unet), lambda name, layer, own: SharedAttention(own, 3)
        ) as layers:
            made = diffusion.edit_direct(model, found, target, 4.0, source, look)
        assert layers > 0
        assert counter.samples == 4 * steps * 2
        free = diffusion.edit_direct(model, found, target, 4.0)
        assert counter.samples == 4 * steps * 2 + 2 * steps * 2
        expected = inversion.reconstruct(model, found, "ddim", steps, PROMPTS, guidance=4.0)
        beside = diffusion.edit_direct(model, found, target, 4.0, source)
    assert all(torch.equal(a, b) for a, b in zip(seen, found.latents[1:], strict=True))
    assert torch.allclose(free, expected, atol=1e-5)
    assert torch.allclose(beside, expected, atol=1e-4)  # a pinned source that nothing reads changes nothing
    assert error(made, free) > 1e-3


def test_null_text_reconstructs_where_guidance_does_not(model: Any, clean: Tensor) -> None:
    """A random network hardly reads its prompt, so that the embeddings have farther to go than the official rate."""
    options = {"guidance": 7.5, "learning_rate": 0.05}
    plain = inversion.invert(model, clean, "ddim", 8, PROMPTS)
    guided = inversion.reconstruct(model, plain, "ddim", 8, PROMPTS, guidance=7.5)
    fitted = inversion.invert(model, clean, "null_text", 8, PROMPTS, **options)
    assert fitted.extras["empty"].shape == (2, 8, TOKENS, 32)
    made = inversion.reconstruct(model, fitted, "null_text", 8, PROMPTS, guidance=7.5)
    for better, worse in zip(inversion.latent_error(clean, made), inversion.latent_error(clean, guided), strict=True):
        assert better < 0.6 * worse
    assert all(torch.equal(a, b) for a, b in zip(fitted.latents, plain.latents, strict=True))
    assert all(parameter.grad is None for parameter in model.unet.parameters())


def test_null_text_knows_its_way_back(model: Any, clean: Tensor, counter: Any, tmp_path: Path) -> None:
    """The fit arrived there already, but for rounding: it asked for prompt and empty prompt in calls of their own."""
    cache = inversion.InversionCache(tmp_path, "weights", "code")
    arguments = {"guidance": 7.5, "images": tiny_batch().images, "cache": cache}
    for _ in range(2):  # computed, and then read
        found = inversion.invert(model, clean, "null_text", 8, PROMPTS, **arguments)
        before = counter.samples
        known = inversion.reconstruct(model, found, "null_text", 8, PROMPTS, guidance=7.5)
        assert counter.samples == before
        sampled = inversion.reconstruct(model, found, "ddim", 8, PROMPTS, guidance=1.0)
        assert not torch.allclose(known, sampled, atol=1e-3)
        extras = {**found.extras, "prompt": found.extras["prompt"] + 1.0}  # as if it had been fitted to another
        sampled = inversion.reconstruct(model, replace(found, extras=extras), "null_text", 8, PROMPTS, guidance=7.5)
        assert torch.allclose(known, sampled, atol=1e-4)
    for change in ({"guidance": 5.0}, {"text": PROMPTS[::-1]}):
        before = counter.samples
        settings = {"text": PROMPTS, "guidance": 7.5, **change}
        other = inversion.reconstruct(model, found, "null_text", 8, **settings)
        assert counter.samples == before + 2 * 8 * 2
        assert not torch.allclose(known, other, atol=1e-4)


def test_null_text_of_an_image_does_not_depend_on_its_batch(model: Any, clean: Tensor) -> None:
    """The loss is each image's own, and an image that is done early waits for the others without moving."""
    easy = torch.cat([clean[:1], clean[1:] * 4])
    both = inversion.invert(model, easy, "null_text", 5, PROMPTS, guidance=3.0)
    alone = inversion.invert(model, easy[:1], "null_text", 5, PROMPTS[:1], guidance=3.0)
    assert torch.allclose(both.extras["empty"][:1], alone.extras["empty"], atol=1e-3)
    assert not torch.allclose(both.extras["empty"][0], both.extras["empty"][1], atol=1e-2)


def test_shipped_model_null_text_and_dpm_solver(root: Path, tmp_path: Path) -> None:
    """On the trained model: guidance breaks the reconstruction, null-text mends it, DPM-Solver++ 2M beats DDIM."""
    model = load_pipeline("text_to_image", root / "resources" / "micro" / "text-to-image")
    build_task("portraits", 1, 5, tmp_path)
    (case,) = read_cases(tmp_path / "cases.parquet")
    with torch.no_grad():
        clean = sampling.encode(model, to_images([read_image(tmp_path / case.image)]))
    errors = {}
    for method, guidance in (("ddim", 1.0), ("ddim", 7.5), ("null_text", 7.5), ("dpm_solver", 1.0)):
        there: dict[str, Any] = {"guidance": 7.5, "inner_steps": 5, "learning_rate": 0.05}
        options = there if method == "null_text" else {}
        found = inversion.invert(model, clean, method, 10, [case.source_caption], **options)
        made = inversion.reconstruct(model, found, method, 10, [case.source_caption], guidance=guidance)
        errors[method, guidance] = error(clean, made)
    assert errors["null_text", 7.5] < 0.5 * errors["ddim", 7.5]
    assert errors["ddim", 1.0] < 0.5 * errors["ddim", 7.5]
    assert errors["dpm_solver", 1.0] < errors["ddim", 1.0]


def test_embeddings_may_take_the_place_of_prompts(model: Any, clean: Tensor) -> None:
    """The exceptional prompt of TF-ICON is no text; both directions run on whatever embeddings they get."""
    with torch.no_grad():
        text = sampling.encode_text(model, PROMPTS, False)
    by_text = inversion.invert(model, clean, "dpm_solver", 4, PROMPTS)
    by_embedding = inversion.invert(model, clean, "dpm_solver", 4, text)
    assert torch.equal(by_text.latents[0], by_embedding.latents[0])
    other = inversion.invert(model, clean, "dpm_solver", 4, TextEmbeddings(text.prompt * 3, None))
    assert not torch.allclose(by_text.latents[0], other.latents[0], atol=1e-4)


@pytest.mark.parametrize("method", ["ddim", "dpm_solver"])
def test_a_start_leaves_out_the_noisiest_levels(model: Any, clean: Tensor, method: str) -> None:
    steps = 13  # of DPM-Solver++, less than 10 that are made would end by one of first order
    whole = inversion.invert(model, clean, method, steps, PROMPTS)
    part = inversion.invert(model, clean, method, steps, PROMPTS, start=3)
    assert part.times == whole.times[3:]
    assert part.forwards == 10
    assert torch.equal(part.latents[0], whole.latents[3])
    assert error(clean, inversion.reconstruct(model, part, method, steps, PROMPTS, start=3)) <= error(
        clean, inversion.reconstruct(model, whole, method, steps, PROMPTS)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "ddimm"}, r"inversion 'ddimm': is not known\. Did you mean 'ddim'\?"),
        ({"method": "fireflow"}, r"inversion 'fireflow': is not of a diffusion model\..*Choose one of ddim, "),
        ({"steps": 0}, r"inversion 'ddim': 0 steps, expected at least 1\. Correct"),
        ({"start": 4}, r"start 4 of 4 steps, expected one of 0 to 3"),
        ({"guidance": 3.0}, r"inversion 'ddim': guidance 3\.0, expected 1.*Use ddim_guided or null_text"),
        ({"method": "null_text"}, r"'null_text': guidance is 1, where the empty prompt has no effect.*Raise"),
        ({"text": ["a" * TOKENS, "b"]}, r"prompt 'a+': 18 tokens, expected at most 16\. Shorten"),
    ],
)
def test_bad_input(model: Any, clean: Tensor, change: dict[str, Any], message: str) -> None:
    arguments = {"method": "ddim", "steps": 4, "text": PROMPTS, **change}
    with pytest.raises(UserError, match=message):
        inversion.invert(model, clean, **arguments)


def test_what_needs_the_whole_trajectory_says_so(model: Any, clean: Tensor) -> None:
    short = inversion.invert(model, clean, "direct", 4, PROMPTS, keep="noisiest")
    assert len(short.latents) == 1
    assert len(short.times) == 5
    with pytest.raises(ValueError, match="keep all of its latents"):
        inversion.reconstruct(model, short, "direct", 4, PROMPTS)


def test_reconstruction_editor_measures_latents_and_counts_both_directions(model: Any, counter: Any) -> None:
    batch, editor = tiny_batch(), get_editor("diffusion_reconstruction")
    decoded = get_editor("autoencoder_round_trip").edit(model, batch, None)
    expected = {"none": 0, "direct": 6, "ddim": 12, "dpm_solver": 12}
    for method, forwards in expected.items():
        before = counter.samples
        with torch.no_grad():
            made = editor.edit(model, batch, make_params(editor, {"method": method, "num_inference_steps": 6}))
        assert isinstance(made, Measured)
        assert counter.samples - before == 2 * forwards
        errors = made.measures["latent_error"]
        if method in ("none", "direct"):
            assert errors == [0.0, 0.0]
            assert torch.equal(made.images, decoded)
        else:
            assert min(errors) > 0
    with pytest.raises(UserError, match="'guidance_scale': 1 makes 'null_text' the same as 'ddim'"):
        make_params(editor, {"method": "null_text"})
