"""The exceptional prompt and the composed attention of TF-ICON against their formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion import attention, sampling
from editfrontier.editing.methods.exceptional_prompt import exceptional_prompt, exceptional_token
from editfrontier.editing.methods.tf_icon_attention import ComposedAttention, Composition, token_grid
from tf_icon_fixture import composed_batch, halves, run
from tiny_pipelines import tiny_pipeline


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


# The exceptional prompt -----------------------------------------------------------------------------------------------


def test_exceptional_prompt_says_the_same_at_every_place(model: Any, hub_model: Callable[[str], Any]) -> None:
    for pipeline in (model, hub_model("sd2_base")):
        text = exceptional_prompt(pipeline, 3)
        length = pipeline.tokenizer.model_max_length
        assert text.empty is None and text.prompt.shape == (3, length, pipeline.unet.config.cross_attention_dim)
        assert (text.prompt - text.prompt[:1, :1]).abs().max() < 1e-5
        plain = sampling.encode_text(pipeline, ["a face"], False).prompt
        assert (plain - plain[:, :1]).abs().max() > 0.1
        assert (plain[0, 1] - text.prompt[0, 0]).abs().max() > 0.1


def test_it_is_one_ordinary_token_without_a_position(hub_model: Callable[[str], Any]) -> None:
    pipeline = hub_model("sd2_base")
    before = sampling.encode_text(pipeline, ["a face"], False).prompt
    seen: list[Tensor] = []
    embeddings = pipeline.text_encoder.embeddings
    handles = [
        embeddings.token_embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0])),
        embeddings.register_forward_hook(lambda module, args, output: seen.append(output)),
    ]
    exceptional_prompt(pipeline, 1)
    for handle in handles:
        handle.remove()
    assert set(seen[0].flatten().tolist()) == {7788}
    assert torch.equal(seen[1], embeddings.token_embedding.weight[7788].expand_as(seen[1]))
    assert torch.equal(sampling.encode_text(pipeline, ["a face"], False).prompt, before)  # positions are back


def test_a_smaller_vocabulary_has_a_token_of_its_own_that_is_neither_start_nor_end(model: Any) -> None:
    assert exceptional_token(49408) == 7788
    for vocabulary in (190, 965, 7788):
        assert 0 <= exceptional_token(vocabulary) < vocabulary - 2
    model = tiny_pipeline()
    model.text_encoder.embeddings.position_embedding = torch.nn.Identity()
    model.text_encoder.embeddings.extra = torch.nn.ModuleDict({"position_embedding": torch.nn.Identity()})
    with pytest.raises(UserError, match=r"CLIPTextModel has 2 layers named position_embedding, expected one"):
        exceptional_prompt(model, 1)


# Attention ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cross_queries", ["background", "foreground"])
@pytest.mark.parametrize("guided", [True, False])
def test_logits_come_from_the_branch_that_owns_them(model: Any, guided: bool, cross_queries: Any) -> None:
    """Entry by entry, against attention written out with loops."""
    layer = next(iter(attention.self_attention(model.unet).values()))
    width, tokens = layer.to_q.in_features, 16
    composition = Composition(*halves(2), (8, 8), guided, cross_queries)
    names = composition.branches
    assert names == ["foreground", "background", "cross", *["unconditional"] * guided, "conditional"]
    states = torch.randn(2 * len(names), tokens, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = dict(zip(names, ComposedAttention(composition)(layer, states).chunk(len(names)), strict=True))
        plain = dict(zip(names, layer.processor(layer, states).chunk(len(names)), strict=True))
        parts = dict(zip(names, states.chunk(len(names)), strict=True))

        def heads(linear: Any, name: str) -> Tensor:
            return linear(parts[name]).view(2, tokens, layer.heads, -1).permute(0, 2, 1, 3)

        query, key = ({name: heads(to, name) for name in names} for to in (layer.to_q, layer.to_k))
        for unchanged in ("foreground", "background", *["unconditional"] * guided):
            assert (made[unchanged] - plain[unchanged]).abs().max() < 1e-5

        cells = [(place // 4, place % 4) for place in range(tokens)]
        inside = [row < 2 and column < 1 for row, column in cells]
        outside = [column >= 2 for _, column in cells]
        shown = "foreground" if cross_queries == "background" else "cross"  # whose keys and values the cross term has
        kinds = set()
        logits = torch.empty(2, layer.heads, tokens, tokens)
        for i in range(tokens):
            for j in range(tokens):
                asks, asked = i, j
                if inside[i] and inside[j]:
                    q, k, kind = query["foreground"], key["foreground"], "foreground"
                elif inside[j]:
                    q, k, kind = query["cross"], key[shown], "column"
                elif inside[i]:  # the column of the same token, transposed
                    q, k, kind = query["cross"], key[shown], "row"
                    asks, asked = j, i
                elif outside[i] and outside[j]:
                    q, k, kind = query["background"], key["background"], "background"
                else:
                    q, k, kind = query["conditional"], key["conditional"], "own"
                kinds.add((kind, outside[i], outside[j]))
                logits[:, :, i, j] = layer.scale * (q[:, :, asks] * k[:, :, asked]).sum(-1)
        assert {("own", True, False), ("own", False, False), ("column", False, False), ("row", False, True)} <= kinds
        mixed = logits.softmax(-1) @ heads(layer.to_v, "conditional")
        expected = layer.to_out[0](mixed.permute(0, 2, 1, 3).flatten(2))
        crossed = layer.scale * query["cross"] @ key[shown].transpose(-1, -2)
        crossed[..., [not place for place in inside]] = -torch.inf
        crossed = crossed.softmax(-1) @ heads(layer.to_v, shown)
        replay = layer.to_out[0](crossed.permute(0, 2, 1, 3).flatten(2))
    assert (made["conditional"] - expected).abs().max() < 1e-5
    assert (made["cross"] - replay).abs().max() < 1e-5


def test_without_a_foreground_only_pairs_of_the_background_are_replayed(model: Any) -> None:
    layer = next(iter(attention.self_attention(model.unet).values()))
    composition = Composition(None, halves(2)[1], (8, 8), guided=False)
    states = torch.randn(4, 16, layer.to_q.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = ComposedAttention(composition)(layer, states)[2:]
        query, key, value = (
            to(states).view(2, 2, 16, layer.heads, -1).transpose(2, 3) for to in (layer.to_q, layer.to_k, layer.to_v)
        )
        replayed, own = layer.scale * query @ key.transpose(-1, -2)
        outside = torch.arange(16) % 4 >= 2
        logits = torch.where(outside[:, None] & outside, replayed, own)
        expected = layer.to_out[0]((logits.softmax(-1) @ value[1]).transpose(1, 2).flatten(2))
    assert (made - expected).abs().max() < 1e-5


def test_token_grids_follow_the_size_of_the_latents() -> None:
    assert [token_grid(n, (64, 64)) for n in (4096, 1024, 256, 64)] == [(64, 64), (32, 32), (16, 16), (8, 8)]
    assert [token_grid(n, (32, 32)) for n in (1024, 16)] == [(32, 32), (4, 4)]
    assert token_grid(10 * 14, (40, 56)) == (10, 14)
    assert token_grid(3 * 2, (9, 6)) == (3, 2)  # a UNet rounds up: 9, 5, 3
    with pytest.raises(UserError, match="a layer has 100 tokens, expected as many as a grid of 64x64 latents"):
        token_grid(100, (64, 64))


def test_a_cell_that_a_region_touches_is_not_the_background() -> None:
    foreground, background = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    foreground[..., 3:5, 3] = 1.0  # thinner than a cell, over two rows of cells of 4
    background[..., 3:9, 3] = 0.0
    inside, outside = Composition(foreground, background, (8, 8), True).tokens(64)
    assert inside[0].view(8, 8).nonzero().tolist() == [[0, 0], [1, 0]]
    assert (~outside[0]).view(8, 8).nonzero().tolist() == [[0, 0], [1, 0], [2, 0]]


def test_it_states_how_many_layers_it_controls_and_needs_one(model: Any) -> None:
    found = attention.self_attention(model.unet)
    own = {name: layer.processor for name, layer in found.items()}
    _, controlled, _ = run(model, composed_batch())
    assert controlled == len(found) > 0
    assert {name: layer.processor for name, layer in found.items()} == own
    assert run(model, composed_batch(), attention_until=0.0)[1] == 0
    bare = tiny_pipeline()
    bare.unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type=None,
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=32,
    )
    with pytest.raises(UserError, match="there is no layer to control"):
        run(bare, composed_batch())
