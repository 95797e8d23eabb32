"""Order of convergence on the shipped flow model: the error of a reconstruction against its steps, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editfrontier import inversion
from editfrontier.data.cases import read_cases, read_image
from editfrontier.data.pixels import to_images
from editfrontier.diffusion import sampling
from editfrontier.inversion.order import reconstruction_errors, slope
from editfrontier.microworld.dataset import build_task
from editfrontier.models.loading import load_pipeline


def test_slopes() -> None:
    assert slope((10, 20, 40), (8.0, 4.0, 2.0)) == pytest.approx(-1)
    assert slope((3, 9), (9.0, 1.0)) == pytest.approx(-2)


def test_euler_falls_as_one_over_n_and_midpoint_and_fireflow_faster(root: Path, tmp_path: Path) -> None:
    """With fewer steps than these Euler is not in its regime; `benchmarks/inversion_order.py` draws the whole curve."""
    model = load_pipeline("flux", root / "resources" / "micro" / "flux")
    build_task("portraits", 3, 1, tmp_path)
    case = read_cases(tmp_path / "cases.parquet")[2]
    with torch.no_grad():
        clean = sampling.encode(model, to_images([read_image(tmp_path / case.image)]))
    text = inversion.embed(model, [case.source_caption])
    steps = {"euler": (64, 128), "midpoint": (24, 48), "fireflow": (24, 48)}
    errors = {name: reconstruction_errors(model, clean, text, name, counts) for name, counts in steps.items()}
    slopes = {name: slope(steps[name], errors[name]) for name in steps}
    assert slopes["euler"] == pytest.approx(-1, abs=0.2)
    assert slopes["midpoint"] < -1.8
    assert slopes["fireflow"] < -1.8
    # 49 evaluations of FireFlow beat 128 of Euler, in each direction.
    assert errors["fireflow"][-1] < 0.2 * errors["euler"][-1]
