"""Drag metrics in the scoring pass, and on rendered drags with shipped networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet, write_parquet
from editfrontier.data.cases import Case, read_image, write_png
from editfrontier.data.regions import Region
from editfrontier.diffusion.sampling import ForwardCounter
from editfrontier.microworld.dataset import build_task
from editfrontier.scoring.drags import prepare_drags
from editfrontier.scoring.evaluators.dift import DiftEvaluator
from editfrontier.scoring.evaluators.segmentation import SegmentationEvaluator
from editfrontier.scoring.metrics import METRICS
from editfrontier.scoring.score import prepare_sources, score_variant
from fake_evaluators import FakeLpips
from metrics_drag_fixture import MODELS, SIZE, Pixels, RedObject, picture, region, square
from scoring_fixture import scored
from tiny_pipelines import tiny_pipeline

# The scoring pass -----------------------------------------------------------------------------------------------------


def of(network: str) -> list[str]:
    return [name for name, metric in METRICS.items() if metric.about == "drags" and metric.needs == network]


FOUND, LOOKS, DISTANCES = of("segmentation"), of("lpips"), of("dift")


def write_drag(folder: Path, regions: list[Region]) -> str:
    entries = []
    for number, one in enumerate(regions):
        for name in ("source", "target"):
            write_png(folder / f"{name}-{number}.png", getattr(one, name))
        entries.append(
            {
                "kind": one.kind,
                "source_mask": f"source-{number}.png",
                "target_mask": f"target-{number}.png",
                "affine": one.affine.tolist(),
                "points": one.points,
            }
        )
    return json.dumps(entries)


def drag_case(folder: Path, case_id: str, drags: str) -> Case:
    write_png(folder / "image.png", picture((4, 8)).permute(1, 2, 0).numpy())
    write_png(folder / "mask.png", square(2, 6, 22))
    return Case(
        case_id=case_id, task="drags", image="image.png", source_caption="a square", target_caption="", instruction="",
        edit_type="relocation", mask="mask.png", drags=drags, cluster=case_id, licence="CC0-1.0",
    )  # fmt: skip


class Scores:
    """Values and reasons of drag metrics by (case, metric)."""

    def __init__(self, parts: tuple[dict[tuple[str, str], float], dict[tuple[str, str], str]]) -> None:
        drags = {*FOUND, *LOOKS, *DISTANCES}
        self.values = {(case, name): value for (name, case), value in parts[0].items() if name in drags}
        self.missing = {(case, name): reason for (name, case), reason in parts[1].items() if name in drags}


def scored_drags(folder: Path, cases: list[Case], edits: list[Tensor], networks: dict[str, Any]) -> Scores:
    source = torch.stack([picture((4, 8))] * len(cases))
    return Scores(
        scored(cases, source, torch.stack(edits), networks, folder, prepare_drags(cases, folder, networks, 2))
    )


def fakes() -> dict[str, Any]:
    return {"segmentation": RedObject(), "lpips": FakeLpips(), "dift": Pixels()}


def test_controls_stand_where_they_should(tmp_path: Path) -> None:
    cases = [drag_case(tmp_path, name, write_drag(tmp_path, [region()])) for name in ("noop", "true", "copy", "lost")]
    edits = [picture((4, 8)), picture((14, 12)), picture((4, 8), (14, 12)), picture()]
    values = scored_drags(tmp_path, cases, edits, fakes()).values
    names = [*FOUND, *LOOKS, *DISTANCES]
    assert {name for case, name in values if case == "true"} == set(names)
    way = (10**2 + 4**2) ** 0.5
    expected = {
        "noop": {"iou_target": 0.0, "centroid_shift": way, "moved_towards": 0.0, "object_found": 1.0, "if_s2s": 1.0},
        "true": {"iou_target": 1.0, "centroid_shift": 0.0, "moved_towards": 1.0, "if_s2t": 1.0},
        "copy": {"iou_target": 0.5, "centroid_shift": way / 2, "moved_towards": 1.0, "if_s2s": 1.0, "if_s2t": 1.0},
        "lost": {"iou_target": 0.0, "moved_towards": 0.0, "object_found": 0.0},
    }
    for case_id, wanted in expected.items():
        assert {name: values[case_id, name] for name in wanted} == pytest.approx(wanted, abs=1e-9), case_id
    assert all(values[case_id, "if_bg"] == 1.0 for case_id in expected)
    assert values["noop", "if_s2t"] < 1.0
    assert values["true", "if_s2s"] < 1.0
    for name in DISTANCES:
        assert values["true", name] < values["noop", name], name
    assert ("lost", "centroid_shift") not in values


def test_a_case_with_two_regions_has_their_mean_and_moves_when_both_do(tmp_path: Path) -> None:
    second = Region("relocation", square(20, 4), np.array([[1.0, 0, 0], [0, 1.0, 20]]), square(20, 24))
    case = drag_case(tmp_path, "two", write_drag(tmp_path, [region(), second]))
    source, half = picture((4, 8), (20, 4)), picture((14, 12), (20, 4))
    scores = Scores(scored([case], source[None], half[None], {"segmentation": Places()}, tmp_path))
    assert scores.values["two", "iou_target"] == 0.5
    assert scores.values["two", "centroid_shift"] == 10.0
    assert scores.values["two", "moved_towards"] == 0.0


def test_each_region_is_compared_by_itself_and_the_case_has_the_mean(tmp_path: Path) -> None:
    """As DragFlow's code does; the union of the regions would have the sum of their distances."""
    second = Region("relocation", square(20, 4), np.array([[1.0, 0, 0], [0, 1.0, 20]]), square(20, 24))
    case = drag_case(tmp_path, "two", write_drag(tmp_path, [region(), second]))
    source, edited = picture((4, 8), (20, 4)), picture((14, 12), (20, 4))  # the second region stayed
    scores = Scores(scored([case], source[None], edited[None], {"lpips": FakeLpips()}, tmp_path))

    def distance(a: Tensor, b: Tensor, area: np.ndarray) -> float:
        return float((a.float() - b.float()).abs().mean(0)[torch.from_numpy(area)].sum() / 255 / SIZE**2)

    moved = distance(source, edited, region().source)
    assert moved > 0
    assert scores.values["two", "if_s2s"] == pytest.approx(1 - (moved + 0) / 2)
    missed = distance(picture((20, 24)), edited, second.target)
    assert scores.values["two", "if_s2t"] == pytest.approx(1 - (0 + missed) / 2)


class Places:
    """Segments the red object on the side of the picture on which its region is."""

    def find_object(self, sources: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        left = regions[:, :, :20].flatten(1).any(1)
        side = torch.arange(SIZE)[None, None] < 20
        return (images[:, 0] > 200) & torch.where(left[:, None, None], side, ~side)


def test_only_cases_with_drags_and_only_given_networks(tmp_path: Path) -> None:
    plain = replace(drag_case(tmp_path, "plain", ""), edit_type="recolour")
    dragged = drag_case(tmp_path, "dragged", write_drag(tmp_path, [region(points=False)]))
    scores = scored_drags(tmp_path, [plain, dragged], [picture((4, 8))] * 2, fakes())
    assert {case for case, _ in [*scores.values, *scores.missing]} == {"dragged"}
    assert scores.missing == {("dragged", "mean_distance"): "the drag has no handles"}
    some = scored_drags(tmp_path, [dragged], [picture((4, 8))], {"lpips": FakeLpips()})
    assert {name for _, name in some.values} == set(LOOKS)
    assert scored_drags(tmp_path, [dragged], [picture((4, 8))], {}).values == {}


def test_a_drag_that_cannot_be_read_is_absent_with_its_reason(tmp_path: Path) -> None:
    broken = drag_case(tmp_path, "broken", '[{"kind": "relocation"}]')
    scores = scored_drags(tmp_path, [broken], [picture((4, 8))], fakes())
    assert scores.values == {}
    assert {name for _, name in scores.missing} == {*FOUND, *LOOKS, *DISTANCES}
    assert "case broken, region 1: has no 'source_mask'" in scores.missing["broken", "md1"]


def test_sources_without_the_drags_are_refused(tmp_path: Path) -> None:
    case = drag_case(tmp_path, "case", write_drag(tmp_path, [region()]))
    image = picture((4, 8))[None]
    with pytest.raises(UserError, match="case case: the source features lack its drags"):
        scored([case], image, image, {"dift": Pixels()}, tmp_path)


# Networks -------------------------------------------------------------------------------------------------------------


def test_dift_is_deterministic_by_image_and_stops_at_its_block() -> None:
    model = tiny_pipeline()
    counter = ForwardCounter()
    counter.attach(model.unet)
    ended: list[int] = []
    model.unet.conv_out.register_forward_hook(lambda *_: ended.append(1))
    judge = DiftEvaluator(model, ensemble=2)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    captions = ["a face", "hat", "old"]
    features = judge.features(images, captions, "source")
    assert features.shape == (3, 16, 8, 8)  # up block 1, which is the last one of this UNet
    assert counter.samples == 3 * 2
    assert not ended
    torch.testing.assert_close(judge.features(images[1:2], captions[1:2], "source")[0], features[1])
    assert not torch.allclose(judge.features(images, captions, "edited"), features, atol=1e-4)


def test_dift_takes_images_at_their_own_size_or_by_nearest_neighbour() -> None:
    judge = DiftEvaluator(tiny_pipeline(), ensemble=1)
    images = torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    captions = ["a face", "hat"]
    assert judge.side == SIZE
    assert judge.features(images, captions, "source", "none").shape == (2, 16, 12, 10)
    reduced = functional.interpolate(images.float(), (SIZE, SIZE), mode="nearest").to(torch.uint8)
    by_nearest = judge.features(images, captions, "source", "nearest")
    torch.testing.assert_close(by_nearest, judge.features(reduced, captions, "source"))
    assert not torch.allclose(by_nearest, judge.features(images, captions, "source"), atol=1e-3)
    for resize in ("none", "nearest"):  # nothing to resize
        assert torch.equal(
            judge.features(reduced, captions, "source", resize), judge.features(reduced, captions, "source")
        )


def test_segmentation_takes_any_size() -> None:
    judge = SegmentationEvaluator.load(MODELS / "segmentation")
    images = torch.randint(0, 256, (2, 3, 50, 37), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert judge.probabilities(images).shape == (2, 11, 50, 37)
    torch.testing.assert_close(judge.probabilities(images).sum(1), torch.ones(2, 50, 37))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    folder = tmp_path_factory.mktemp("drags")
    return folder, build_task("drags", 27, 77, folder)


def test_shipped_segmentation_tells_the_true_drag_from_the_source(rendered: tuple[Path, list[Case]]) -> None:
    """Also after a round trip through the autoencoder, which is what most editors give at best."""
    from diffusers import AutoencoderKL

    folder, cases = rendered
    source, true = (
        torch.from_numpy(np.stack([read_image(folder / getattr(case, name)) for case in cases]))
        .permute(0, 3, 1, 2)
        .contiguous()
        for name in ("image", "true_edit")
    )
    vae = AutoencoderKL.from_pretrained(MODELS / "autoencoder").eval()
    with torch.no_grad():
        decoded = vae.decode(vae.encode(true.float() / 127.5 - 1).latent_dist.mode()).sample
    tripped = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    networks = {"segmentation": SegmentationEvaluator.load(MODELS / "segmentation")}
    means = {}
    for name, edited in {"source": source, "true": true, "tripped": tripped}.items():
        scores = Scores(scored(cases, source, edited, networks, folder))
        columns = {metric: [v for (_, key), v in scores.values.items() if key == metric] for metric in FOUND}
        means[name] = {metric: float(np.mean(column)) for metric, column in columns.items()}
    assert means["source"]["moved_towards"] == 0.0
    for name in ("true", "tripped"):
        assert means[name]["object_found"] == 1.0
        assert means[name]["moved_towards"] >= 0.95
        assert means[name]["iou_target"] > 0.85
        assert means[name]["iou_target"] > 2 * means["source"]["iou_target"]
        assert means[name]["centroid_shift"] < 0.2 * means["source"]["centroid_shift"]


def test_the_scoring_pass_reads_drags_from_the_table(rendered: tuple[Path, list[Case]], tmp_path: Path) -> None:
    folder, cases = rendered
    rows = [{"case_id": case.case_id, "status": "ok", "reason": "", "image": f"{case.case_id}.png"} for case in cases]
    for case in cases:
        write_png(tmp_path / f"{case.case_id}.png", read_image(folder / case.true_edit))
    write_parquet(tmp_path / "record.parquet", pd.DataFrame(rows), {"variant": "true_edit"})
    judges = {"lpips": FakeLpips(), "dift": Pixels(), "segmentation": MODELS / "segmentation"}
    table = folder / "cases.parquet"
    prepare_sources(table, None, judges, tmp_path / "sources.npz", batch_size=10)
    out = tmp_path / "scores.parquet"
    score_variant(
        table, [tmp_path / "record.parquet"], tmp_path / "sources.npz", judges, out, tmp_path / "f.npz", batch_size=10
    )
    frame, provenance = read_parquet(out, "")
    found = frame.groupby("metric")["value"].agg(["mean", "count"])
    for name in (*FOUND, *LOOKS, *DISTANCES):
        expected = 27 if name != "moved_towards" else int(found.loc[name, "count"])
        assert found.loc[name, "count"] == expected, name
    assert 18 <= found.loc["moved_towards", "count"] < 27  # rotations hardly move a centroid
    assert set(provenance["absent"]["moved_towards"]) == {
        "the drag hardly moves the centroid, or the object is not found in the source"
    }
    assert found.loc["if_bg", "mean"] == 1.0
    assert found.loc["iou_target", "mean"] > 0.85
