"""The theory's analyses, end to end on tiny random models and cases."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis_fixture import found_by
from editfrontier.base.errors import UserError
from editfrontier.data.cases import read_cases, write_cases
from editfrontier.diffusion import sampling
from editfrontier.editing.editor import get_editor, make_params
from editfrontier.editing.editors import mask_guided
from editfrontier.statistics.taskscores import Settings
from editfrontier.study.analysis import Analysis, analysis_params, get_analysis
from editfrontier.study.designs import theory_cases as study
from editfrontier.study.inputs import Inputs
from editfrontier.study.run import draw_analysis
from editfrontier.study.theory import maps
from tiny_flux import tiny_flux
from tiny_pipelines import fresh_generators, tiny_batch, tiny_cases, tiny_pipeline

MODELS = {"text_to_image": tiny_pipeline, "inpainting": lambda: tiny_pipeline("inpainting"), "flux": tiny_flux}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    (folder / "data" / "t").mkdir(parents=True)
    tiny_cases(folder / "data" / "t", 4)
    return folder


@pytest.fixture
def inputs(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Inputs]:
    """Inputs on the tiny cases, whose models are tiny ones; arguments: the kinds of models, and what differs."""

    def load(inputs: Inputs, kind: str, device: torch.device, *, gradient_checkpointing: bool = False) -> Any:
        model = MODELS[kind]()
        sampling.prepare_model(model, device)
        return maps.freeze(model)

    monkeypatch.setattr(study, "load", load)

    def make(*kinds: str, **changes: Any) -> Inputs:
        paths = {kind: Path(kind) for kind in kinds}
        usual = Inputs("theory", root, {}, ("t",), paths, {}, Settings(resamples=50), (), 0, "cpu")
        return dataclasses.replace(usual, **changes)

    return make


def analysis(name: str) -> Analysis:
    return get_analysis(name)


def drawn(name: str, found: Any, inputs: Inputs, folder: Path, **params: Any) -> list[str]:
    """Draw the figure, and return the sentences."""
    one = analysis(name)
    draw_analysis(one, found, inputs, analysis_params(one, params), folder / name)
    for suffix in ("pdf", "svg", "png"):
        assert (folder / f"{name}.{suffix}").stat().st_size > 1000
    sentences = list(one.say(found, inputs))
    assert sentences
    assert not any("nan" in sentence for sentence in sentences)
    return sentences


# Theorem 1 ------------------------------------------------------------------------------------------------------------

LIPSCHITZ = {
    "cases": 3,
    "whole_cases": 2,
    "ddim_steps": (2, 4),
    "flow_steps": (2,),
    "whole_ddim_steps": 2,
    "whole_flow_steps": 2,
    "iterations": 8,
}


def test_lipschitz_on_both_models(inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    given = inputs("text_to_image", "flux")
    found = found_by(analysis("lipschitz"), given, **LIPSCHITZ)
    levels = {row.level: row.n for row in found.select("lipschitz")}
    assert levels == {"ddim/decoder": 3, "ddim/whole": 2, "fireflow/decoder": 3, "fireflow/whole": 2}
    assert [row.x for row in found.select("bound", level="ddim/decoder")] == [2.0, 4.0]
    for row in found.select("tightness"):
        where = {"level": row.level, "x": row.x}
        assert row.value > 0
        held = found.one("holds_largest", **where)
        local = found.one("holds_local", **where)
        assert held is not None
        assert local is not None
        assert held.value >= local.value
    points = found.select("case", level="ddim/decoder, 2 steps")
    for quantity, values in (
        ("latent_error", [one.x for one in points]),
        ("image_error", [one.value for one in points]),
    ):
        mean = found.one(quantity, level="ddim/decoder", x=2.0)
        assert mean is not None
        assert mean.value == pytest.approx(sum(values) / len(values))
    assert len(found.select("case", level="ddim/decoder, 2 steps")) == 3
    sentences = drawn("lipschitz", found, given, tmp_path, **LIPSCHITZ)
    assert any(sentence.startswith("FireFlow and decoder: ") for sentence in sentences)


def test_lipschitz_without_a_model_or_a_task(inputs: Callable[..., Inputs]) -> None:
    run = analysis("lipschitz").run
    params = analysis_params(analysis("lipschitz"), {})
    with pytest.raises(UserError, match="names none of the models text_to_image, flux"):
        run(inputs("inpainting"), params)
    with pytest.raises(UserError, match="0 tasks, expected one"):
        run(inputs("text_to_image", tasks=()), params)


# Locality -------------------------------------------------------------------------------------------------------------

LOCALITY = {"cases": 3, "num_inference_steps": 4, "edges": (1, 2, 3, 5, 9, 17), "timesteps": (301,)}


@pytest.mark.parametrize("inside", ["other", "true_edit"])
def test_locality(inputs: Callable[..., Inputs], tmp_path: Path, inside: str) -> None:
    given = inputs("text_to_image", "inpainting")
    params = {**LOCALITY, "inside": inside}
    found = found_by(analysis("locality"), given, **params)

    def value(quantity: str, level: str) -> float:
        row = found.one(quantity, level=level)
        assert row is not None
        return row.value

    assert value("agrees", "mask_guided/soft") == 0.0
    assert value("leakage_outside", "mask_guided/soft") > 0
    assert value("agrees_beyond_feather", "mask_guided/locked") == 1.0
    assert value("reach", "mask_guided/locked") <= 2.0
    assert value("leakage_inside", "mask_guided/locked") == value("leakage_inside", "mask_guided/soft") > 0
    # Inpainting from pure noise never reads what lies inside the mask.
    assert value("agrees", "sd_inpaint/soft") == 1.0
    assert value("leakage_inside", "sd_inpaint/soft") == 0.0
    beyond = [row.value for row in found.select("leakage", level="mask_guided/locked") if row.x > 2]
    assert beyond
    assert np.nanmax(beyond) == 0.0
    assert value("support_share", "decoder") == 1.0  # group normalisation
    for level in ("unet, t = 301", "decoder"):  # this autoencoder has attention too
        attention = found.select("kernel_radius", level=level)[0]
        assert 14 <= attention.value <= 18  # from the middle to the edge of 32 pixels
        assert "attention" in attention.note
    drawn("locality", found, given, tmp_path, **params)


def test_kernels_wider_than_the_image_are_measured_on_a_larger_canvas(inputs: Callable[..., Inputs]) -> None:
    """The shipped decoder has 9 convolutions on cells of 4 pixels, 5 on cells of 2, and 6 on pixels: 52 pixels."""
    from editfrontier.models.loading import load_pipeline
    from editfrontier.study.analyses.locality import _field

    model = maps.freeze(load_pipeline("text_to_image", "resources/micro/text-to-image"))
    params = analysis_params(analysis("locality"), {})
    points = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    decode = maps.decoder(model)
    rows = _field(inputs(), params, "decoder", lambda values, rows: decode(values), points, 1, 4, model, ["a"])
    radius = next(row for row in rows if row.quantity == "kernel_radius")
    assert abs(radius.value - 52) <= 2  # up to half a cell, since distances end at centres
    assert "wider than the image" in radius.note


def test_the_locked_composite_is_that_of_the_editor() -> None:
    from editfrontier.diffusion import blending

    model = tiny_pipeline()
    editor = get_editor("mask_guided")
    made = {}
    for composite in ("soft", "locked"):
        batch = dataclasses.replace(tiny_batch(), generators=fresh_generators())
        params = make_params(editor, {"num_inference_steps": 4, "composite": composite})
        made[composite] = mask_guided.edit(model, batch, params)
    batch = tiny_batch()
    assert batch.masks is not None
    assert torch.equal(made["locked"], blending.paste(made["soft"], batch.images, batch.masks, params.feather))


def test_a_pair_agrees_outside_the_mask_only() -> None:
    from editfrontier.study.analyses.locality import make_pairs

    batch = dataclasses.replace(tiny_batch(), others=-tiny_batch().images)
    assert batch.masks is not None
    mask = batch.masks.bool().expand_as(batch.images)
    second = make_pairs(batch, "other")
    assert torch.equal(second[~mask], batch.images[~mask])
    assert torch.equal(second[mask], -batch.images[mask])


def test_locality_rejects_wrong_parameters() -> None:
    one = analysis("locality")
    for wrong, words in (({"edges": [3, 2]}, "edges"), ({"share": 1.0}, "share"), ({"inside": "noise"}, "inside")):
        with pytest.raises(UserError, match=words):
            analysis_params(one, wrong)


# Theorem 3 ------------------------------------------------------------------------------------------------------------

GUIDANCE = {"cases": 3, "steps": 6, "scales": (1.0, 5.0), "half_scale": 5.0, "batch_size": 2}


def test_guidance_bound(inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    given = inputs("text_to_image")
    found = found_by(analysis("guidance_bound"), given, **GUIDANCE)
    for reading in ("single", "cumulative", "ddim"):
        total = found.one("terms_sum", level=reading)
        assert total is not None
        assert total.value == pytest.approx(sum(row.value for row in found.select("term", level=reading)))
        assert sum(row.value for row in found.select("term_share", level=reading)) == pytest.approx(1.0)
        late = sum(row.value for row in found.select("term_share", level=reading) if row.x > 3)
        share = found.one("clean_half_share", level=f"{reading}/terms")
        assert share is not None
        assert share.value == pytest.approx(late)
        for scale in GUIDANCE["scales"]:  # type: ignore[attr-defined]
            largest = found.one("largest_direction", x=scale)
            plain, averaged = (found.one("bound", level=f"{reading}/{f}", x=scale) for f in ("plain", "averaged"))
            assert largest is not None
            assert plain is not None
            assert averaged is not None
            assert plain.value == pytest.approx(scale * largest.value * total.value)
            assert averaged.value == pytest.approx(plain.value / math.sqrt(6))
            wide = found.one("expected_tightness", level=f"{reading}/plain", x=scale)
            deviation = found.one("deviation", x=scale)
            assert wide is not None
            assert deviation is not None
            assert wide.value <= deviation.value / plain.value  # the largest G is at least the mean one
    norms = found.select("direction_norm", level="w = 5")
    largest = found.one("largest_direction", x=5.0)
    assert [row.x for row in norms] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert largest is not None
    assert max(row.value for row in norms) <= largest.value
    assert {row.level for row in found.select("half_deviation")} == {"noisy", "clean"}
    drawn("guidance_bound", found, given, tmp_path, **GUIDANCE)


def test_results_do_not_depend_on_the_batch_size(inputs: Callable[..., Inputs]) -> None:
    given = inputs("text_to_image")
    a, b = (found_by(analysis("guidance_bound"), given, **{**GUIDANCE, "batch_size": n}) for n in (1, 3))
    for first, second in zip(a.select("deviation"), b.select("deviation"), strict=True):
        assert first.value == pytest.approx(second.value, rel=1e-3)


# Section 6.1 ----------------------------------------------------------------------------------------------------------

SCORES = {"cases": 4, "steps": 5, "local_cases": 2, "local_steps": 2, "iterations": 4}


def test_score_difference(inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    given = inputs("text_to_image", "flux")
    found = found_by(analysis("score_difference"), given, **SCORES)
    assert [row.level for row in found.select("deviation")] == ["diffusion/source", "diffusion/empty", "flow/source"]
    for level in ("diffusion/source", "diffusion/empty", "flow/source"):
        # Bounds that follow from the two paths themselves hold, whatever the model.
        for kind in ("secant", "transition"):
            held = found.one("holds", level=level, metric=kind)
            assert held is not None
            assert held.value == 1.0
        wide, narrow = (found.one("log10_bound", level=level, metric=kind) for kind in ("secant", "transition"))
        assert wide is not None
        assert narrow is not None
        assert wide.value >= narrow.value - 1e-6
        local = found.one("log10_bound", level=level, metric="local")
        assert local is not None
        assert local.n == 2
        last = found.one("log10_bound_at", level=level, metric="secant", x=5.0)
        assert last is not None
        assert last.value == pytest.approx(wide.value)
    drawn("score_difference", found, given, tmp_path, **SCORES)


def test_score_difference_without_local_constants(inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    given = inputs("text_to_image")
    params = {**SCORES, "local_cases": 0, "cases": 2}
    found = found_by(analysis("score_difference"), given, **params)
    assert not found.select("log10_bound", metric="local")
    assert not found.select("converged")
    assert "fewer than four" in found.select("rank_correlation")[0].note
    drawn("score_difference", found, given, tmp_path, **params)


def test_score_difference_rejects_wrong_parameters() -> None:
    one = analysis("score_difference")
    with pytest.raises(UserError, match="steps"):
        analysis_params(one, {"steps": 1})
    with pytest.raises(UserError, match="local_steps"):
        analysis_params(one, {"local_steps": 30})
    with pytest.raises(UserError, match="scales"):
        analysis_params(analysis("guidance_bound"), {"scales": []})


# Shared ---------------------------------------------------------------------------------------------------------------


def test_a_case_that_cannot_be_read_is_counted(inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "t"
    folder.mkdir(parents=True)
    cases = read_cases(tiny_cases(folder, 4))
    (folder / "mask-1.png").write_bytes(b"no image")
    given = inputs("text_to_image", root=tmp_path)
    chosen = study.choose_cases(given, 3, ["mask"])
    assert [one.case.case_id for one in chosen.inputs] == ["case-0", "case-2"]
    row = study.left_out(chosen)
    assert (row.value, row.n) == (1.0, 2)
    assert "mask-1.png" in row.note
    one_source = [dataclasses.replace(case, cluster="same") for case in cases]
    write_cases(folder / "cases.parquet", one_source)
    assert len(study.choose_cases(given, 3, [])) == 1
    with pytest.raises(UserError, match=r"no case of task 't' can be used"):
        study.choose_cases(given, 3, ["exemplar"])


def test_means_and_rates_have_intervals(inputs: Callable[..., Inputs]) -> None:
    given = inputs()
    clusters = [f"s{i}" for i in range(10)]
    mean = study.mean_findings(given, "q", np.arange(10.0), clusters, level="a")[0]
    assert mean.value == 4.5
    assert mean.low < 4.5 < mean.high
    always = study.mean_findings(given, "q", np.ones(10), clusters, rate=True)[0]
    assert always.low == pytest.approx(10 / (10 + 1.959964**2))  # Wilson
    assert always.high == 1.0
    never = study.mean_findings(given, "q", np.zeros(10), clusters, rate=True)[0]
    assert (never.low, round(never.high, 4)) == (0.0, 0.2775)
    nothing = study.mean_findings(given, "q", np.full((10, 2), np.nan), clusters, [1.0, 2.0])
    assert [row.n for row in nothing] == [0, 0]
    assert math.isnan(nothing[0].value)
    assert nothing[0].note
    # Cases of one source are one unit.
    same = study.mean_findings(given, "q", np.ones(10), ["s0"] * 5 + ["s1"] * 5, rate=True)[0]
    assert same.low == pytest.approx(2 / (2 + 1.959964**2))
