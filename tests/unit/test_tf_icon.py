"""TF-ICON: the exceptional prompt, the composed attention, the schedule, and what a composition of itself gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from editfrontier import inversion
from editfrontier.cases import Case, write_cases, write_png
from editfrontier.diffusion import attention, sampling, tf_icon_sampling
from editfrontier.diffusion.exceptional_prompt import exceptional_prompt, exceptional_token
from editfrontier.diffusion.tf_icon_attention import ComposedAttention, Composition, token_grid
from editfrontier.editing.shard import run_shard
from editfrontier.editors import EditBatch, Measured, get_editor, make_params
from editfrontier.errors import UserError
from editfrontier.inversion.diffusion import signal_and_noise
from tiny_pipelines import SIZE, fresh_generators, tiny_batch, tiny_pipeline

TOLERANCE = 1e-4
STEPS = 20


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def composed_batch(count: int = 2) -> EditBatch:
    """The tiny batch, each case with the region of another image as its exemplar, elsewhere and of another size."""
    batch = tiny_batch(count)
    masks = torch.zeros(count, 1, SIZE, SIZE)
    masks[:, :, 4:12, 4:20] = 1.0
    return replace(batch, exemplars=tiny_batch(count, seed=9).images, exemplar_masks=masks)


def run(model: Any, batch: EditBatch, name: str = "tf_icon", **overrides: Any) -> tuple[Tensor, float, int]:
    """(images, controlled attention layers, forwards a case)."""
    editor, counter = get_editor(name), sampling.ForwardCounter()
    handle = counter.attach(model.unet)
    fresh = replace(batch, generators=fresh_generators(len(batch.images)))
    made = editor.edit(model, fresh, make_params(editor, overrides))
    handle.remove()
    assert isinstance(made, Measured)
    return made.images, made.measures["attention_layers"][0], counter.samples // len(batch.images)


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


def halves(count: int = 1) -> tuple[Tensor, Tensor]:
    """(foreground, background) of a grid of 4 x 4 cells of 8 pixels: a corner and all but that half."""
    foreground, background = torch.zeros(2, count, 1, SIZE, SIZE)
    foreground[:, :, :16, :8] = 1.0
    background[:, :, :, 16:] = 1.0
    return foreground, background


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
    with pytest.raises(UserError, match="a layer has 100 tokens, expected those of a grid of 64x64 latents"):
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
    with pytest.raises(UserError, match="found no layer to control"):
        run(bare, composed_batch())


# Schedule and forwards ------------------------------------------------------------------------------------------------


def test_the_schedule_is_the_integer_rule_of_the_official_code() -> None:
    schedule = tf_icon_sampling.Schedule.of(20, 0.4, 0.8)
    assert (schedule.attention, schedule.background, schedule.replay) == (7, 15, 14)  # evaluations 0-6, steps 2-14
    assert tf_icon_sampling.Schedule.of(20, 0.4, 0.0).replay == 7
    assert tf_icon_sampling.Schedule.of(20, 0.0, 0.0).replay == 0
    assert tf_icon_sampling.Schedule.of(2, 0.4, 0.8).attention == 0


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("tf_icon", {}, 2 * 20 + 7 * 5 + 7 * 3 + 6 * 2),
        ("tf_icon", {"guidance_scale": 1.0}, 2 * 20 + 7 * 4 + 7 * 2 + 6),
        ("tf_icon", {"attention_until": 0.0}, 2 * 20 + 14 * 3 + 6 * 2),
        ("tf_icon", {"attention_until": 0.0, "background_until": 0.0}, 2 * 20 + 20 * 2),
        ("tf_icon_text", {}, 20 + 14 * 3 + 6 * 2),
        ("tf_icon_text", {"guidance_scale": 1.0, "num_inference_steps": 10}, 10 + 6 * 2 + 4),
    ],
)
def test_no_forward_is_made_for_a_replay_that_nothing_needs(
    model: Any, name: str, overrides: dict[str, Any], expected: int
) -> None:
    assert run(model, composed_batch(), name, **overrides)[2] == expected


def test_the_background_is_the_replay_until_tau_b_and_the_network_asked_before(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Tensor] = []  # the generation's latents as each step leaves them
    made: list[Tensor] = []  # and as the step before made them
    replay: list[Tensor] = []
    asked: list[Tensor] = []
    step_of = tf_icon_sampling.dpm_step

    def watched(scheduler: Any, latents: Tensor, *rest: Any) -> Tensor:
        result = step_of(scheduler, latents, *rest)
        if len(left) == len(replay):
            left.append(latents)
            made.append(result)
            if len(left) > 14:  # nothing asks for the replay any more
                replay.append(torch.full_like(latents, torch.nan))
        else:
            replay.append(latents)
        return result

    monkeypatch.setattr(tf_icon_sampling, "dpm_step", watched)
    handle = model.unet.register_forward_pre_hook(lambda module, args: asked.append(args[0][-2:]))
    run(model, composed_batch(), "tf_icon_text")
    handle.remove()
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[2:5, 3:6] = False  # the mask is 8:20 by 12:24 in pixels
    asked = asked[-20:]  # those before are of the inversion
    for step in range(1, 20):
        before, after = made[step - 1], left[step]
        assert torch.equal(after[..., ~outside], before[..., ~outside])
        put_back = not torch.equal(after[..., outside], before[..., outside])
        assert put_back == (2 <= step <= 14)
        if put_back and step < 14:
            assert torch.equal(after[..., outside], replay[step][..., outside])
        assert torch.equal(asked[step], before)
    assert len(left) == 20


class Mixing:
    """Stands for a UNet without attention: noise from the latents' neighbourhood, the time and the mean of the text."""

    def __call__(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        words = encoder_hidden_states.mean((1, 2))[:, None, None, None]
        near = torch.nn.functional.avg_pool2d(sample, 3, 1, 1, count_include_pad=False)
        return (0.6 * sample + 0.3 * near.tanh() + (1.0 + float(timestep) / 1000.0) * words,)


@pytest.mark.parametrize("steps", [6, 20])
def test_sampling_is_that_of_the_official_code(model: Any, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against its order of things, written out: warm-up, estimates of the warm-up put back, network before latents."""
    mixing, guidance = Mixing(), 5.0
    monkeypatch.setattr(model.unet, "forward", mixing)
    start, background = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    box = torch.zeros(2, 1, SIZE, SIZE)
    box[..., 8:20, 12:24] = 1.0
    made, layers = tf_icon_sampling.generate(
        model,
        start,
        {"background": background},
        ["hat", "old"],
        guidance,
        tf_icon_sampling.Schedule.of(steps, 0.0, 0.8),
        Composition(None, 1.0 - box, (8, 8), guided=True),
    )
    assert layers == 0

    scheduler = sampling.make_scheduler(model.scheduler.config)
    text, nothing = sampling.encode_text(model, ["hat", "old"], True), exceptional_prompt(model, 2).prompt
    assert text.empty is not None
    times = [999.0 * (1 - k / steps) for k in range(steps + 1)]
    levels = [signal_and_noise(scheduler, time) for time in times]
    lambdas = [math.log(signal / noise) for signal, noise in levels]
    cells = torch.zeros(8, 8, dtype=torch.bool)
    cells[2:5, 3:6] = True

    def clean(latents: Tensor, place: int, guided: bool) -> Tensor:
        (signal, noise), time = levels[place], times[place]
        if guided:
            away, towards = (mixing(latents, time, states)[0] for states in (text.empty, text.prompt))
            return (latents - noise * (away + guidance * (towards - away))) / signal
        return (latents - noise * mixing(latents, time, nothing)[0]) / signal

    def update(latents: Tensor, found: list[Tensor], place: int, order: int) -> Tensor:
        """To times[place], from estimates at the places before it."""
        width = lambdas[place] - lambdas[place - 1]
        direction = found[-1]
        if order == 2:
            ratio = (lambdas[place - 1] - lambdas[place - 2]) / width
            direction = direction + (found[-1] - found[-2]) / (2 * ratio)
        (_, noise), (next_signal, next_noise) = levels[place - 1], levels[place]
        return next_noise / noise * latents - next_signal * (math.exp(-width) - 1) * direction

    paths = {}
    for name, latents in (("background", background), ("generation", start)):
        found = [clean(latents, 0, name == "generation")]
        latents = update(latents, found, 1, 1)
        found.append(clean(latents, 1, name == "generation"))
        paths[name] = (latents, found)
    (replay, replayed), (latents, found) = paths["background"], paths["generation"]
    found = [torch.where(cells, own, other) for own, other in zip(found, replayed, strict=True)]
    for step in range(2, steps + 1):
        order = min(2, steps + 1 - step) if steps < 10 else 2
        replay, latents = update(replay, replayed, step, order), update(latents, found, step, order)
        if step < steps:
            replayed, found = [replayed[-1], clean(replay, step, False)], [found[-1], clean(latents, step, True)]
        if step < int(0.8 * steps + 1 - 2):
            latents = torch.where(cells, latents, replay)
    assert torch.allclose(made, latents, atol=1e-4, rtol=1e-4)


# Composition ----------------------------------------------------------------------------------------------------------


def test_exemplars_are_fitted_to_the_box_of_the_mask() -> None:
    rows = torch.arange(SIZE, dtype=torch.float32)[:, None]
    image = (rows + 100 * torch.arange(SIZE)).expand(1, 3, SIZE, SIZE)
    own, mask = torch.zeros(2, 1, 1, SIZE, SIZE)
    own[..., 4:8, 10:16] = 1.0
    mask[..., 20:24, 3:9] = 1.0
    moved, region = tf_icon_sampling.fitted(image, own, mask)
    assert torch.equal(region, mask)
    assert (moved[..., 20:24, 3:9] - image[..., 4:8, 10:16]).abs().max() < 1e-2
    assert moved[0, 0, 31, 0] == pytest.approx(15 + 100 * 7, abs=0.1)  # the whole image moves along
    mask[..., 16:28, 3:9] = 1.0
    larger, region = tf_icon_sampling.fitted(image, own, mask)
    assert torch.equal(region, tf_icon_sampling.boxes(mask))
    assert (larger[0, 0, 16:28, 3] - 1000 - torch.linspace(4 - 1 / 3, 7 + 1 / 3, 12)).abs().max() < 1e-2
    still, region = tf_icon_sampling.fitted(image, own, own)
    assert torch.equal(still, image) and torch.equal(region, own)


def test_noise_is_composed_of_outside_foreground_and_fresh() -> None:
    foreground, background = halves()
    outside = torch.full((1, 4, 8, 8), 5.0)
    inside = -outside
    made = tf_icon_sampling.composite_noise(outside, inside, foreground, 1 - background, fresh_generators(1))
    fresh = sampling.case_noise(outside.shape, fresh_generators(1), outside.device)
    assert (made[..., :, 4:] == 5.0).all()
    assert (made[..., :4, :2] == -5.0).all()
    assert torch.equal(made[..., 4:, :4], fresh[..., 4:, :4])
    assert torch.equal(made[..., :4, 2:4], fresh[..., :4, 2:4])


@pytest.fixture
def says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prompt is the exceptional one, so that the generation is a replay."""
    monkeypatch.setattr(
        sampling,
        "encode_text",
        lambda model, prompts, guided: replace(
            exceptional_prompt(model, len(prompts)), empty=exceptional_prompt(model, len(prompts)).prompt
        ),
    )


@pytest.mark.usefixtures("says_nothing")
@pytest.mark.parametrize("domain", ["same", "cross"])
def test_a_composition_of_a_whole_image_with_itself_is_its_reconstruction(model: Any, domain: str) -> None:
    """Of a part it is near: attention between the foreground and the rest sees the foreground only, and transposed."""
    batch = tiny_batch()
    batch = replace(batch, exemplars=batch.images, exemplar_masks=batch.masks)
    text = exceptional_prompt(model, 2)
    clean = sampling.encode(model, batch.images)
    there = inversion.invert(model, clean, "dpm_solver", STEPS, text)
    expected = sampling.decode(model, inversion.reconstruct(model, there, "dpm_solver", STEPS, text))
    everything = torch.ones_like(expected[:, :1])
    made, layers, _ = run(model, replace(batch, masks=everything, exemplar_masks=everything), domain=domain)
    assert layers > 0
    assert (made - expected).abs().max() < TOLERANCE
    assert (run(model, batch, "tf_icon_text")[0] - expected).abs().max() < TOLERANCE
    part = (run(model, batch, domain=domain)[0] - expected).abs().mean()
    other = replace(batch, exemplars=tiny_batch(seed=5).images)
    assert part < 0.5 * (run(model, other, domain=domain)[0] - expected).abs().mean()


def test_hyperparameters_change_what_they_say(model: Any) -> None:
    batch = composed_batch()
    base = run(model, batch)[0]
    shares = {"attention_until": 0.0, "background_until": 0.0, "guidance_scale": 5.0, "cross_queries": "foreground"}
    for name, value in shares.items():
        least = 1e-4 if name == "cross_queries" else 1e-3
        assert (run(model, batch, "tf_icon", **{name: value})[0] - base).abs().max() > least, name
    assert torch.equal(run(model, batch, guidance_scale=2.5)[0], base)
    cross = run(model, batch, domain="cross")[0]
    assert (cross - base).abs().max() > 1e-3
    assert torch.equal(cross, run(model, batch, domain="cross", guidance_scale=5.0)[0])
    text = run(model, batch, "tf_icon_text")[0]
    for same in ({"region": "mask"}, {"start": "fresh"}):  # the mask is a box, which leaves nothing open
        assert torch.equal(run(model, batch, "tf_icon_text", **same)[0], text)


@pytest.mark.parametrize("name", ["tf_icon", "tf_icon_text"])
def test_a_case_is_the_same_in_any_batch(model: Any, name: str) -> None:
    batch = composed_batch(3)
    together = run(model, batch, name)[0]
    editor = get_editor(name)
    for case in range(3):
        values: dict[str, Any] = {
            key: None if value is None else value[case : case + 1] for key, value in vars(batch).items()
        }
        alone = EditBatch(**{**values, "generators": fresh_generators(3)[case : case + 1]})
        made = editor.edit(model, alone, editor.params())
        assert isinstance(made, Measured)
        assert (made.images - together[case]).abs().max() < TOLERANCE


# Bad input ------------------------------------------------------------------------------------------------------------


def test_cases_without_an_exemplar_fail_alone_and_need_none_for_the_text(model: Any, tmp_path: Path) -> None:
    cases = []
    for number, (exemplar, rows) in enumerate([("exemplar.png", slice(8, 20)), ("", slice(8, 20))]):
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        mask[rows, 12:24] = True
        write_png(tmp_path / f"mask-{number}.png", mask)
        write_png(tmp_path / "image.png", np.full((SIZE, SIZE, 3), 90, dtype=np.uint8))
        write_png(tmp_path / "exemplar.png", np.full((SIZE, SIZE, 3), 200, dtype=np.uint8))
        cases.append(
            Case(
                case_id=f"case-{number}",
                task="portraits",
                image="image.png",
                source_caption="a face",
                target_caption="a hat",
                instruction="add",
                edit_type="attribute_add",
                mask=f"mask-{number}.png",
                exemplar=exemplar,
                cluster=str(number),
                licence="CC0-1.0",
            )
        )
    write_cases(tmp_path / "cases.parquet", cases)

    def rows_of(editor: str) -> list[Any]:
        spec = {"editor": editor, "variant": "v", "params": {"num_inference_steps": 2}}
        record, images = tmp_path / editor / "record.parquet", tmp_path / editor
        return run_shard(
            tmp_path / "cases.parquet", 0, 1, spec, record, images, 2, model=model, progress=lambda _: None
        )

    with_exemplar, without = rows_of("tf_icon")
    assert with_exemplar.status == "ok", with_exemplar.reason
    assert without.status == "failed"
    assert without.reason == "case case-1: has no exemplar, which the editor needs. Fill in this column."
    assert [row.status for row in rows_of("tf_icon_text")] == ["ok", "ok"]


def test_a_region_that_vanishes_is_named(model: Any) -> None:
    batch = composed_batch()
    assert batch.exemplar_masks is not None
    frame = torch.zeros_like(batch.exemplar_masks)  # thin, and fitted to two pixels
    frame[..., 0, :] = frame[..., -1, :] = frame[..., :, 0] = frame[..., :, -1] = 1.0
    small = torch.zeros_like(frame)
    small[..., 10:12, 10:12] = 1.0
    with pytest.raises(UserError, match="case case-0: nothing of the exemplar's region is left"):
        run(model, replace(batch, exemplar_masks=frame, masks=small))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_inference_steps": 1}, r"'num_inference_steps': 1, expected in \[2, 1000\]"),
        ({"guidance_scale": 0.5}, r"'guidance_scale': 0.5, expected at least 1"),
        ({"attention_until": 1.5}, r"'attention_until': 1.5, expected in \[0, 1\]"),
        ({"domain": "other"}, r"'other', expected one of same, cross"),
    ],
)
def test_wrong_hyperparameters_are_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_params(get_editor("tf_icon"), overrides)
