"""Held-out scores of the zoo's generators, of the shipped fp16 files, on renders of seeds that no training used.

The zoo's attribute classifier is the judge. Each of its scores has a ceiling, its score on true renders after a round
trip through the autoencoder, which separates the losses of the generator from those of the autoencoder.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editfrontier.base.seeding import case_generator, stable_seed
from editfrontier.data.language import instructions, load_language, portrait_caption
from editfrontier.microworld.portraits import ATTRIBUTES, named_attributes
from editfrontier.microworld.zoo.autoencoder import score_autoencoder
from editfrontier.microworld.zoo.build import AUTOENCODERS, ULTRAEDIT
from editfrontier.microworld.zoo.data import image_grid, portraits_with_flips, scene_images, to_float, to_uint8
from editfrontier.microworld.zoo.editing_data import edit_masks
from editfrontier.models.loading import load_pipeline, verify_provenance
from editfrontier.scoring.evaluators.attributes import AttributeEvaluator

log = logging.getLogger(__name__)
BATCH = 32


def evaluate(
    name: str, config: Mapping[str, Any], folder: Path, models: Path, samples: Path | None = None
) -> dict[str, float]:
    """Return the held-out scores of a shipped generator.

    Args:
        name: name of the generator.
        config: the zoo config, whose `held_out` has the numbers of images and the seed.
        folder: folder of the generator.
        models: folder that holds the attribute classifier.
        samples: PNG file for a grid of results, or None.
    """
    held_out = config["held_out"]
    if name in AUTOENCODERS:
        return _autoencoder(folder, held_out)
    if name == "t5":  # scored at the end of the training, before its head is dropped
        return dict(verify_provenance(folder)["scores"])
    judge = AttributeEvaluator.load(models / "attributes")
    dtype = "float32" if name in ULTRAEDIT else "bfloat16"  # autocast lowers the rest
    pipeline = load_pipeline(name.replace("-", "_"), folder, dtype=dtype)
    if name in ("text-to-image", "flux"):
        return _text_to_image(name, pipeline, judge, held_out, samples)
    return _editing(name, pipeline, judge, held_out, samples)


def _autoencoder(folder: Path, held_out: Mapping[str, int]) -> dict[str, float]:
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(str(folder), dtype=torch.float32).eval()
    portraits = portraits_with_flips(held_out["portraits"], 0, held_out["seed"])[0]
    scenes = scene_images(held_out["scenes"], held_out["seed"])
    return {
        **score_autoencoder(model, torch.cat([portraits, scenes])),
        **score_autoencoder(model, portraits, "portraits_"),
        **score_autoencoder(model, scenes, "scenes_"),
    }


def agreement(judged: Tensor, wanted: Tensor) -> dict[str, float]:
    """Return how often judged == wanted, bool [B, A]: by attribute and overall, plain and balanced over both values."""
    scores: dict[str, float] = {}
    balanced = []
    for index, name in enumerate(ATTRIBUTES):
        right, want = judged[:, index] == wanted[:, index], wanted[:, index]
        parts = [float(right[part].float().mean()) for part in (want, ~want) if part.any()]
        balanced.append(sum(parts) / len(parts))
        scores[f"obeyed_{name}"] = round(balanced[-1], 4)
    return {
        "prompts_obeyed": _share(judged == wanted),
        "prompts_obeyed_balanced": round(sum(balanced) / len(balanced), 4),
        **scores,
    }


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]


def _share(hits: Tensor) -> float:
    return round(float(hits.float().mean()), 4)


def _generators(count: int, kind: str) -> list[torch.Generator]:
    return [case_generator(f"held-out-{index}", kind, 0) for index in range(count)]


@torch.no_grad()
def _round_trip(vae: Any, images: Tensor) -> Tensor:
    sources = (to_float(block).to(vae.dtype) for block in images.split(BATCH))
    return torch.cat([to_uint8(vae.decode(vae.encode(source).latent_dist.mode()).sample) for source in sources])


def _text_to_image(
    name: str, pipeline: Any, judge: Any, held_out: Mapping[str, Any], samples: Path | None
) -> dict[str, float]:
    options: dict[str, Any] = {"num_inference_steps": 50, "guidance_scale": float(held_out["guidance"])}
    if name == "flux":  # FLUX.1-dev's own defaults; the guidance is the embedded one
        options = {**held_out["flux"], "height": 64, "width": 64}
        options["max_sequence_length"] = pipeline.tokenizer_2.model_max_length
    count = held_out["prompts"]
    renders, wanted, _, _ = portraits_with_flips(count, 0, held_out["seed"])
    language = load_language()
    texts = [portrait_caption(language, named_attributes(row)) for row in wanted]
    generators = _generators(count, name)
    images = []
    for part in _blocks(count):
        output = pipeline(texts[part], generator=generators[part], output_type="pt", **options).images
        images.append(to_uint8(output.float() * 2 - 1))
    result = torch.cat(images)
    if samples is not None:
        image_grid(result[:64], 16, samples)
    ceiling = agreement(judge.probabilities(_round_trip(pipeline.vae, renders)) > 0.5, wanted)
    return {
        **agreement(judge.probabilities(result) > 0.5, wanted),
        "ceiling_prompts_obeyed": ceiling["prompts_obeyed"],
        "ceiling_prompts_obeyed_balanced": ceiling["prompts_obeyed_balanced"],
        "guidance_scale": float(options["guidance_scale"]),
        "prompts": float(count),
    }


@torch.no_grad()
def _edit(
    name: str,
    pipeline: Any,
    before: Tensor,
    masks: Tensor,
    texts: list[str],
    generators: list[torch.Generator],
    held_out: Mapping[str, Any],
) -> Tensor:
    """Return edits [B, 3, 64, 64] in [-1, 1] of uint8 images; masks are for the models that take one."""
    guidance = float(held_out["guidance"])
    if name in ULTRAEDIT:
        from editfrontier.editing.methods import ultraedit_sampling

        seen = masks if name == "ultraedit-mask" else None
        with torch.autocast("cpu", torch.bfloat16):
            conditions = ultraedit_sampling.conditions(pipeline, to_float(before), seen)
            latents = ultraedit_sampling.sample(pipeline, conditions, texts, generators, 50, guidance, 1.5)
            return ultraedit_sampling.decode_unshifted(pipeline, latents)
    common: dict[str, Any] = {
        "image": (before.float() / 255).to(pipeline.unet.dtype),
        "num_inference_steps": 50,
        "guidance_scale": guidance,
        "generator": generators,
        "output_type": "pt",
    }
    if name == "inpainting":
        output = pipeline(texts, mask_image=masks.to(pipeline.unet.dtype), height=64, width=64, **common).images
    else:
        output = pipeline(texts, image_guidance_scale=1.5, **common).images
    edits: Tensor = output.float() * 2 - 1
    return edits


def _editing(
    name: str, pipeline: Any, judge: Any, held_out: Mapping[str, Any], samples: Path | None
) -> dict[str, float]:
    images, attributes, sources, changed = portraits_with_flips(held_out["edits"], 1, held_out["seed"])
    targets = (changed >= 0).nonzero().flatten()
    before = images[sources[targets]]
    seen = (before != images[targets]).any(1).flatten(1).sum(1) > 3
    targets, before = targets[seen], before[seen]
    after, columns = images[targets], changed[targets]
    desired = attributes[targets, columns]
    masks = torch.nn.functional.max_pool2d(edit_masks(before, after), 5, 1, 2)
    language = load_language()
    rng = random.Random(stable_seed("held-out", name))
    results = []
    generators = _generators(len(targets), name)
    for part in _blocks(len(targets)):
        if name == "inpainting":
            rows = attributes[targets[part]]
            texts = [portrait_caption(language, named_attributes(row)) for row in rows]
        else:
            pairs = zip(columns[part].tolist(), desired[part].tolist(), strict=True)
            texts = [rng.choice(instructions(language, ATTRIBUTES[column], value)) for column, value in pairs]
        output = _edit(name, pipeline, before[part], masks[part], texts, generators[part], held_out)
        results.append(to_uint8(output.float()))
    edited = torch.cat(results)
    if samples is not None:
        image_grid(torch.cat([before[:20], edited[:20], after[:20]]), 20, samples)
    row = torch.arange(len(targets))

    def success(images: Tensor) -> Tensor:
        return (judge.probabilities(images)[row, columns] > 0.5) == desired

    background = 1 - masks
    outside = background.sum().clamp_min(1) * 3
    trip = _round_trip(pipeline.vae, before)

    def error(images: Tensor) -> float:
        return round(float(((to_float(images) - to_float(before)).abs() * background).sum() / outside), 4)

    hits = success(edited)
    scores = {
        "success": _share(hits),
        "success_add": _share(hits[desired]),
        "success_remove": _share(hits[~desired]),
        "ceiling_success": _share(success(_round_trip(pipeline.vae, after))),
        "background_l1": error(edited),
        "autoencoder_background_l1": error(trip),
        "edits": float(len(targets)),
        "guidance_scale": float(held_out["guidance"]),
    }
    for index, attribute in enumerate(ATTRIBUTES):
        edited_here = columns == index
        if edited_here.any():
            scores[f"success_{attribute}"] = _share(hits[edited_here])
    return scores
