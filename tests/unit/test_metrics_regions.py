"""Boundary and drift by region on images whose values are known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from editfrontier.data.cases import Case, read_mask, write_png, write_regions
from editfrontier.microworld.portrait_painter import portrait_regions, render_portraits
from editfrontier.microworld.portraits import REGIONS, sample_portraits
from editfrontier.scoring.metrics.regions import DRIFT_REGIONS, boundary, drift
from scoring_fixture import scored

SIZE = 32


def _square(low: int, high: int) -> Tensor:
    mask = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    mask[:, :, low:high, low:high] = True
    return mask


def _with(weight: Tensor, level: float = 100.0) -> tuple[Tensor, Tensor]:
    """A grey source, and an edit that adds `level` grey levels times a weight [1, 1, H, W] to it."""
    source = torch.full((1, 3, SIZE, SIZE), 80, dtype=torch.uint8)
    edited = (source + level * weight.float()).round().to(torch.uint8)
    return source, edited


def _ramp(mask: Tensor, width: int) -> Tensor:
    """The mask, faded out over `width` pixels around it."""
    rings = [mask.float()]
    grown = mask.float()
    for _ in range(width):
        grown = torch.nn.functional.max_pool2d(grown, 3, stride=1, padding=1)
        rings.append(grown)
    return torch.stack(rings).mean(0)


def test_a_hard_seam_exceeds_a_feathered_one_and_that_exceeds_none() -> None:
    mask = _square(10, 20)
    hard, soft, none = (float(boundary(*_with(weight), mask)) for weight in (mask, _ramp(mask, 6), 0 * mask))
    assert none == 0
    assert hard > 2 * soft > 0


def test_a_step_along_the_border_has_its_own_height_as_value() -> None:
    mask = _square(8, 24)
    assert float(boundary(*_with(mask, 51.0), mask)) == pytest.approx(0.2)
    assert float(boundary(*_with(_ramp(mask, 4), 50.0), mask)) == pytest.approx(10 / 255)  # a fifth of it a pixel


def test_a_seam_beside_the_border_is_found_and_one_elsewhere_is_not() -> None:
    mask = _square(8, 24)
    for offset in (1, 2):  # as a decoder or a latent cell puts it
        assert float(boundary(*_with(_square(8 - offset, 24 + offset), 51.0), mask)) == pytest.approx(0.2)
    assert float(boundary(*_with(_square(2, 5)), mask)) == 0


def test_texture_of_the_edit_is_no_seam() -> None:
    mask = _square(8, 24)
    checks = ((torch.arange(SIZE)[:, None] + torch.arange(SIZE)[None]) % 2).float()
    faded = _ramp(_square(12, 20), 3) * checks  # fades out before the border
    assert float(boundary(*_with(faded), mask)) < 0
    assert float(boundary(*_with(mask * checks), mask)) < float(boundary(*_with(mask), mask)) / 2


def test_edges_that_the_edit_is_asked_for_are_no_seam() -> None:
    mask = _square(8, 24)
    source, edited = _with(mask)
    assert float(boundary(source, edited, mask, edited)) == 0
    assert float(boundary(source, source, mask, edited)) == 0
    shifted = mask.roll(3, 3)
    assert (
        float(boundary(source, _with(shifted)[1], shifted, edited)) > 0.1
    )  # the same patch, where it was not asked for


def test_boundary_of_a_mask_without_a_border_is_not_known() -> None:
    everything = torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)
    assert torch.isnan(boundary(*_with(everything), everything)).all()


def test_drift_counts_the_region_outside_of_the_edit_and_its_rim() -> None:
    region, edit = _square(4, 12), _square(8, 20)
    source, edited = _with(edit)
    edited[:, :, 4:7, 4:12] += 51  # three rows of the region change by 51 levels, and all of the edit
    value = float(drift(source, edited, region, ~edit))
    # Of the 64 pixels of the region 25 lie in the edit or its rim of one pixel; 24 of the others changed.
    assert value == pytest.approx(0.2 * 24 / 39)
    assert torch.isnan(drift(source, edited, _square(8, 12), ~edit)).all()
    assert float(drift(source, source, region, ~edit)) == 0


def test_regions_of_a_portrait_share_out_the_picture() -> None:
    portraits = sample_portraits(3, seed=5)
    owners = render_portraits(portraits).regions.numpy()
    for masks, owner in zip(portrait_regions(portraits), owners, strict=True):
        assert np.stack(list(masks.values())).sum(0).tolist() == np.ones((64, 64), dtype=int).tolist()
        assert {"skin", "nose", "mouth", "hair", "background"} <= set(masks)
        for name, mask in masks.items():
            assert (owner[mask] == REGIONS.index(name)).all()
    # The nose lies under the eyes and over the mouth.
    height = {name: np.nonzero(masks[name])[0].mean() for name in ("eyes", "nose", "mouth")} if "eyes" in masks else {}
    assert sorted(height, key=height.__getitem__) == list(height)


def _case(name: str, **columns: str) -> Case:
    texts = {"source_caption": "a", "target_caption": "b", "instruction": "c", "edit_type": "d"}
    return Case(case_id=name, task="t", image="i.png", cluster=name, licence="x", **(texts | columns))


def test_the_scoring_pass_adds_what_a_case_allows_and_says_why_not(tmp_path: Path) -> None:
    portrait = sample_portraits(1, seed=5)
    source = render_portraits(portrait).images
    edited = source.clone()
    regions = write_regions(tmp_path, "x", portrait_regions(portrait)[0])
    nose = read_mask(tmp_path / json.loads(regions)["nose"], (64, 64))
    edited[0, :, nose] = edited[0, :, nose] ^ 64  # a change of 64 levels in the nose alone
    mask = np.zeros((64, 64), dtype=bool)
    mask[60:, :4] = True
    write_png(tmp_path / "m.png", mask)
    cases = [
        _case("full", regions=regions, mask="m.png"),
        _case("plain", mask="m.png"),
        _case("broken", regions="{", mask="gone.png"),
        _case("neither"),
    ]
    values, missing = scored(cases, source.repeat(4, 1, 1, 1), edited.repeat(4, 1, 1, 1), {}, tmp_path)

    def of(metric: str) -> dict[str, float]:
        return {case: value for (name, case), value in values.items() if name == metric}

    assert of("drift_nose") == {"full": pytest.approx(64 / 255)}
    assert of("drift_mouth") == {"full": 0.0}
    assert 0 < of("drift_face")["full"] < 64 / 255
    assert set(of("boundary")) == {"full", "plain"}
    assert "gone.png" in missing["boundary", "broken"]
    assert all("expected JSON" in missing[f"drift_{name}", "broken"] for name in DRIFT_REGIONS)
    mentioned = {case for metric, case in (*values, *missing) if metric.startswith(("drift_", "boundary"))}
    assert mentioned == {"full", "plain", "broken"}
