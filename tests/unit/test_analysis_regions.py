"""Drift by region, on scores whose drift was put in by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis_fixture import found_by, inputs_of, rows_of, scores_of
from editfrontier.data.cases import Case, write_png
from editfrontier.study.analyses.regions import ANALYSIS, RegionsParams
from editfrontier.study.drawing.regions import deviation_map
from editfrontier.study.run import draw_analysis

REGIONS = ("face", "eyes", "nose", "mouth", "skin", "hair", "background")
EDITORS = ["sdedit", "ultraedit", "autoencoder_round_trip", "flow_reconstruction+method=none", "random_image"]
CONTROLS = EDITORS[2:]
#            face  eyes  nose  mouth skin  hair  background
DRIFT = {
    "sdedit": (0.06, 0.14, 0.12, 0.10, 0.06, 0.06, 0.06),  # drifts in eyes, nose and mouth beyond its autoencoder
    "ultraedit": (0.03, 0.07, 0.07, 0.07, 0.03, 0.03, 0.03),  # what it drifts there its autoencoder does too
    "autoencoder_round_trip": (0.02, 0.03, 0.03, 0.03, 0.02, 0.02, 0.02),
    "flow_reconstruction+method=none": (0.02, 0.06, 0.06, 0.06, 0.02, 0.02, 0.02),
    "random_image": (0.30,) * 7,
}


def _inputs(tmp_path: Path, n: int = 40):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    level = np.array([DRIFT[name] for name in EDITORS])
    values = level + 0.02 * rng.standard_normal((n, 1, 1)) + 0.005 * rng.standard_normal((n, *level.shape))
    values[:5, :, 1] = np.nan  # five wear sunglasses
    metrics = [f"drift_{name}" for name in REGIONS]
    return inputs_of(tmp_path, {"e": scores_of(values, EDITORS, metrics)}, {"e": rows_of(EDITORS, CONTROLS)})


def test_drift_is_compared_with_the_face_other_regions_and_the_floor(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    found = found_by(ANALYSIS, inputs)
    eyes = found.one("drift", variant="sdedit", level="eyes")
    assert eyes is not None
    assert eyes.value == pytest.approx(0.14, abs=0.01)
    assert eyes.n == 35
    relative = found.one("relative", variant="sdedit", level="eyes")
    assert relative is not None
    assert relative.low < 0.14 / 0.06 < relative.high
    excess = found.one("excess", variant="ultraedit", level="eyes")
    assert excess is not None
    assert excess.value == pytest.approx(0.01, abs=0.003)
    assert "flow reconstruction" in excess.note
    assert found.one("excess", variant="random_image", level="eyes") is None
    pair = found.one("region_difference", variant="sdedit", level="mouth - hair")
    assert pair is not None
    assert pair.low < 0.04 < pair.high
    assert len(found.select("region_difference", variant="sdedit")) == 9
    p = found.one("region_difference_p", variant="sdedit", level="mouth - hair")
    assert p is not None
    assert p.value <= 0.01


def test_concentration_beyond_the_floor_is_told_from_that_of_the_autoencoder(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    found = found_by(ANALYSIS, inputs)
    raw = {row.variant: row.value for row in found.select("concentration")}
    assert raw["sdedit"] == pytest.approx(0.06, abs=0.005)
    assert raw["ultraedit"] == pytest.approx(0.04, abs=0.005)
    assert raw["random_image"] == pytest.approx(0, abs=0.005)
    beyond = {row.variant: row for row in found.select("concentration_excess")}
    assert set(beyond) == {"sdedit", "ultraedit"}
    assert beyond["sdedit"].low > 0.03
    assert beyond["ultraedit"].low < 0 < beyond["ultraedit"].high
    p = {row.variant: row.value for row in found.select("concentration_excess_p")}
    assert p["sdedit"] < 0.01
    assert p["ultraedit"] > 0.05
    said = ANALYSIS.say(found, inputs)
    assert "greater in the former for 2 of 2 editors" in said[0]
    assert "greater in the former for 1 of 2 editors (sdedit)" in said[1]


def test_without_regions_the_analysis_says_so(tmp_path: Path) -> None:
    inputs = inputs_of(
        tmp_path, {"e": scores_of(np.ones((4, 1, 1)), ["sdedit"], ["id_sim"])}, {"e": rows_of(["sdedit"])}, {"t": []}
    )
    found = found_by(ANALYSIS, inputs)
    (row,) = found.rows
    assert math.isnan(row.value)
    assert "no case of 'e' has regions" in row.note
    assert ANALYSIS.say(found, inputs) == []
    draw_analysis(ANALYSIS, found, inputs, RegionsParams(), tmp_path / "figure")
    assert (tmp_path / "figure.png").exists()


def test_the_map_is_the_mean_deviation_where_the_background_is(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "t"
    source, edited, mask = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), bool)
    edited[0, 0], edited[3, 3] = 151, 200
    mask[3, 3] = True
    write_png(folder / "source.png", source)
    write_png(tmp_path / "edited.png", edited)
    write_png(folder / "mask.png", mask)
    texts = {"source_caption": "a", "target_caption": "b", "instruction": "c", "edit_type": "d", "licence": "x"}
    case = Case(
        case_id="c0", task="t", image="source.png", mask="mask.png", cluster="c", regions=json.dumps({}), **texts
    )
    inputs = inputs_of(
        tmp_path,
        {"e": scores_of(np.ones((1, 1, 1)), ["sdedit"], ["id_sim"])},
        {"e": rows_of(["sdedit"])},
        {"t": [case]},
    )
    inputs = type(inputs)(**{**inputs.__dict__, "pictures": {"sdedit": {"c0": tmp_path / "edited.png"}}})
    found = deviation_map(inputs, "sdedit")
    assert found is not None
    assert found[0, 0] == pytest.approx(0.2)
    assert found[1, 1] == 0
    assert np.isnan(found[3, 3])
    assert deviation_map(inputs, "other") is None
