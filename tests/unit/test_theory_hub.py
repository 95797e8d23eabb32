"""The theory's analyses on checkpoints in the layout of the published ones, loaded as the workflow loads them.

The study of the paper in miniature (tests/workflow) runs all of them on models of the kinds in its config; these
predict v, and what is tested of them stands in no result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis_fixture import found_by
from editfrontier import inversion
from editfrontier.statistics.taskscores import Settings
from editfrontier.study.analysis import analysis_params, get_analysis
from editfrontier.study.config.study import load_study
from editfrontier.study.designs import theory_cases as study
from editfrontier.study.inputs import Inputs
from editfrontier.study.run import draw_analysis
from editfrontier.study.theory import lipschitz, maps
from hub_files import write_json
from hub_layout import PNDM, write_checkpoint
from tiny_pipelines import tiny_cases

NAMES = {"text_to_image": "sd2_base", "flux": "flux"}
CASES = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    (folder / "data" / "t").mkdir(parents=True)
    tiny_cases(folder / "data" / "t", CASES)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {kind: write_checkpoint(name, folder / name) for kind, name in NAMES.items()}
    # Of Stable Diffusion 2 at 512 pixels the noise is estimated; that at 768 predicts v. Its config says so.
    made["v"] = write_checkpoint("sd2_base", folder / "v", seed=1)
    write_json(made["v"] / "scheduler" / "scheduler_config.json", {**PNDM, "prediction_type": "v_prediction"})
    for kind in ("text_to_image", "v"):  # 64 latents, 512 pixels, cost time and prove no more
        config = made[kind] / "unet" / "config.json"
        config.write_text(config.read_text().replace('"sample_size": 64', '"sample_size": 8'))
    return made


def inputs(root: Path, models: dict[str, Path]) -> Inputs:
    return Inputs("theory", root, {}, ("t",), models, {}, Settings(resamples=50), (), 0, "cpu")


def chosen(checkpoints: dict[str, Path], *kinds: str) -> dict[str, Path]:
    """Kinds of models -> their folders; "v" is a text-to-image model."""
    return {"text_to_image" if kind == "v" else kind: checkpoints[kind] for kind in kinds}


SHORT: dict[str, dict[str, Any]] = {
    "lipschitz": {
        "cases": CASES, "whole_cases": CASES, "ddim_steps": (2,), "flow_steps": (2,), "whole_ddim_steps": 2,
        "whole_flow_steps": 2, "iterations": 2, "batch_size": 1, "whole_batch_size": 1, "gradient_checkpointing": True,
    },
    "guidance_bound": {"cases": CASES, "steps": 2, "scales": (1.0, 7.5), "batch_size": 1},
    "score_difference": {
        "cases": CASES, "steps": 2, "local_cases": CASES, "local_steps": 2, "local_batch_size": 1, "iterations": 2,
        "gradient_checkpointing": True,
    },
}  # fmt: skip
RUNS = [
    ("lipschitz", "tightness", {"ddim/decoder", "ddim/whole"}),
    ("guidance_bound", "deviation", {""}),
    ("score_difference", "deviation", {"diffusion/source", "diffusion/empty"}),
]


@pytest.mark.parametrize(("name", "quantity", "levels"), RUNS, ids=[run[0] for run in RUNS])
def test_it_runs_on_a_published_model_that_predicts_v(
    root: Path, checkpoints: dict[str, Path], tmp_path: Path, name: str, quantity: str, levels: set[str]
) -> None:
    given, analysis = inputs(root, chosen(checkpoints, "v")), get_analysis(name)
    found = found_by(analysis, given, **SHORT[name])
    rows = found.select(quantity)
    assert {row.level for row in rows} == levels
    assert all(np.isfinite(row.value) and row.value > 0 and row.n == CASES for row in rows), rows
    left_out = found.one("left_out")
    assert left_out is not None and left_out.value == 0
    draw_analysis(analysis, found, given, analysis_params(analysis, SHORT[name]), tmp_path / name)
    assert analysis.say(found, given)
    if name == "score_difference":
        assert {row.metric for row in [row for level in levels for row in found.select("tightness", level=level)]} == {
            "secant",
            "transition",
            "local",
        }


def test_parts_of_a_batch_give_the_constants_of_the_whole() -> None:
    """x -> A x with the singular values 3 and 1 of a known A, for each of five points."""
    matrix = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    seen = []

    def estimate(some: torch.Tensor, rows: slice) -> lipschitz.Spectral:
        seen.append((rows.start, rows.stop, len(some)))
        return lipschitz.local_lipschitz(lambda x: x @ matrix.T, some, iterations=60, tolerance=1e-9)

    found = lipschitz.in_parts(points, 2, estimate)
    assert seen == [(0, 2, 2), (2, 4, 2), (4, 5, 1)]
    assert found.values.tolist() == pytest.approx([3.0] * 5, rel=1e-5)
    assert found.directions.abs()[:, 0].tolist() == pytest.approx([1.0] * 5, rel=1e-4)
    assert found.converged.all() and len(found.converged) == 5


def test_networks_keep_float32_on_a_gpu_but_for_t5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("editfrontier.models.loading.load_pipeline", lambda kind, path, dtype: asked.append(dtype))
    monkeypatch.setattr("editfrontier.diffusion.sampling.prepare_model", lambda model, device: None)
    monkeypatch.setattr("editfrontier.study.theory.maps.freeze", lambda model: model)
    given = inputs(tmp_path, {"flux": Path("flux"), "text_to_image": Path("sd")})
    for kind in ("flux", "text_to_image"):
        study.load(given, kind, torch.device("cuda"))
    assert asked == [{"default": torch.float32, "text_encoder_2": torch.bfloat16}, {"default": torch.float32}]


@pytest.mark.parametrize("kind", ["text_to_image", "flux"])
def test_checkpoints_of_gradients_shrink_the_graph_and_change_no_constant(
    root: Path, checkpoints: dict[str, Path], kind: str
) -> None:
    given, found, held = inputs(root, chosen(checkpoints, kind)), [], []
    for asked in (False, True):
        model = study.load(given, kind, torch.device("cpu"), gradient_checkpointing=asked)
        method = "ddim" if kind == "text_to_image" else "fireflow"
        text = inversion.embed(model, ["a face"])
        clean = torch.randn(1, 4 if kind == "text_to_image" else 16, 8, 8, generator=torch.Generator().manual_seed(0))
        trajectory = inversion.invert(model, clean, method, 2, text)
        sample, decode = maps.sampler(model, method, 2, text, trajectory.times), maps.decoder(model)
        kept: list[int] = []

        def keep(saved: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(saved.nbytes)
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            whole = lipschitz.local_lipschitz(
                lambda latents, sample=sample, decode=decode: decode(sample(latents)),  # type: ignore[misc]
                trajectory.latents[0],
                iterations=2,
            )
        found.append(whole.values)
        held.append(sum(kept))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=0.0)
    assert held[1] < held[0] / 3


def test_the_paper_s_study_differentiates_every_model_with_small_graphs() -> None:
    analyses = load_study([Path("config/paper.yaml")]).analyses
    assert {"lipschitz", "guidance_bound", "locality", "score_difference"} <= set(analyses)
    for name in ("lipschitz", "score_difference"):
        assert set(analyses[name]["models"]) == {"text_to_image", "flux"}
        assert analyses[name]["params"]["gradient_checkpointing"] is True
