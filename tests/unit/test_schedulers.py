"""The ends of a schedule: as many steps as trained timesteps, and noise levels that end at no signal at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from editfrontier import inversion
from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.diffusion.schedulers import LEAST_ALPHA_BAR
from editfrontier.editing.editor import Measured, get_editor, make_params
from editfrontier.inversion.diffusion import dpm_times
from tiny_pipelines import TOKENS, tiny_batch, tiny_pipeline

TRAINED = 1000
PROMPTS = ["hat", "old"]
EDITORS: dict[str, tuple[str, dict[str, Any]]] = {
    "sdedit": ("text_to_image", {"strength": 1.0}),
    "mask_guided": ("text_to_image", {"strength": 1.0, "schedule": "none"}),
    "sd_inpaint": ("inpainting", {}),
    "instruct_pix2pix": ("instruct_pix2pix", {}),
}
METHODS = [name for name, method in inversion.METHODS.items() if method.backbone == "diffusion"]
GUIDED = ("ddim_guided", "null_text")


class Gaussian:
    """Stands for the UNet: the best denoiser of latents that are normal with variance 1/2, which reads no text.

    Their path is known: latents scale with the standard deviation of their noise level. `times` are those it was asked.
    """

    def __init__(self, model: Any) -> None:
        self.scheduler = sampling.make_scheduler(model.scheduler.config)
        self.times: list[float] = []

    def __call__(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        self.times.append(float(timestep))
        latents, level = sample[:, :4], self.level(self.times[-1])
        signal, noise = math.sqrt(level), math.sqrt(1.0 - level)
        clean = 0.5 * signal / self.variance(level) * latents
        predicted = noise / self.variance(level) * latents
        output = sampling.join_output(self.scheduler.config.prediction_type, clean, predicted, level)
        return (output + 0.0 * encoder_hidden_states.mean(),)

    def level(self, time: float) -> float:
        """alpha_bar at a timestep, between two of them with log alpha_bar on a line; -1 is after the last step."""
        low = min(max(int(time), 0), TRAINED - 2)
        logs = [math.log(float(self.scheduler.alphas_cumprod[t])) for t in (low, low + 1)]
        return math.exp(logs[0] + (max(time, 0.0) - low) * (logs[1] - logs[0]))

    @staticmethod
    def variance(level: float) -> float:
        return 1.0 - 0.5 * level

    def growth(self, begin: float, end: float) -> float:
        """By how much latents scale from a timestep to another."""
        return math.sqrt(self.variance(self.level(end)) / self.variance(self.level(begin)))


Stub = Callable[..., tuple[Any, Gaussian]]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """(kind, changes of the scheduler's config) -> a tiny pipeline whose UNet is `Gaussian`."""

    def make(kind: str = "text_to_image", **changes: Any) -> tuple[Any, Gaussian]:
        model = tiny_pipeline(kind)
        model.scheduler = DDIMScheduler.from_config(model.scheduler.config, **changes)
        gaussian = Gaussian(model)
        monkeypatch.setattr(model.unet, "forward", gaussian)
        return model, gaussian

    return make


def normal_latents(images: Tensor) -> Tensor:
    """Latents [B, 4, 8, 8] of the variance that `Gaussian` knows."""
    return torch.randn(len(images), 4, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.5**0.5


def latents_of_edit(model: Any, name: str, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Tensor:
    """The latents that an editor decodes, [B, C, h, w], where every image has `normal_latents`."""
    seen: list[Tensor] = []
    decode = sampling.decode

    def watched(model: Any, latents: Tensor) -> Tensor:
        seen.append(latents)
        return decode(model, latents)

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "decode", watched)
        patch.setattr(sampling, "encode", lambda model, images, *rest: normal_latents(images))
        batch, editor = tiny_batch(), get_editor(name)
        batch.exemplars, batch.exemplar_masks = batch.images, batch.masks
        made = editor.edit(model, batch, make_params(editor, overrides))
    images = made.images if isinstance(made, Measured) else made
    assert images.isfinite().all()
    return seen[-1]


# As many steps as trained timesteps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", sampling.SAMPLERS)
@pytest.mark.parametrize("trained", [1000, 60])
def test_all_trained_timesteps_may_be_steps(sampler: str, trained: int) -> None:
    scheduler = sampling.make_scheduler({"beta_schedule": "scaled_linear", "num_train_timesteps": trained}, sampler)
    for steps, expected in {
        trained: list(range(trained))[::-1],
        trained - 1: list(range(1, trained))[::-1],
        trained // 2: list(range(1, trained, 2))[::-1],
        20: [trained // 20 * k + 1 for k in range(20)][::-1],
    }.items():
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == expected
    message = f"'num_inference_steps': {trained + 1}, expected at most {trained}, as many as .* trained on"
    with pytest.raises(UserError, match=message):
        scheduler.set_timesteps(trained + 1)


@pytest.mark.parametrize("name", EDITORS)
def test_every_editor_makes_a_thousand_steps(stub: Stub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, overrides = EDITORS[name]
    for sampler in ("ddim", "ddpm"):
        model, network = stub(kind)
        settings = {"num_inference_steps": TRAINED, "sampler": sampler, **overrides}
        latents = latents_of_edit(model, name, monkeypatch, **settings)
        assert network.times == [float(t) for t in range(TRAINED)][::-1]
        assert latents.std() == pytest.approx(0.5**0.5, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_every_inversion_makes_a_thousand_steps_there_and_back(stub: Stub, method: str) -> None:
    model, network = stub()
    clean = normal_latents(torch.zeros(2))
    guidance = 2.0 if method in GUIDED else 1.0
    found = inversion.invert(model, clean, method, TRAINED, PROMPTS, guidance=guidance, inner_steps=1)
    # DPM-Solver++ asks where a step begins, which is never the end of its way.
    step = (TRAINED - 1) / TRAINED if method == "dpm_solver" else 0
    assert max(network.times) == pytest.approx(TRAINED - 1 - step)
    assert min(network.times) == 0
    assert torch.allclose(found.latents[0], clean * network.growth(-1, TRAINED - 1), rtol=2e-3)
    network.times.clear()
    back = inversion.reconstruct(model, found, method, TRAINED, PROMPTS, guidance=guidance)
    if network.times:
        assert max(network.times) == TRAINED - 1
        assert min(network.times) == pytest.approx(step)
    assert torch.allclose(back, clean, rtol=5e-3, atol=1e-4)


# Zero terminal SNR ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", sampling.SAMPLERS)
def test_noise_levels_of_zero_terminal_snr_end_just_above_zero(sampler: str) -> None:
    published = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    published |= {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    expected = DDIMScheduler(**published).alphas_cumprod
    assert expected[-1] == 0.0
    made = sampling.make_scheduler(published, sampler).alphas_cumprod
    assert torch.equal(made[:-1], expected[:-1])
    assert made[-1] == LEAST_ALPHA_BAR == 2.0**-24


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("sdedit", {"num_inference_steps": TRAINED, "strength": 1.0, "sampler": "ddim"}),
        ("sdedit", {"num_inference_steps": TRAINED, "strength": 1.0, "sampler": "ddim", "eta": 1.0}),
        ("sdedit", {"num_inference_steps": TRAINED, "strength": 1.0, "sampler": "ddpm"}),
        ("mask_guided", {"num_inference_steps": TRAINED, "strength": 1.0, "sampler": "ddim"}),
        ("mask_guided", {"num_inference_steps": TRAINED, "strength": 1.0, "mode": "x0", "schedule": "none"}),
        ("mask_guided", {"num_inference_steps": TRAINED, "strength": 1.0, "source_latent": "implied"}),
        ("mask_guided", {"num_inference_steps": TRAINED, "strength": 1.0, "source_latent": "inverted"}),
        ("mask_guided", {"num_inference_steps": TRAINED, "strength": 1.0, "guidance_schedule": "interval"}),
        ("sd_inpaint", {"num_inference_steps": TRAINED}),
        ("instruct_pix2pix", {"num_inference_steps": TRAINED}),
        ("tf_icon", {}),
        ("tf_icon", {"domain": "cross"}),
        ("tf_icon_text", {}),
    ],
)
def test_every_sampler_starts_where_there_is_no_signal(
    stub: Stub, prediction: str, name: str, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every path, from pure noise or from a source, ends at latents of the data's own variance."""
    kind = EDITORS.get(name, ("text_to_image",))[0]
    model, network = stub(kind, prediction_type=prediction, rescale_betas_zero_snr=True)
    latents = latents_of_edit(model, name, monkeypatch, **overrides)
    assert max(network.times) == TRAINED - 1
    assert latents.std() == pytest.approx(0.5**0.5, rel=0.1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("method", METHODS)
def test_every_inversion_ends_where_there_is_no_signal(stub: Stub, prediction: str, method: str) -> None:
    model, network = stub(prediction_type=prediction, rescale_betas_zero_snr=True)
    clean = normal_latents(torch.zeros(2))
    guidance = 2.0 if method in GUIDED else 1.0
    found = inversion.invert(model, clean, method, TRAINED, PROMPTS, guidance=guidance, inner_steps=1)
    assert found.times[0] == TRAINED - 1
    assert network.level(found.times[0]) == pytest.approx(LEAST_ALPHA_BAR)
    assert torch.allclose(found.latents[0], clean * network.growth(-1, TRAINED - 1), rtol=2e-3)
    back = inversion.reconstruct(model, found, method, TRAINED, PROMPTS, guidance=guidance)
    assert torch.allclose(back, clean, rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_few_steps_of_dpm_solver_cross_the_last_level(stub: Stub, prediction: str) -> None:
    model, _ = stub(prediction_type=prediction, rescale_betas_zero_snr=True)
    clean = normal_latents(torch.zeros(2))
    assert dpm_times(sampling.make_scheduler(model.scheduler.config), 20)[0] == TRAINED - 1
    found = inversion.invert(model, clean, "dpm_solver", 20, PROMPTS)
    back = inversion.reconstruct(model, found, "dpm_solver", 20, PROMPTS)
    assert back.isfinite().all()
    assert max(inversion.latent_error(clean, back)) < 0.1


# Null-text inversion over any number of steps -------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [10, 50, 200, 1000])
def test_null_text_lets_rate_and_rule_fall_by_shares_of_the_schedule(
    stub: Stub, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 50 steps they are the published ones, and nowhere does an update climb."""
    from editfrontier.inversion import diffusion

    model, _ = stub()
    seen: list[float] = []

    def noted(*arguments: Any) -> tuple[Tensor, Tensor]:
        seen.append(arguments[-1])
        return arguments[-2], arguments[2]

    monkeypatch.setattr(diffusion, "_fit_empty", noted)
    inversion.invert(model, torch.zeros(2, 4, 8, 8), "null_text", steps, PROMPTS, guidance=2.0)
    assert seen == [pytest.approx(50 * k / steps) for k in range(steps)]
    if steps == 50:
        assert seen == list(range(50))


def test_null_text_of_two_hundred_steps_mends_what_guidance_breaks(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network that adds the mean of a token, the second one in the later half, where it is still to be fitted."""
    model, network = stub()

    def told(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        words = encoder_hidden_states[:, int(timestep < 500)].mean(1)[:, None, None, None]
        return (network(sample, timestep, encoder_hidden_states)[0] + words,)

    monkeypatch.setattr(model.unet, "forward", told)
    clean, shape = normal_latents(torch.zeros(1)), (1, TOKENS, 32)
    text = sampling.TextEmbeddings(torch.ones(shape), torch.zeros(shape))
    plain = inversion.invert(model, clean, "ddim", 200, text)
    broken = inversion.reconstruct(model, plain, "ddim", 200, text, guidance=7.5)
    found = inversion.invert(model, clean, "null_text", 200, text, guidance=7.5)
    mended = inversion.reconstruct(model, found, "null_text", 200, text, guidance=7.5)
    (before,), (after,) = (inversion.latent_error(clean, made) for made in (broken, mended))
    assert after < 0.1 * before
