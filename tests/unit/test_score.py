"""The scoring pass: values, absent metrics, failed cases, batches, bad files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet, write_parquet
from editfrontier.data.cases import Case, read_image, write_cases, write_png
from editfrontier.scoring.evaluator import EVALUATORS
from editfrontier.scoring.metrics import PSNR_CAP
from editfrontier.scoring.score import score_variant
from editfrontier.scoring.source_features import read_sources
from editfrontier.scoring.sources import evaluators_for, prepare_sources
from fake_evaluators import FakeClip, fake_evaluators

SIZE = 32


def _image(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, size=(4, 4, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    """Six cases on five source images; the true edit whitens the mask, an 8 x 8 square."""
    folder = tmp_path / "data"
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[8:16, 8:16] = True
    write_png(folder / "mask.png", mask)
    cases = []
    for i in range(6):
        source = _image(min(i, 4))
        write_png(folder / f"s{min(i, 4)}.png", source)
        true = source.copy()
        true[mask] = 250
        write_png(folder / f"t{i}.png", true)
        cases.append(
            Case(
                case_id=f"portraits-{i}", task="portraits", image=f"s{min(i, 4)}.png", source_caption=f"a face {i}",
                target_caption=f"a bright face {i}", instruction="make it bright", edit_type="attribute_add",
                attribute="bright", desired=True, mask="mask.png", true_edit=f"t{i}.png", identity=f"p{i}",
                cluster=f"s{min(i, 4)}", licence="CC0-1.0",
            )
        )  # fmt: skip
    write_cases(folder / "cases.parquet", cases)
    np.savez(tmp_path / "reference.npz", images=np.stack([_image(100 + i) for i in range(10)]))
    return {"folder": folder, "cases": cases, "path": folder / "cases.parquet", "reference": tmp_path / "reference.npz"}


def _record(tmp_path: Path, edits: dict[str, np.ndarray], variant: str = "fake", failed: tuple[str, ...] = ()) -> Path:
    rows = []
    for case_id, image in edits.items():
        path = tmp_path / "edits" / variant / f"{case_id}.png"
        write_png(path, image)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"case_id": case_id, "status": "ok", "reason": "", "image": path.name, "sha256": digest})
    rows += [
        {"case_id": name, "status": "failed", "reason": "NaN in step 3", "image": "", "sha256": ""} for name in failed
    ]
    path = tmp_path / "edits" / variant / "shard-0.parquet"
    write_parquet(path, pd.DataFrame(rows), {"variant": variant})
    return path


def _score(
    tmp_path: Path, task: dict[str, Any], record: Path, batch_size: int = 64
) -> tuple[pd.DataFrame, dict[str, Any]]:
    sources = tmp_path / "sources.npz"
    if not sources.exists():
        prepare_sources(task["path"], task["reference"], fake_evaluators(), sources)
    out = tmp_path / "scores" / f"{record.parent.name}-{batch_size}.parquet"
    score_variant(
        task["path"], [record], sources, fake_evaluators(), out, out.with_suffix(".npz"), batch_size=batch_size
    )
    return read_parquet(out, "")


def _values(frame: pd.DataFrame, metric: str) -> list[float]:
    return frame[frame["metric"] == metric]["value"].tolist()


def _edits(task: dict[str, Any], kind: str) -> dict[str, np.ndarray]:
    key = "image" if kind == "source" else "true_edit"
    return {case.case_id: read_image(task["folder"] / getattr(case, key)) for case in task["cases"]}


def test_source_as_output_keeps_everything_and_moves_nothing(tmp_path: Path, task: dict[str, Any]) -> None:
    frame, provenance = _score(tmp_path, task, _record(tmp_path, _edits(task, "source"), "source"))
    assert list(frame.columns) == ["case_id", "variant", "metric", "value"]
    assert set(frame["variant"]) == {"source"}
    np.testing.assert_allclose(_values(frame, "id_sim"), 1, atol=1e-6)
    assert _values(frame, "psnr_bg") == _values(frame, "psnr_source") == [PSNR_CAP] * 6
    np.testing.assert_allclose(_values(frame, "ssim_source"), 1)
    for metric in ("lpips_bg_masked", "lpips_bg_spatial", "clip_directional", "changed_area", "artifact"):
        assert _values(frame, metric) == [0.0] * 6, metric
    assert _values(frame, "lpips_source") == [0.0] * 6
    assert min(_values(frame, "lpips_true")) > 0
    assert provenance["counts"] == {"cases": 6, "ok": 6, "failed": 0}
    assert provenance["absent"] == {}
    assert frame["value"].notna().all()


def test_distances_to_the_source_are_root_mean_squares(tmp_path: Path, task: dict[str, Any]) -> None:
    edits = _edits(task, "source")
    edits["portraits-0"] = edits["portraits-0"] + np.uint8(20)  # no pixel is above 230
    half = edits["portraits-1"].copy()
    half[:16] += 20
    edits["portraits-1"] = half
    write_cases(task["path"], [replace(case, chain=case.case_id) for case in task["cases"]])
    frame, _ = _score(tmp_path, task, _record(tmp_path, edits, "moved"))
    expected = [20 / 255, 20 / 255 / np.sqrt(2), 0, 0, 0, 0]
    np.testing.assert_allclose(_values(frame, "l2_source"), expected, atol=1e-9)
    np.testing.assert_allclose(_values(frame, "l2_latent"), expected, atol=1e-6)


def _source(tmp_path: Path, task: dict[str, Any]) -> pd.DataFrame:
    return _score(tmp_path, task, _record(tmp_path, _edits(task, "source"), "source"))[0]


def test_true_edit_keeps_the_background_exactly_and_is_at_no_distance_to_itself(
    tmp_path: Path, task: dict[str, Any]
) -> None:
    frame, _ = _score(tmp_path, task, _record(tmp_path, _edits(task, "true"), "true_edit"))
    for metric in ("lpips_bg_masked", "lpips_bg_spatial", "l2_true", "lpips_true"):
        assert _values(frame, metric) == [0.0] * 6, metric
    assert _values(frame, "psnr_bg") == [PSNR_CAP] * 6
    np.testing.assert_allclose(_values(frame, "ssim_bg"), 1)
    assert max(_values(frame, "psnr_source")) < PSNR_CAP
    assert max(_values(frame, "ssim_source")) < 1
    # The source itself is at the distance of the true edit from it.
    assert _values(frame, "lpips_source") == _values(_source(tmp_path, task), "lpips_true")
    assert max(_values(frame, "changed_area")) <= 64 / SIZE**2
    assert min(_values(frame, "clip_directional")) != 0
    score, cosine = _values(frame, "clip_score"), _values(frame, "clip_cos")
    np.testing.assert_allclose(score, 2.5 * np.clip(cosine, 0, None))


def test_success_is_the_classifiers_verdict(tmp_path: Path, task: dict[str, Any]) -> None:
    edits = _edits(task, "source")
    edits["portraits-0"] = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    edits["portraits-1"] = np.full((SIZE, SIZE, 3), 50, dtype=np.uint8)
    frame, _ = _score(tmp_path, task, _record(tmp_path, edits))
    assert _values(frame, "success")[:2] == [1.0, 0.0]


def test_recorded_metrics_come_from_the_record(tmp_path: Path, task: dict[str, Any]) -> None:
    record = _record(tmp_path, _edits(task, "source"))
    frame, about = read_parquet(record, "")
    frame["forwards"], frame["seconds"] = range(6), 0.5
    frame["measures"] = '{"changed_area": 9.0, "unknown_measure": 1.0}'
    write_parquet(record, frame, about)
    scores, _ = _score(tmp_path, task, record)
    assert _values(scores, "forwards") == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert _values(scores, "seconds") == [0.5] * 6
    assert _values(scores, "changed_area") == [0.0] * 6  # computed from the image: no editor may say it


def test_a_recorded_value_that_is_not_finite_is_absent_with_a_reason(tmp_path: Path, task: dict[str, Any]) -> None:
    path = _record(tmp_path, _edits(task, "source"))
    frame, about = read_parquet(path, "")
    measures = ['{"latent_error": NaN}', '{"latent_error": Infinity}', *['{"latent_error": 0.5}'] * 4]
    write_parquet(path, frame.assign(measures=measures), about)
    found, provenance = _score(tmp_path, task, path)
    assert _values(found, "latent_error") == [0.5] * 4
    ((reason, ids),) = provenance["absent"]["latent_error"].items()
    assert "no finite value" in reason and ids == ["portraits-0", "portraits-1"]
    assert np.isfinite(found["value"]).all()


def test_batch_size_changes_nothing(tmp_path: Path, task: dict[str, Any]) -> None:
    edits = {case_id: np.roll(image, 3, axis=1) for case_id, image in _edits(task, "source").items()}
    record = _record(tmp_path, edits)
    one, several = (_score(tmp_path, task, record, batch_size=size)[0] for size in (1, 4))
    pd.testing.assert_frame_equal(one, several, atol=1e-6)


def test_failed_cases_have_no_scores_and_keep_their_reasons(tmp_path: Path, task: dict[str, Any]) -> None:
    edits = _edits(task, "source")
    del edits["portraits-5"], edits["portraits-4"]
    edits["portraits-3"] = np.zeros((16, 16, 3), dtype=np.uint8)
    record = _record(tmp_path, edits, failed=("portraits-4",))
    frame, provenance = _score(tmp_path, task, record)
    assert set(frame["case_id"]) == {"portraits-0", "portraits-1", "portraits-2"}
    failures = provenance["failures"]
    assert provenance["counts"] == {"cases": 6, "ok": 3, "failed": 3}
    assert "16x16" in failures["portraits-3"]
    assert failures["portraits-4"] == "NaN in step 3"
    assert failures["portraits-5"] == "in no record of this variant"
    with np.load(tmp_path / "scores" / "fake-64.npz") as features:
        assert features["case_ids"].tolist() == ["portraits-0", "portraits-1", "portraits-2"]
        assert features["features"].shape == (3, 5)


@pytest.mark.parametrize("harm", ["cut", "deleted", "other bytes"])
def test_damaged_edit_stops_the_scoring_and_is_no_failed_case(tmp_path: Path, task: dict[str, Any], harm: str) -> None:
    record = _record(tmp_path, _edits(task, "source"))
    image = record.parent / "portraits-2.png"
    if harm == "deleted":
        image.unlink()
    else:
        content = image.read_bytes()
        image.write_bytes(content[:60] if harm == "cut" else content + b"0")
    with pytest.raises(UserError, match=f"portraits-2.png.* Delete {record} and run again"):
        _score(tmp_path, task, record)


def test_a_variant_of_failures_only_is_still_a_table(tmp_path: Path, task: dict[str, Any]) -> None:
    record = _record(tmp_path, {}, failed=tuple(case.case_id for case in task["cases"]))
    frame, provenance = _score(tmp_path, task, record)
    assert frame.empty
    assert provenance["counts"]["failed"] == 6


def test_metrics_without_what_they_need_are_absent_with_a_reason(tmp_path: Path, task: dict[str, Any]) -> None:
    cases = task["cases"]
    everything = np.ones((SIZE, SIZE), dtype=bool)
    write_png(task["folder"] / "all.png", everything)
    ring = everything.copy()
    ring[0, :] = False  # a background of one pixel's width does not survive the erosion
    write_png(task["folder"] / "ring.png", ring)
    cases[0] = replace(cases[0], mask="", identity="", true_edit="", attribute="beard")
    cases[1] = replace(cases[1], target_caption=cases[1].source_caption)
    cases[2] = replace(cases[2], mask="all.png")
    cases[3] = replace(cases[3], mask="ring.png")
    cases[4] = replace(cases[4], target_caption="", mask="missing.png")
    write_cases(task["path"], cases)
    frame, provenance = _score(tmp_path, task, _record(tmp_path, _edits(task, "source")))
    absent = {
        metric: {case for ids in reasons.values() for case in ids} for metric, reasons in provenance["absent"].items()
    }
    numbers = {metric: sorted(int(case[-1]) for case in ids) for metric, ids in absent.items()}
    assert numbers == {
        "id_sim": [0], "l2_true": [0], "lpips_true": [0], "success": [0], "clip_directional": [1, 4], "clip_cos": [4],
        "clip_score": [4], "psnr_bg": [0, 2, 4], "ssim_bg": [0, 2, 4], "lpips_bg_masked": [0, 2, 4],
        "lpips_bg_spatial": [0, 2, 3, 4], "boundary": [2, 4], "l1_true": [0], "mse_true": [0], "clip_image_true": [0],
    }  # fmt: skip
    assert provenance["absent"]["lpips_bg_spatial"]["the background eroded by 16 px at 256 px is empty"] == [
        "portraits-2",
        "portraits-3",
    ]
    assert frame["value"].notna().all()
    assert len(frame[frame["case_id"] == "portraits-5"]) == 22


def test_a_mask_or_true_edit_that_cannot_be_read_is_the_reason(tmp_path: Path, task: dict[str, Any]) -> None:
    """Cases that name none, one that is missing, one of another size: what is said is what is so."""
    cases = task["cases"]
    write_png(task["folder"] / "small.png", _image(3)[:16])
    write_png(task["folder"] / "small-mask.png", np.eye(16, dtype=bool))
    cases[0] = replace(cases[0], mask="", true_edit="")
    cases[1] = replace(cases[1], mask="gone.png", true_edit="gone.png")
    cases[2] = replace(cases[2], mask="small-mask.png", true_edit="small.png")
    write_cases(task["path"], cases)
    frame, provenance = _score(tmp_path, task, _record(tmp_path, _edits(task, "source")))
    for metric, none, small in (
        ("l2_true", "the true edit is not known", r"small\.png: the true edit is 32x16 but its source is 32x32"),
        ("psnr_bg", "the case has no mask", r"small-mask\.png: .*16x16"),
    ):
        reasons = {ids[0]: reason for reason, ids in provenance["absent"][metric].items()}
        assert reasons["portraits-0"] == none
        assert "gone.png: no such" in reasons["portraits-1"]
        assert re.search(small, reasons["portraits-2"])
        assert len(_values(frame, metric)) == 3 and len(_values(frame, "changed_area")) == 6


def test_a_task_without_any_caption_has_no_alignment(tmp_path: Path, task: dict[str, Any]) -> None:
    write_cases(task["path"], [replace(case, source_caption="", target_caption="") for case in task["cases"]])
    frame, provenance = _score(tmp_path, task, _record(tmp_path, _edits(task, "source"), "source"))
    everybody = [case.case_id for case in task["cases"]]
    for metric in ("clip_cos", "clip_score", "clip_directional"):
        assert _values(frame, metric) == []
        ((reason, absent),) = provenance["absent"][metric].items()
        assert "caption" in reason and absent == everybody
    assert len(_values(frame, "id_sim")) == len(everybody)


class ShortClip(FakeClip):
    """Reads captions of at most four words."""

    def text(self, texts: list[str]) -> Tensor:
        for text in texts:
            if len(text.split()) > 4:
                raise UserError(f"caption {text!r}: has {len(text.split())} tokens, expected at most 4. Shorten it")
        return super().text(texts)


def test_a_caption_that_clip_cannot_read_costs_its_own_case_alone(tmp_path: Path, task: dict[str, Any]) -> None:
    """Most descriptions of ReD-Bench have more tokens than CLIP reads; the others are scored all the same."""
    cases = task["cases"]
    cases[0] = replace(cases[0], target_caption="a bright face on a beach")
    cases[1] = replace(cases[1], source_caption="a face on a beach")
    write_cases(task["path"], cases)
    judges = fake_evaluators() | {"clip": ShortClip()}
    prepare_sources(task["path"], task["reference"], judges, tmp_path / "sources.npz")
    frame, provenance = _score(tmp_path, task, _record(tmp_path, _edits(task, "true_edit")))
    assert provenance["counts"]["failed"] == 0
    for metric, lost in (("clip_cos", {0}), ("clip_score", {0}), ("clip_directional", {0, 1})):
        reasons = {ids[0]: reason for reason, ids in provenance["absent"][metric].items()}
        assert set(reasons) == {f"portraits-{i}" for i in lost}
        assert all("expected at most 4" in reason for reason in reasons.values())
        assert len(_values(frame, metric)) == 6 - len(lost)
    assert len(_values(frame, "id_sim")) == 6
    expected = cosine_by_hand(task)
    held = frame[(frame["case_id"] == "portraits-3") & (frame["metric"] == "clip_cos")]["value"].item()
    assert held == pytest.approx(expected, abs=1e-6)


def cosine_by_hand(task: dict[str, Any]) -> float:
    """CLIP cosine of case 3 by hand."""
    image = torch.from_numpy(read_image(task["folder"] / "t3.png").copy()).permute(2, 0, 1)[None]
    return float((FakeClip().image(image) * FakeClip().text(["a bright face 3"])).sum())


def test_source_networks_run_once_an_image_and_bad_sources_fail_their_cases(
    tmp_path: Path, task: dict[str, Any]
) -> None:
    edits = _edits(task, "source")
    (task["folder"] / "s4.png").write_bytes(b"no image")
    prepare_sources(task["path"], task["reference"], fake_evaluators(), tmp_path / "sources.npz", batch_size=3)
    sources = read_sources(tmp_path / "sources.npz")
    assert sources.arrays["identity"].shape == (4, 12)
    assert sources.arrays["image_row"].tolist() == [0, 1, 2, 3, -1, -1]
    assert sources.arrays["reference"].shape == (10, 5)
    assert sources.artifact_threshold is not None
    frame, provenance = _score(tmp_path, task, _record(tmp_path, edits))
    assert set(provenance["failures"]) == {"portraits-4", "portraits-5"}
    assert "s4.png" in provenance["failures"]["portraits-5"]
    assert len(frame["case_id"].unique()) == 4


def test_evaluators_that_speak_of_no_case_are_not_loaded(task: dict[str, Any]) -> None:
    cases, given = task["cases"], dict.fromkeys(EVALUATORS, "a folder")
    usual = set(EVALUATORS) - {"segmentation", "dift", "autoencoder"}
    unknown = [replace(case, true_edit="") for case in cases]
    assert set(evaluators_for(unknown, given)) == usual - {"dino"}
    silent = [replace(case, target_caption="") for case in cases]
    assert set(evaluators_for(silent, given)) == usual - {"vqa"}
    assert set(evaluators_for(cases, given)) == usual
    assert set(evaluators_for([*cases, replace(cases[0], drags="[]")], given)) == usual | {"segmentation", "dift"}
    assert set(evaluators_for([*cases, replace(cases[0], chain="c")], given)) == usual | {"autoencoder"}


def test_only_the_evaluators_that_are_given_are_used(tmp_path: Path, task: dict[str, Any]) -> None:
    some = {name: net for name, net in fake_evaluators().items() if name == "identity"}
    prepare_sources(task["path"], None, some, tmp_path / "sources.npz")
    record, out = _record(tmp_path, _edits(task, "source")), tmp_path / "scores.parquet"
    score_variant(task["path"], [record], tmp_path / "sources.npz", some, out, tmp_path / "features.npz")
    frame, _ = read_parquet(out, "")
    pixels = {"psnr_bg", "ssim_bg", "psnr_source", "ssim_source", "l2_true", "l2_source", "changed_area"}
    pixels |= {"boundary", "l1_true", "mse_true"}
    assert set(frame["metric"]) == {"id_sim"} | pixels


def test_reference_may_be_a_folder_of_images(tmp_path: Path, task: dict[str, Any]) -> None:
    for i in range(10):
        write_png(tmp_path / "reference" / f"{i}.png", _image(100 + i))
    for name, reference in (("a", task["reference"]), ("b", tmp_path / "reference")):
        prepare_sources(task["path"], reference, fake_evaluators(), tmp_path / f"{name}.npz")
    a, b = (read_sources(tmp_path / f"{name}.npz").arrays["reference"] for name in "ab")
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_bad_input_names_the_file_and_the_fix(tmp_path: Path, task: dict[str, Any]) -> None:
    record = _record(tmp_path, _edits(task, "source"))
    sources = tmp_path / "sources.npz"
    with pytest.raises(UserError, match=r"sources\.npz: no such file"):
        score_variant(task["path"], [record], sources, fake_evaluators(), tmp_path / "o", tmp_path / "f")
    with pytest.raises(UserError, match="evaluator 'identiy': there is no such evaluator. Did you mean 'identity'"):
        prepare_sources(task["path"], None, {"identiy": "x"}, sources)
    np.savez(tmp_path / "bad.npz", images=np.zeros((4, 8, 8), dtype=np.uint8))
    with pytest.raises(UserError, match=r"bad\.npz: holds uint8 \(4, 8, 8\)"):
        prepare_sources(task["path"], tmp_path / "bad.npz", fake_evaluators(), sources)
    prepare_sources(task["path"], task["reference"], fake_evaluators(), sources)
    arguments = (sources, fake_evaluators(), tmp_path / "o", tmp_path / "f")
    with pytest.raises(UserError, match="portraits-0 is in two records"):
        score_variant(task["path"], [record, record], *arguments)
    other = _record(tmp_path, {"scenes-7": _image(0)}, "other")
    with pytest.raises(UserError, match="scenes-7 is not in the case table"):
        score_variant(task["path"], [other], *arguments)
    write_parquet(other, pd.DataFrame({"x": [1]}), {})
    with pytest.raises(UserError, match="has no column case_id"):
        score_variant(task["path"], [other], *arguments)
    write_cases(task["path"], task["cases"][:3])
    with pytest.raises(UserError, match="belongs to other cases"):
        score_variant(task["path"], [record], *arguments)
