"""Jobs that start from a warm process make what cold ones make, to the byte."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from workspace import make_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds and /proc"),
]
VARIANTS = ("sdedit", "mask_guided", "true_edit")
"""In two shards each: enough jobs for the warm process to be started."""


def results(folder: Path, monkeypatch: pytest.MonkeyPatch, warm: str) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Edit and score portraits; return the images by their paths, and the scores."""
    monkeypatch.setenv("EDITFRONTIER_WARM", warm)
    folder.mkdir()
    workspace = make_workspace(folder, stub=False)
    scores = [f"results/smoke/scores/portraits/{name}.parquet" for name in VARIANTS]
    workspace.run(*scores, "--cores", "2")
    assert (workspace.results / "logs/warm.log").is_file() == (warm != "0")
    folder_of_edits = workspace.results / "edits/portraits"
    images = {str(path.relative_to(folder_of_edits)): path.read_bytes() for path in folder_of_edits.rglob("*.png")}
    return images, pd.concat([pd.read_parquet(folder / path) for path in scores])


def test_warm_and_cold_jobs_make_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm, warm_scores = results(tmp_path / "warm", monkeypatch, "")
    cold, cold_scores = results(tmp_path / "cold", monkeypatch, "0")
    assert len(warm) == 8 * len(VARIANTS) and warm == cold
    measured = ~warm_scores["metric"].str.contains("seconds")
    pd.testing.assert_frame_equal(warm_scores[measured], cold_scores[measured])
