"""Metrics of pyiqa: MUSIQ, any other by its name, weights from the folder alone; what compares two images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyiqa
import pytest
import torch
from safetensors.torch import save_file

from editfrontier.base.errors import UserError
from editfrontier.scoring.evaluator import load_evaluator
from editfrontier.scoring.evaluators.pyiqa import _seeded
from editfrontier.scoring.metrics import METRICS
from paper_fixture import folder_of, images

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {"patch_size": 16, "hidden_size": 16, "mlp_dim": 32, "num_heads": 2, "num_layers": 1}
NETWORK |= {"longer_side_lengths": [32, 48], "spatial_pos_grid_size": 4}


def musiq(**options: Any) -> torch.nn.Module:
    from pyiqa.archs.musiq_arch import MUSIQ

    torch.manual_seed(0)
    return MUSIQ(pretrained=False, **options).eval()


def test_without_the_package_the_fix_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, {"architecture": "musiq", "weights": "w.pth"}, w={"params": {"a": torch.ones(1)}})
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError, match=r"pyiqa.*non-commercial.*make setup"):
        load_evaluator("quality", folder)


def test_musiq_is_that_of_the_package(tmp_path: Path) -> None:
    network = musiq()
    config = {"architecture": "musiq", "weights": "w.pth"}
    judge = load_evaluator("quality", folder_of(tmp_path, config, w=network.state_dict()))
    batch = images(2, 64)
    with torch.no_grad():
        expected = network(batch.float() / 255).flatten()
    quality, artifact = judge.scores(batch)
    torch.testing.assert_close(quality, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(artifact, 1 - quality / 100)


def test_a_small_musiq_is_of_the_same_class(tmp_path: Path) -> None:
    network = musiq(**NETWORK)
    folder = folder_of(tmp_path, {"architecture": "musiq", "network": NETWORK})
    save_file(network.state_dict(), folder / "model.safetensors")
    batch = images(3, 64)
    with torch.no_grad():
        expected = network(batch.float() / 255).flatten()
    assert float(expected.std()) > 0
    torch.testing.assert_close(load_evaluator("quality", folder).quality(batch), expected)


def test_any_other_metric_by_its_name(tmp_path: Path) -> None:
    judge = load_evaluator("quality", folder_of(tmp_path, {"architecture": "pyiqa", "metric": "piqe"}))
    batch = images(2, 64)
    own = pyiqa.create_metric("piqe", device="cpu")
    assert own.lower_better
    torch.testing.assert_close(judge.quality(batch), -own(batch.float() / 255).flatten())


@pytest.mark.parametrize(("name", "near"), [("clipiqua", "clipiqa"), ("fsim", "")])
def test_a_name_that_is_no_metric_without_a_reference(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"config.json: '{name}' is no metric of pyiqa that judges.*{near}"):
        load_evaluator("quality", folder_of(tmp_path, {"architecture": "pyiqa", "metric": name}))


@pytest.mark.parametrize(("name", "file"), [("musiq-ava", "musiq_ava_ckpt-e8d3f067.pth"), ("clipiqa", "RN50.pt")])
def test_missing_weights_are_named_and_not_fetched(tmp_path: Path, name: str, file: str) -> None:
    folder = folder_of(tmp_path, {"architecture": "pyiqa", "metric": name})
    with pytest.raises(UserError, match=rf"{file}: no such file.*editfrontier weights"):
        load_evaluator("quality", folder)


class Harm:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def test_weights_are_found_in_the_folder_and_no_code_of_theirs_is_run(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"architecture": "pyiqa", "metric": "musiq-ava"})
    network, weights = musiq(num_class=10), folder / "musiq_ava_ckpt-e8d3f067.pth"
    torch.save(network.state_dict(), weights)
    batch = images(1, 64)
    with torch.no_grad():
        expected = network(batch.float() / 255).flatten()
    torch.testing.assert_close(load_evaluator("quality", folder).quality(batch), expected, rtol=1e-4, atol=1e-4)
    torch.save({**network.state_dict(), "more": Harm(tmp_path / "harm")}, weights)
    with pytest.raises(UserError, match=r"'musiq-ava' cannot be loaded"):
        load_evaluator("quality", folder)
    assert not (tmp_path / "harm").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_random_crops_are_always_the_same_and_leave_no_trace() -> None:
    def network(x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, np.random.randint(8), 0] + torch.rand(len(x))

    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    batch = images(4, 16).float()
    assert torch.equal(_seeded(network, batch), _seeded(network, batch))
    assert np.array_equal(np.random.get_state()[1], before[0]) and torch.equal(torch.get_rng_state(), before[1])


# Two images -----------------------------------------------------------------------------------------------------------


def test_full_reference_metrics_are_those_of_the_package() -> None:
    judge = load_evaluator("full_reference", ROOT / "resources/pyiqa")
    a, b = images(3, 64), images(3, 64, seed=1)
    mixed = (0.7 * a.float() + 0.3 * b.float()).round().to(torch.uint8)
    for name, same in (("fsim", 1.0), ("gmsd", 0.0), ("vif", 1.0)):
        own = pyiqa.create_metric(name, device="cpu")
        values = judge.compare(name, mixed, a)
        torch.testing.assert_close(values, own(mixed.float() / 255, a.float() / 255).flatten().float())
        torch.testing.assert_close(judge.compare(name, a, a), torch.full((3,), same), atol=1e-5, rtol=0)
        worse = judge.compare(name, b, a)
        higher_is_better = METRICS[f"{name}_source"].direction == "higher"
        assert higher_is_better is not bool(own.lower_better)
        assert bool(((values > worse) if higher_is_better else (values < worse)).all())


def test_a_name_that_compares_no_images(tmp_path: Path) -> None:
    judge = load_evaluator("full_reference", folder_of(tmp_path, {"architecture": "pyiqa"}))
    batch = images(1, 64)
    with pytest.raises(UserError, match=r"'fsin' is no metric of pyiqa that compares.*fsim"):
        judge.compare("fsin", batch, batch)


def test_scores_come_from_musiq_artifacts_from_their_own_network_and_comparisons_from_pyiqa(tmp_path: Path) -> None:
    from editfrontier.base.parquet import read_parquet
    from editfrontier.editing.records import CaseRecord, write_record
    from editfrontier.microworld.dataset import build_task
    from editfrontier.scoring.score import score_variant
    from editfrontier.scoring.sources import prepare_sources

    cases = build_task("portraits", 3, 5, tmp_path, dataset="portraits")
    record, table, sources = (tmp_path / name for name in ("record.parquet", "cases.parquet", "sources.npz"))
    write_record(record, [CaseRecord(case.case_id, "ok", image=case.image) for case in cases], {"variant": "source"})
    judges = {"quality": "resources/micro/musiq", "artifact": "resources/micro/quality"}
    found = {}
    for name, chosen in (("both", judges), ("musiq", {"quality": judges["quality"]})):
        folders = {kind: str(ROOT / folder) for kind, folder in chosen.items()}
        prepare_sources(table, None, folders, sources)
        with np.load(sources) as arrays:
            found[name] = {key: arrays[key] for key in ("quality", "artifact")}
    np.testing.assert_array_equal(found["both"]["quality"], found["musiq"]["quality"])
    np.testing.assert_allclose(found["musiq"]["artifact"], 1 - found["musiq"]["quality"] / 100, rtol=1e-5)
    assert np.abs(found["both"]["artifact"] - found["musiq"]["artifact"]).min() > 0
    folders["full_reference"] = str(ROOT / "resources/pyiqa")
    score_variant(table, [record], sources, folders, tmp_path / "scores.parquet", tmp_path / "features.npz")
    frame, _ = read_parquet(tmp_path / "scores.parquet", "")
    values = {metric: part["value"].to_numpy() for metric, part in frame.groupby("metric")}
    for name, same in (("fsim_source", 1), ("gmsd_source", 0), ("vif_source", 1)):
        np.testing.assert_allclose(values[name], [same] * 3, atol=1e-5)
    np.testing.assert_allclose(values["quality"], found["musiq"]["quality"], rtol=1e-5)
