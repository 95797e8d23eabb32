"""TF-ICON: the exceptional prompt, the composed attention, the schedule, and what a composition of itself gives."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from editfrontier import inversion
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, write_cases, write_png
from editfrontier.diffusion import sampling
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.editing.methods import tf_icon_sampling
from editfrontier.editing.methods.exceptional_prompt import exceptional_prompt
from editfrontier.editing.methods.tf_icon_attention import Composition
from editfrontier.editing.shard import run_shard
from editfrontier.inversion.diffusion import signal_and_noise
from tf_icon_fixture import STEPS, TOLERANCE, composed_batch, halves, run
from tiny_pipelines import SIZE, fresh_generators, tiny_batch, tiny_pipeline


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


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
