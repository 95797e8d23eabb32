"""Composition of self-attention in TF-ICON (Lu et al., ICCV 2023): logits of an image that is put together of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.diffusion import blending

Queries = Literal["background", "foreground"]


def token_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an attention layer's token grid: the latents' size, halved until the tokens fit.

    Raises:
        UserError: no level of a UNet on latents of this size has that many tokens.
    """
    height, width = size
    while height * width > tokens:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise UserError(
            f"attention control: a layer has {tokens} tokens, expected as many as a grid of {size[0]}x{size[1]} "
            "latents or a halving of it has. Use a UNet whose self-attention sees the whole grid."
        )
    return height, width


@dataclass(frozen=True)
class Composition:
    """What belongs to whom, and which samples of a batch are which.

    The samples of a network call are branches of B cases each: foreground replay, background replay, cross replay, then
    the generation, its unconditional half first if it is guided. Without a foreground the first and third are absent.

    Attributes:
        foreground: [B, 1, H, W] in {0, 1}, where the foreground is put; None if there is none.
        background: [B, 1, H, W] in {0, 1}, neither foreground nor the area to fill.
        size: height and width of the latents.
        guided: whether the generation has an unconditional half.
        cross_queries: whose latents the cross replay has, and so its queries.
    """

    foreground: Tensor | None
    background: Tensor
    size: tuple[int, int]
    guided: bool
    cross_queries: Queries = "background"

    @property
    def branches(self) -> list[str]:
        """Names of the branches of a call in their order."""
        replays = ["background"] if self.foreground is None else ["foreground", "background", "cross"]
        return [*replays, *(["unconditional"] if self.guided else []), "conditional"]

    def tokens(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the tokens [B, count] bool of foreground and background: cells of a grid that a region touches.

        A cell on the border of both regions is not the background's.
        """
        grid = token_grid(count, self.size)
        background = 1.0 - blending.latent_mask(1.0 - self.background, grid)
        foreground = (
            torch.zeros_like(background) if self.foreground is None else blending.latent_mask(self.foreground, grid)
        )
        return foreground.flatten(1).bool(), background.flatten(1).bool()


class ComposedAttention:
    """Attention processor that overwrites logits of the conditional half of the generation, before their softmax.

    Between two tokens of the background they come from the background replay, between two of the foreground from the
    foreground replay. Between a token of the foreground and any other they come from the cross replay: the other's
    query there times the foreground token's key, in the column of the foreground token and, transposed, in its row.
    The rest keeps its own: pairs within the area to fill, and pairs of this area and the background. All values are
    its own.

    The cross replay attends to the tokens of the foreground only. With queries of the background it has the
    background's latents, and keys and values of the foreground replay; with queries of the foreground, as the official
    code computes them, it has the foreground's latents, and everything of its own. No other branch is changed.
    """

    def __init__(self, composition: Composition) -> None:
        self.composition = composition

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Attend; hidden_states: [branches * B, tokens, D]."""
        names = self.composition.branches
        query, key, value = (
            layer(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        queries, keys, values = (dict(zip(names, part.chunk(len(names)), strict=True)) for part in (query, key, value))
        masks = self.composition.tokens(hidden_states.shape[1])
        unchanged = [name for name in names if name not in ("cross", "conditional")]
        query, key, value = (torch.cat([part[name] for name in unchanged]) for part in (queries, keys, values))
        plain = functional.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        attended = dict(zip(unchanged, plain.chunk(len(unchanged)), strict=True))
        if "cross" in names:
            if self.composition.cross_queries == "background":
                keys["cross"], values["cross"] = keys["foreground"], values["foreground"]
            attended["cross"] = functional.scaled_dot_product_attention(
                queries["cross"], keys["cross"], values["cross"], masks[0][:, None, None], scale=attn.scale
            )
        attended["conditional"] = torch.stack(
            [  # a case at a time: its logits are the square of its tokens
                self._composed(case, queries, keys, values["conditional"][case], masks, attn.scale)
                for case in range(len(masks[0]))
            ]
        )
        output = torch.cat([attended[name] for name in names]).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output))

    def _composed(
        self,
        case: int,
        queries: dict[str, Tensor],
        keys: dict[str, Tensor],
        value: Tensor,
        masks: tuple[Tensor, Tensor],
        scale: float,
    ) -> Tensor:
        """Attend in the conditional half of one case; value: [heads, tokens, D]."""

        def logits(branch: str) -> Tensor:
            return scale * queries[branch][case] @ keys[branch][case].transpose(-1, -2)

        foreground, background = (mask[case] for mask in masks)
        mixed = torch.where(background[:, None] & background, logits("background"), logits("conditional"))
        if self.composition.foreground is not None:
            cross = logits("cross")
            mixed = torch.where(foreground, cross, mixed)
            mixed = torch.where(foreground[:, None], cross.transpose(-1, -2), mixed)
            mixed = torch.where(foreground[:, None] & foreground, logits("foreground"), mixed)
        return mixed.float().softmax(-1).to(value.dtype) @ value
