"""Inversion: from an image to the noise from which a model generates it, and back. One interface for every method.

`invert` returns the whole trajectory; with an `InversionCache` it is computed once for an image and a model, and every
editor, guidance value and chain step reuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.seeding import stable_seed
from editfrontier.diffusion import sampling
from editfrontier.diffusion.flow import FlowText, encode_flow_text
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.inversion import diffusion, flow
from editfrontier.inversion.cache import InversionCache, Keep, digest
from editfrontier.inversion.trajectory import Direction, OnEvaluation, Run, Trajectory, TrajectorySettings

__all__ = [
    "METHODS",
    "InversionCache",
    "Trajectory",
    "TrajectorySettings",
    "embed",
    "invert",
    "latent_error",
    "methods_of",
    "reconstruct",
]

Text = Sequence[str] | TextEmbeddings | FlowText


@dataclass(frozen=True)
class Method:
    """An inversion: its backbone, its two directions, and whether the inversion may use w > 1."""

    backbone: Literal["diffusion", "flow"]
    invert: Callable[[Run, Tensor], Trajectory]
    back: Callable[..., Tensor]
    guided: bool = False


METHODS = {
    "ddim": Method("diffusion", diffusion.ddim, diffusion.ddim_back),
    "ddim_guided": Method("diffusion", diffusion.ddim, diffusion.ddim_back, guided=True),
    "direct": Method("diffusion", diffusion.ddim, diffusion.direct_back),
    "null_text": Method("diffusion", diffusion.null_text, diffusion.null_text_back, guided=True),
    "dpm_solver": Method("diffusion", diffusion.dpm_solver, diffusion.dpm_solver_back),
    "euler": Method("flow", flow.solve, flow.solve_back, guided=True),
    "midpoint": Method("flow", flow.solve, flow.solve_back, guided=True),
    "rf_solver": Method("flow", flow.solve, flow.solve_back, guided=True),
    "fireflow": Method("flow", flow.solve, flow.solve_back, guided=True),
    "rf_inversion": Method("flow", flow.rf_inversion, flow.rf_inversion_back, guided=True),
}


def backbone_of(model: Any) -> str:
    """Return "flow" for a model with a transformer, "diffusion" for one with a UNet."""
    return "flow" if getattr(model, "transformer", None) is not None else "diffusion"


def methods_of(model: Any) -> list[str]:
    """Return the names of a model's methods."""
    return [name for name, method in METHODS.items() if method.backbone == backbone_of(model)]


def invert(
    model: Any,
    clean: Tensor,
    method: str,
    steps: int,
    text: Text,
    *,
    guidance: float = 1.0,
    start: int = 0,
    images: Tensor | None = None,
    cache: InversionCache | None = None,
    keep: Keep = "all",
    noise: Tensor | None = None,
    on_evaluation: OnEvaluation | None = None,
    joint_attention_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Trajectory:
    """Invert clean latents.

    Args:
        model: a text-to-image pipeline, or a FLUX pipeline.
        clean: [B, C, h, w] scaled latents, as from `sampling.encode`.
        method: a key of `METHODS` for this kind of model.
        steps: steps of the whole schedule.
        text: B prompts, or their embeddings (for example of the exceptional prompt).
        guidance: w of classifier-free guidance (`ddim_guided`, `null_text`), the embedded scale on a flow model.
        start: number of the noisiest levels that are left out.
        images: [B, 3, H, W] whose encoding, without randomness, is `clean`; they name the files of a cache.
        cache: store of inversions; not with callbacks or attention arguments.
        keep: "noisiest" returns only the noisiest latents.
        noise: [B, C, h, w] that `rf_inversion` pulls to; None draws it from a seed of the image.
        on_evaluation: called with (time, "inversion") before every network call.
        joint_attention_kwargs: arguments of the attention processors of a flow model.
        options: further fields of `TrajectorySettings`.

    Returns:
        The trajectory, without gradients.

    Raises:
        UserError: the method is not known for this model, a number is out of range, or a prompt is too long.
    """
    chosen = _method(model, method)
    settings = TrajectorySettings(method, steps, float(guidance), start, **options)
    if guidance != 1.0 and not chosen.guided:
        raise UserError(
            f"inversion '{method}': guidance {guidance}, expected 1: with more it is another method. "
            "Use ddim_guided or null_text."
        )
    if cache is not None and (images is None or noise is not None or on_evaluation or joint_attention_kwargs):
        raise ValueError("a cache needs the images, and can serve neither callbacks nor noise nor attention arguments")
    guided = guidance != 1.0 and chosen.backbone == "diffusion"
    embedded = _embedded(model, text, len(clean), guided, f"inversion '{method}'")

    def compute(rows: list[int]) -> Trajectory:
        pulled_to = noise
        if method == "rf_inversion" and noise is None:
            pulled_to = _content_noise(clean, clean if images is None else images)
        place = torch.tensor(rows, device=clean.device)
        run = Run(
            model,
            settings,
            _rows(embedded, place),
            "inversion",
            settings.guidance,
            None if pulled_to is None else pulled_to[place],
            on_evaluation,
            joint_attention_kwargs,
        )
        with torch.no_grad():
            trajectory = chosen.invert(run, clean[place].float())
        return replace(trajectory, latents=trajectory.latents if keep == "all" else trajectory.latents[:1])

    if cache is None:
        return compute(list(range(len(clean))))
    assert images is not None
    network = sampling.denoiser(model)
    common = {"settings": asdict(settings), "dtype": str(network.dtype), "device": clean.device.type}
    texts = _text_names(text, len(clean))
    contents = [common | {"image": digest(image), "text": name} for image, name in zip(images, texts, strict=True)]
    return cache.fetch(contents, keep, compute, clean.device)


def reconstruct(
    model: Any,
    trajectory: Trajectory,
    method: str,
    steps: int,
    text: Text,
    *,
    guidance: float = 1.0,
    start: int = 0,
    on_evaluation: OnEvaluation | None = None,
    joint_attention_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Tensor:
    """Sample back from the noisiest latents of a trajectory, by the sampler of its method.

    Args:
        model, method, steps, text, start, on_evaluation, joint_attention_kwargs: the values of `invert`.
        trajectory: from `invert`; `direct` and `rf_inversion` need all latents.
        guidance: w of the way back, which may differ from that of the inversion.
        options: `eta` and `stop` of RF-Inversion, see `flow.rf_inversion_back`.

    Returns:
        [B, C, h, w] clean latents. `null_text` holds those of the guidance and prompts of its fit.
    """
    chosen = _method(model, method)
    settings = TrajectorySettings(method, steps, float(guidance), start)
    guided = guidance != 1.0 and chosen.backbone == "diffusion"
    embedded = _embedded(model, text, len(trajectory.latents[0]), guided, f"inversion '{method}'")
    direction: Direction = "reconstruction"
    run = Run(
        model,
        settings,
        embedded,
        direction,
        settings.guidance,
        on_evaluation=on_evaluation,
        joint_attention_kwargs=joint_attention_kwargs,
    )
    with torch.no_grad():
        return chosen.back(run, trajectory, **options)


def embed(model: Any, prompts: Sequence[str], guided: bool = False) -> TextEmbeddings | FlowText:
    """Embed prompts once for both directions; raise `UserError` if one has more tokens than the model reads.

    Args:
        model: as for `invert`.
        prompts: texts, which may be empty.
        guided: whether to embed the empty prompt too, for guidance on a diffusion model.
    """
    return _embedded(model, prompts, len(prompts), guided, "inversion")


def latent_error(clean: Tensor, reconstructed: Tensor) -> list[float]:
    """Return the root mean squared difference of each image's latents."""
    return (clean.double() - reconstructed.double()).square().flatten(1).mean(1).sqrt().tolist()


def _method(model: Any, name: str) -> Method:
    known = methods_of(model)
    if name not in known:
        problem = f"is not of a {backbone_of(model)} model" if name in METHODS else "is not known"
        raise UserError(f"inversion '{name}': {problem}.{did_you_mean(name, known)} Choose one of {', '.join(known)}.")
    return METHODS[name]


def _embedded(model: Any, text: Text, count: int, guided: bool, what: str) -> TextEmbeddings | FlowText:
    if isinstance(text, (TextEmbeddings, FlowText)):
        expected = FlowText if backbone_of(model) == "flow" else TextEmbeddings
        if not isinstance(text, expected) or len(text.prompt) != count:
            raise ValueError(f"expected {expected.__name__} of {count} prompts, got {type(text).__name__}")
        return text
    if len(text) != count:
        raise ValueError(f"expected {count} prompts, one an image, got {len(text)}")
    for prompt in text:
        if prompt.strip():
            shown = prompt if len(prompt) <= 40 else f"{prompt[:37]}..."
            sampling.check_prompt(sampling.longest_tokenizer(model), prompt, f"{what}, prompt '{shown}'")
    with torch.no_grad():
        if backbone_of(model) == "flow":
            return encode_flow_text(model, text)
        return sampling.encode_text(model, text, guided)


def _rows(text: TextEmbeddings | FlowText, rows: Tensor) -> TextEmbeddings | FlowText:
    if isinstance(text, FlowText):
        return FlowText(text.prompt[rows], text.pooled[rows], text.ids)
    return TextEmbeddings(text.prompt[rows], None if text.empty is None else text.empty[rows])


def _text_names(text: Text, count: int) -> list[str]:
    """Return the name of each image's text in a cache: the prompt itself, or a digest of its embeddings."""
    if isinstance(text, FlowText):
        return [f"sha256:{digest(text.prompt[i])}:{digest(text.pooled[i])}" for i in range(count)]
    if isinstance(text, TextEmbeddings):
        empty = ["" if text.empty is None else digest(text.empty[i]) for i in range(count)]
        return [f"sha256:{digest(text.prompt[i])}:{empty[i]}" for i in range(count)]
    return [f"text:{prompt}" for prompt in text]


def _content_noise(like: Tensor, contents: Tensor) -> Tensor:
    """Draw noise [B, C, h, w], each sample from a seed of its content, so that one image has one inversion."""
    seeds = [stable_seed("rf_inversion", digest(content)) for content in contents]
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    return sampling.case_noise(like.shape, generators, like.device)
