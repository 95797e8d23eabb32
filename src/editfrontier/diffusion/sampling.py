"""The sampling core that all editors share: noise levels, guidance, latents, text, and the count of network forwards.

All code uses the scheduler and model classes of diffusers, so that special cases of our editors equal its pipelines.
alpha_bar is the cumulative product (the paper writes alpha_t: erratum E1).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editfrontier.base.errors import EditorError, UserError, did_you_mean
from editfrontier.base.precision import full_float32

SAMPLERS = ("ddim", "ddpm")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


# Schedulers and noise levels ------------------------------------------------------------------------------------------


def make_scheduler(config: Mapping[str, Any], sampler: str = "ddim") -> Any:
    """Build the sampler of a model from the config of any scheduler.

    All keys that decide the noise levels are set here: a config of another scheduler class lacks some, and the defaults
    of `DDIMScheduler` (clipped samples, alpha_bar = 1 at the end, no offset) are wrong for latents.

    Args:
        config: the scheduler config of the model (its betas and its prediction type are kept).
        sampler: "ddim" (erratum E2; eta is an argument of `denoise_step`) or "ddpm" (ancestral).

    Returns:
        A scheduler whose alpha_bar is never 0 and whose timesteps are timesteps of the model's training (`schedulers`).
    """
    from editfrontier.diffusion.schedulers import TrainedDDIM, TrainedDDPM

    if sampler not in SAMPLERS:
        raise UserError(f"sampler: '{sampler}' is not known.{did_you_mean(sampler, SAMPLERS)}")
    betas = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
    kept = ("num_train_timesteps", *betas, "prediction_type")
    settings = {key: config[key] for key in kept if key in config}
    settings |= {"clip_sample": False, "steps_offset": 1, "timestep_spacing": "leading"}
    if sampler == "ddpm":
        return TrainedDDPM(**settings)
    return TrainedDDIM(**settings, set_alpha_to_one=False)


def alpha_bar(scheduler: Any, timestep: int) -> float:
    """Return the cumulative product of the alphas at a timestep; a negative one stands for the end of the last step."""
    if timestep < 0:
        return float(getattr(scheduler, "final_alpha_cumprod", 1.0))
    return float(scheduler.alphas_cumprod[timestep])


def image_to_image_timesteps(scheduler: Any, steps: int, strength: float) -> list[int]:
    """Return the descending timesteps of an edit of a strength, counted as by diffusers' image-to-image pipelines.

    Args:
        scheduler: a scheduler; its step count is set.
        steps: number N of inference steps of the whole trajectory.
        strength: fraction of the trajectory in (0, 1], int(N * strength) steps.
    """
    scheduler.set_timesteps(steps)
    edited_steps = min(int(steps * strength), steps)
    return [int(t) for t in scheduler.timesteps[steps - edited_steps :]]


def add_noise(clean: Tensor, noise: Tensor, level: float) -> Tensor:
    """Return sqrt(level) clean + sqrt(1 - level) noise, where the level is an alpha_bar in [0, 1]."""
    return level**0.5 * clean + (1.0 - level) ** 0.5 * noise


def split_output(prediction_type: str, output: Tensor, noisy: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return (clean estimate, noise estimate) from a denoiser's output at the noise level alpha_bar = `level`."""
    signal, spread = level**0.5, (1.0 - level) ** 0.5
    if prediction_type == "epsilon":
        return (noisy - spread * output) / signal, output
    if prediction_type == "sample":
        return output, (noisy - signal * output) / spread
    if prediction_type == "v_prediction":
        return signal * noisy - spread * output, signal * output + spread * noisy
    raise UserError(
        f"scheduler_config.json: prediction_type '{prediction_type}' is not known, "
        "expected epsilon, sample or v_prediction. Use a model with one of these."
    )


def join_output(prediction_type: str, clean: Tensor, noise: Tensor, level: float) -> Tensor:
    """Return the denoiser output of a pair (clean estimate, noise estimate): the inverse of `split_output`."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return clean
    return level**0.5 * noise - (1.0 - level) ** 0.5 * clean


def denoise_step(
    scheduler: Any,
    output: Tensor,
    timestep: int,
    noisy: Tensor,
    *,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """Make the scheduler's own step from `timestep` to the next lower one.

    Args:
        scheduler: from `make_scheduler`, with its step count set.
        output: [B, C, h, w] denoiser output after guidance.
        timestep: the present timestep.
        noisy: [B, C, h, w] latents at that timestep.
        eta: in [0, 1]; 0 is deterministic DDIM, 1 has the variance of the DDPM posterior (Song et al., 2021, eq. 16).
        generators: one per sample, for eta > 0 and for ancestral sampling.
    """
    accepted = inspect.signature(scheduler.step).parameters
    arguments: dict[str, Any] = {"eta": eta} if "eta" in accepted else {}
    arguments["generator"] = list(generators) if generators is not None else None
    return scheduler.step(output, timestep, noisy, **arguments, return_dict=False)[0]


def printed_step(noise: Tensor, noisy: Tensor, level: float, next_level: float) -> Tensor:
    """Make the reverse step that the paper prints, without its random term (erratum E2).

    z_{t-1} = (z_t - (1 - alpha) noise) / sqrt(alpha), where alpha = level / next_level is the factor of this one step.
    The posterior mean of DDPM also divides the noise by sqrt(1 - alpha_bar); without it too little noise is removed.
    """
    alpha = level / next_level
    return (noisy - (1.0 - alpha) * noise) / alpha**0.5


def case_noise(shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Draw standard normal noise [B, ...], sample i from generator i, on the CPU, so that it is equal for every device.

    Raises:
        EditorError: `shape` does not begin with the number of generators, so that cases would share their noise.
    """
    from diffusers.utils.torch_utils import randn_tensor

    if not shape or shape[0] != len(generators):
        raise EditorError(
            f"case_noise: the shape is {tuple(shape)} for {len(generators)} generators, expected ({len(generators)}, "
            "...): one sample a case. Put the size of the batch first."
        )
    return randn_tensor(tuple(shape), generator=list(generators), device=device, dtype=torch.float32)


# Models ---------------------------------------------------------------------------------------------------------------


@dataclass
class ForwardCounter:
    """A counter of samples that passed a denoiser: a batch of 8 with guidance counts 16 per step."""

    samples: int = 0

    def attach(self, network: nn.Module) -> Any:
        """Count every call of the network from now on; the returned handle has `remove()`."""

        def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # The input of a UNet is `sample`, that of a transformer `hidden_states`.
            self.samples += len(args[0] if args else kwargs["sample" if "sample" in kwargs else "hidden_states"])

        return network.register_forward_pre_hook(count, with_kwargs=True)


def denoiser(model: Any) -> Any:
    """Return the network of a pipeline that runs in every step: its transformer or its UNet."""
    return model.transformer if getattr(model, "transformer", None) is not None else model.unet


def size_factor(model: Any) -> int:
    """Return the divisor of an image's sides: the autoencoder's factor, twice that for 2 x 2 patches."""
    factor = 2 ** (len(model.vae.config.block_out_channels) - 1)
    return int(factor * (1 if denoiser(model) is getattr(model, "unet", None) else 2))


def longest_tokenizer(model: Any) -> Any:
    """Return the tokenizer of the longest prompts: T5's if the model has one, else CLIP's."""
    last = "tokenizer_3" if hasattr(model, "tokenizer_3") else "tokenizer_2"
    return getattr(model, last, None) or model.tokenizer


def prepare_model(model: Any, device: torch.device, dtype: str = "float32") -> ForwardCounter:
    """Move a diffusers pipeline to a device, set the precision of its denoiser, and count its forwards.

    Only the denoiser runs in `dtype`; the autoencoder, the text encoder, the scheduler and the guidance stay in
    float32 (no TF32). In half precision the autoencoder of Stable Diffusion overflows, and noise levels lose digits.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype: '{dtype}' is not known.{did_you_mean(dtype, DTYPES)}")
    full_float32()
    model.to(device)
    # Convolutions are up to a third faster with channels last; in bfloat16 a CPU is faster in its default layout.
    if dtype == "float32" or device.type == "cuda":
        denoiser(model).to(memory_format=torch.channels_last)
    model.vae.to(memory_format=torch.channels_last)
    model.set_progress_bar_config(disable=True)
    counter = ForwardCounter()
    counter.attach(denoiser(model))
    if DTYPES[dtype] is not torch.float32:
        _run_in(denoiser(model), DTYPES[dtype])
    return counter


def _run_in(network: nn.Module, dtype: torch.dtype) -> None:
    def lower(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # Times keep their digits (bfloat16 has none between 980 and 984): networks lower the embedding themselves. FLUX
        # lowers the time itself, see `_keep_times`.
        return tuple(map(lower, args)), {k: value if k == "timestep" else lower(value) for k, value in kwargs.items()}

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0].float(), *output[1:])
        output.sample = output.sample.float()
        return output

    # diffusers warns that some networks keep modules in float32; the denoisers here have none.
    nn.Module.to(network, dtype)
    if type(network).__name__ == "FluxTransformer2DModel":
        _keep_times(network)
    network.register_forward_pre_hook(before, with_kwargs=True)
    network.register_forward_hook(after)


def _keep_times(network: nn.Module) -> None:
    """Let a FLUX embed its time and guidance with all digits: it rounds both to the precision of its input first.

    In bfloat16 that moves a time by up to 0.004, while steps are 0.01 wide at the strongest noise.
    """
    given: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given[:] = [kwargs[name] for name in ("timestep", "guidance") if kwargs.get(name) is not None]

    def restore(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*(1000.0 * number.float() for number in given), args[-1])

    network.register_forward_pre_hook(note, with_kwargs=True)
    network.get_submodule("time_text_embed").register_forward_pre_hook(restore)


def as_pipeline(model: Any, pipeline_class: Any, sampler: str = "ddim") -> Any:
    """Return a diffusers pipeline of the given class on the networks of `model`, with our sampler, no safety checker.

    A safety checker would return black images for flagged ones, which distorts every metric.
    """
    components = {name: model.components.get(name) for name in _component_names(pipeline_class)}
    components |= {"scheduler": make_scheduler(model.scheduler.config, sampler), "safety_checker": None}
    pipeline = pipeline_class(**components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _component_names(pipeline_class: Any) -> list[str]:
    names = inspect.signature(pipeline_class.__init__).parameters
    return [name for name in names if name not in ("self", "requires_safety_checker")]


def encode(
    model: Any, images: Tensor, posterior: str = "mode", generators: Sequence[torch.Generator] | None = None
) -> Tensor:
    """Encode images to scaled latents.

    Args:
        model: a pipeline with a `vae`.
        images: [B, 3, H, W] in [-1, 1], sides divisible by the autoencoder's factor.
        posterior: "mode" (deterministic) or "sample" (diffusers' image-to-image, one draw per generator).
        generators: one per image, for "sample".

    Returns:
        [B, C, h, w] latents minus the shift (of autoencoders that have one), times the scaling factor, float32.
    """
    distribution = model.vae.encode(images.to(model.vae.dtype)).latent_dist
    latents = distribution.mode().float()
    if posterior == "sample":
        if generators is None:
            raise ValueError("posterior 'sample' needs one generator per image")
        latents = latents + distribution.std.float() * case_noise(latents.shape, generators, latents.device)
    return (latents - _shift(model.vae)) * model.vae.config.scaling_factor


def _shift(vae: Any) -> float:
    return float(getattr(vae.config, "shift_factor", None) or 0.0)


def decode(model: Any, latents: Tensor) -> Tensor:
    """Decode scaled latents [B, C, h, w] to images [B, 3, H, W] clamped to [-1, 1], float32."""
    latents = latents / model.vae.config.scaling_factor + _shift(model.vae)
    images = model.vae.decode(latents.to(model.vae.dtype), return_dict=False)[0]
    return images.float().clamp(-1.0, 1.0)


def check_prompt(tokenizer: Any, text: str, what: str) -> None:
    """Raise `UserError` if the text is empty or needs more tokens than the text encoder reads (it would be cut)."""
    if not text.strip():
        raise UserError(f"{what}: is empty, expected a text. Fill in this column of the case table.")
    used = len(tokenizer(text, truncation=False, verbose=False).input_ids)
    limit = int(tokenizer.model_max_length)
    if used > limit:
        raise UserError(f"{what}: {used} tokens, expected at most {limit}. Shorten the text.")


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings of prompts [B, L, D] and of the empty prompt [B, L, D] (None without guidance)."""

    prompt: Tensor
    empty: Tensor | None


def encode_text(model: Any, prompts: Sequence[str], guided: bool) -> TextEmbeddings:
    """Embed the prompts as diffusers' pipelines do; with `guided` also the empty prompt."""
    prompt, empty = model.encode_prompt(list(prompts), model.unet.device, 1, guided)
    return TextEmbeddings(prompt, empty)


def guided_output(model: Any, noisy: Tensor, timestep: float, text: TextEmbeddings, guidance: float | Tensor) -> Tensor:
    """Run the denoiser with classifier-free guidance (Ho & Salimans, 2022): empty + w (prompt - empty).

    Args:
        model: a pipeline with a `unet`.
        noisy: [B, C, h, w] latents.
        timestep: the timestep of these latents; it may be a fraction.
        text: from `encode_text`; without the empty prompt only the prompt's forward runs, and w must be 1.
        guidance: w, a number or a map [B, 1, h, w] (region-specific guidance).

    Returns:
        [B, C, h, w] output in the scheduler's prediction type. Both forwards are one call of the network.
    """
    if text.empty is None:
        return model.unet(noisy, timestep, encoder_hidden_states=text.prompt, return_dict=False)[0]
    states = torch.cat([text.empty, text.prompt])
    output = model.unet(torch.cat([noisy] * 2), timestep, encoder_hidden_states=states, return_dict=False)[0]
    unconditional, conditional = output.chunk(2)
    return unconditional + guidance * (conditional - unconditional)
