"""Sampling of TF-ICON (Lu et al., ICCV 2023): inversion, composite noise, and branches that run side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editfrontier import inversion
from editfrontier.diffusion import attention, blending, sampling
from editfrontier.editing.methods.exceptional_prompt import exceptional_prompt
from editfrontier.editing.methods.tf_icon_attention import ComposedAttention, Composition
from editfrontier.inversion import InversionCache
from editfrontier.inversion.diffusion import dpm_step, dpm_times, first_order, signal_and_noise

ORDER = 2  # of the solver


# Regions --------------------------------------------------------------------------------------------------------------


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of a mask [1, H, W] that is not empty; bottom and right are exclusive."""
    rows, columns = (mask[0].any(axis).nonzero().flatten() for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def boxes(masks: Tensor) -> Tensor:
    """Return the bounding boxes of masks [B, 1, H, W] as masks."""
    filled = torch.zeros_like(masks)
    for case, mask in enumerate(masks):
        top, bottom, left, right = box_of(mask)
        filled[case, :, top:bottom, left:right] = 1.0
    return filled


def fitted(images: Tensor, image_masks: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Warp images so that the bounding boxes of their own masks cover the boxes of other masks.

    Args:
        images: [B, 3, H, W].
        image_masks: [B, 1, H, W] in {0, 1}.
        masks: [B, 1, H, W] in {0, 1}, whose boxes are filled.

    Returns:
        (images, masks), bilinear and nearest; what leaves no trace in the image is continued from its border. An image
        whose box is in place already comes back as it is.
    """
    height, width = images.shape[-2:]
    warped, warped_masks = [], []
    for image, image_mask, mask in zip(images, image_masks, masks, strict=True):
        (top, bottom, left, right), (to_top, to_bottom, to_left, to_right) = box_of(image_mask), box_of(mask)
        if (top, bottom, left, right) == (to_top, to_bottom, to_left, to_right):
            warped.append(image)
            warped_masks.append(image_mask)
            continue
        place = {"device": image.device, "dtype": torch.float32}
        y = top + (torch.arange(height, **place) + 0.5 - to_top) * (bottom - top) / (to_bottom - to_top)
        x = left + (torch.arange(width, **place) + 0.5 - to_left) * (right - left) / (to_right - to_left)
        rows, columns = torch.meshgrid(2 * y / height - 1, 2 * x / width - 1, indexing="ij")
        grid = torch.stack([columns, rows], dim=-1)[None]
        warped.append(functional.grid_sample(image[None], grid, "bilinear", "border", align_corners=False)[0])
        warped_masks.append(functional.grid_sample(image_mask[None], grid, "nearest", "zeros", align_corners=False)[0])
    return torch.stack(warped), torch.stack(warped_masks)


# Steps ----------------------------------------------------------------------------------------------------------------


def constrained(share: float, steps: int) -> int:
    """Return the step before which a constraint acts: int(share N + 1 - order), the rule of the official code."""
    return int(share * steps + 1 - ORDER)


@dataclass(frozen=True)
class Schedule:
    """How long each constraint acts.

    Attributes:
        attention: evaluations, from 0, before this one compose attention.
        background: the latents after steps 2 .. background - 1 get the replayed background.
    """

    steps: int
    attention: int
    background: int

    @classmethod
    def of(cls, steps: int, attention_until: float, background_until: float) -> Schedule:
        """Return the schedule of the shares tau_A and tau_B of N steps.

        With 20 steps, 0.4 and 0.8 these are the evaluations 0 to 6 and the steps 2 to 14.
        """
        return cls(steps, max(constrained(attention_until, steps), 0), constrained(background_until, steps))

    @property
    def replay(self) -> int:
        """Evaluations, from 0, before this one replay the background: as long as its attention or latents are used."""
        return max(self.attention, self.background - 1 if self.background > ORDER else 0)


def invert(model: Any, images: Tensor, steps: int, cache: InversionCache | None) -> Tensor:
    """Invert images [B, 3, H, W] under the exceptional prompt, and return their noise [B, C, h, w]."""
    text = exceptional_prompt(model, len(images))
    clean = sampling.encode(model, images)
    options: dict[str, Any] = {"images": images, "cache": cache, "keep": "noisiest"}
    return inversion.invert(model, clean, "dpm_solver", steps, text, **options).latents[0]


def composite_noise(
    outside: Tensor, inside: Tensor, foreground: Tensor, region: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Put the noise together that the generation starts from.

    Args:
        outside: [B, C, h, w] noise of the background, taken outside the region.
        inside: [B, C, h, w] noise that is taken in the foreground.
        foreground: [B, 1, H, W] in {0, 1}, within the region.
        region: [B, 1, H, W] in {0, 1}. What the foreground leaves open of it gets fresh noise.
        generators: one a case; its first draw is the fresh noise.
    """
    size = (outside.shape[-2], outside.shape[-1])
    fresh = sampling.case_noise(outside.shape, generators, outside.device)
    filled = torch.where(blending.latent_mask(foreground, size) == 1, inside, fresh)
    return torch.where(blending.latent_mask(region, size) == 1, filled, outside)


def generate(
    model: Any,
    start: Tensor,
    replays: dict[str, Tensor],
    prompts: Sequence[str],
    guidance: float,
    schedule: Schedule,
    composition: Composition,
) -> tuple[Tensor, int]:
    """Denoise a composite noise together with the replays that constrain it, all branches of an evaluation in one call.

    Evaluations that compose attention take five samples a case (two less without a foreground, one less without
    guidance), those that only replay the background three, the others two. As in the official code the network is asked
    before a step's background is put back, and the estimates of the first ORDER evaluations get it too.

    Args:
        start: [B, C, h, w] composite noise.
        replays: "background" and, with a foreground, "foreground": their noise [B, C, h, w].
        prompts: B target captions.
        guidance: w of the generation; the replays have none.

    Returns:
        (clean latents [B, C, h, w], number of attention layers that were controlled; 0 if there was no step to).
    """
    network = _Network(model, prompts, len(start), guidance, schedule, composition)
    scheduler = network.scheduler
    outside = 1.0 - blending.latent_mask(1.0 - composition.background, composition.size)

    def put_back(generated: dict[str, Tensor]) -> dict[str, Tensor]:
        return generated | {"generation": blending.mix(generated["background"], generated["generation"], outside)}

    latents = asked = {"generation": start, **replays}
    before: tuple[dict[str, Tensor], float] = ({}, 0.0)
    for step, (time, following) in enumerate(pairwise(dpm_times(scheduler, schedule.steps)), start=1):
        estimates = network.estimates(asked, time, step - 1)
        if step == ORDER < schedule.background:
            estimates, before = put_back(estimates), (put_back(before[0]), before[1])
        asked = {
            name: dpm_step(
                scheduler,
                latents[name],
                clean,
                time,
                following,
                None if first_order(step, schedule.steps) else (before[0][name], before[1]),
            )
            for name, clean in estimates.items()
        }
        latents = put_back(asked) if ORDER <= step < schedule.background else asked
        before = (estimates, time)
    return latents["generation"], network.controlled


class _Network:
    """The branches of an evaluation in one call of the UNet, whose attention it composes as long as the schedule says.

    Attributes:
        controlled: number of attention layers that were controlled, 0 before the first time.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[str],
        count: int,
        guidance: float,
        schedule: Schedule,
        composition: Composition,
    ) -> None:
        self.scheduler = sampling.make_scheduler(model.scheduler.config)
        self.controlled = 0
        self._unet, self._layers = model.unet, attention.self_attention(model.unet)
        self._guidance, self._schedule, self._composition = guidance, schedule, composition
        text = sampling.encode_text(model, prompts, composition.guided)
        self._texts = {"conditional": text.prompt} | ({} if text.empty is None else {"unconditional": text.empty})
        self._nothing = exceptional_prompt(model, count).prompt

    def estimates(self, latents: dict[str, Tensor], time: float, evaluation: int) -> dict[str, Tensor]:
        """Return clean latents [B, C, h, w] of the generation and of those replays that are needed still.

        Args:
            latents: [B, C, h, w] of the generation and the replays.
        """
        composition, names = self._composition, self._composition.branches
        composes = evaluation < self._schedule.attention
        if not composes:
            unused = {"foreground", "cross"} | (set() if evaluation < self._schedule.replay else {"background"})
            names = [name for name in names if name not in unused]
        owners = {"cross": composition.cross_queries, "unconditional": "generation", "conditional": "generation"}
        asked = {name: latents[owners.get(name, name)] for name in names}
        control = (
            attention.controlled(self._layers, lambda *_: ComposedAttention(composition)) if composes else nullcontext()
        )
        with control as count:
            output = self._unet(
                torch.cat(list(asked.values())),
                time,
                encoder_hidden_states=torch.cat([self._texts.get(name, self._nothing) for name in names]),
                return_dict=False,
            )[0]
        self.controlled = count or self.controlled
        outputs = dict(zip(names, output.chunk(len(names)), strict=True))
        outputs["generation"] = outputs["conditional"]
        if composition.guided:
            empty = outputs["unconditional"]
            outputs["generation"] = empty + self._guidance * (outputs["conditional"] - empty)
        prediction, level = self.scheduler.config.prediction_type, signal_and_noise(self.scheduler, time)[0] ** 2
        return {
            name: sampling.split_output(prediction, outputs[name], latents[name], level)[0]
            for name in latents
            if name in outputs
        }
