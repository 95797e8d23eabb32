"""A number that is not there carries its reason, and a row whose cases all failed stays: from records to the page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from editfrontier.base.parquet import read_parquet, write_parquet
from editfrontier.data.cases import Case, read_image, write_cases, write_png
from editfrontier.scoring.collected import Collected
from editfrontier.scoring.score import score_variant
from editfrontier.scoring.sources import prepare_sources
from editfrontier.statistics.absence import MOST_REASONS, counted_reasons
from editfrontier.statistics.task import summarise_task
from editfrontier.study.report import build_report
from editfrontier.study.results.grids import Grid, build_grid
from editfrontier.study.results.naming import read_reported, read_statistics
from editfrontier.study.results.tables import to_latex, to_long, to_markdown, write_table
from fake_evaluators import fake_evaluators

REPORTED = Path(__file__).resolve().parents[2] / "config" / "reported_values.csv"
METRICS = ["id_sim", "clip_cos", "vqa_score", "psnr_bg", "iou_target", "latent_error"]
ROWS = {"sdedit": 4, "sd_inpaint": 3, "mask_guided": 0}
"""Editor -> how many of its four cases were edited; the others failed."""


def record(folder: Path, variant: str, cases: list[Case], data: Path) -> Path:
    rows = []
    for index, case in enumerate(cases):
        if index >= ROWS[variant]:
            reason = f"{case.case_id}: out of range" if index < 2 or ROWS[variant] else "NaN in step 3"
            rows.append({"case_id": case.case_id, "status": "failed", "reason": reason, "image": "", "sha256": ""})
            continue
        path = folder / "edits" / "t" / variant / f"{case.case_id}.png"
        write_png(path, np.clip(read_image(data / case.image).astype(int) + 9, 0, 255).astype(np.uint8))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"case_id": case.case_id, "status": "ok", "reason": "", "image": path.name, "sha256": sha256})
    path = folder / "edits" / "t" / variant / "shard-0.parquet"
    write_parquet(path, pd.DataFrame(rows), {"variant": variant})
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three editors on four cases without masks, scored without a model for questions."""
    folder = tmp_path_factory.mktemp("study")
    data, rng = folder / "data" / "t", np.random.default_rng(0)
    cases = []
    for index in range(4):
        write_png(data / f"{index}.png", rng.integers(0, 255, (32, 32, 3)).astype(np.uint8))
        texts = {"source_caption": "a face", "target_caption": "a smile", "instruction": "smile"}
        facts = {"identity": "p", "edit_type": "attribute_add", "cluster": f"{index}", "licence": "CC0-1.0"}
        cases.append(Case(case_id=f"t-{index}", task="t", image=f"{index}.png", **texts, **facts))
    write_cases(data / "cases.parquet", cases)
    evaluators: dict[str, Any] = {key: value for key, value in fake_evaluators().items() if key != "features"}
    sources = folder / "scores" / "t" / "sources.npz"
    prepare_sources(data / "cases.parquet", None, evaluators, sources)
    scores, features = [], []
    for variant in ROWS:
        made = record(folder, variant, cases, data)
        scores.append(folder / "scores" / "t" / f"{variant}.parquet")
        features.append(folder / "features" / f"{variant}.npz")
        score_variant(data / "cases.parquet", [made], sources, evaluators, scores[-1], features[-1])
    outs = [folder / "statistics" / f"t{kind}.parquet" for kind in ("", ".differences", ".frontier")]
    settings = {"resamples": 20, "set_resamples": 10, "permutations": 19, "metrics": METRICS}
    summarise_task(scores, features, sources, settings, *outs)
    return folder


TABLE: dict[str, Any] = {
    "name": "own",
    "title": "Own",
    "task": "t",
    "metrics": METRICS,
    "rows": [{"variant": name} for name in ROWS],
}


@pytest.fixture
def grid(root: Path) -> Grid:
    return build_grid(TABLE, read_statistics(root / "statistics" / "t.parquet"), read_reported(REPORTED))


def test_a_row_whose_cases_all_failed_stays_with_its_number_and_reasons(grid: Grid) -> None:
    line = grid.lines[2]
    assert (line.status, line.n, line.failed, line.row.label) == ("failed", 0, 4, "Mask-guided")
    assert line.failures == "<case>: out of range (2 cases); NaN in step 3 (2 cases)"
    frame = to_long(grid)
    lost = frame[frame["variant"] == "mask_guided"]
    assert set(lost["failed"]) == {4} and set(lost["n"]) == {0} and lost["value"].isna().all()
    assert set(lost["reason"]) == {f"all 4 cases failed: {line.failures}"}
    assert set(lost["failures"]) == {line.failures}
    assert set(frame[frame["variant"] == "sd_inpaint"]["failures"]) == {"<case>: out of range (1 case)"}
    assert "| 0 | 4 |" in to_markdown(grid) and "& 0 & 4" in to_latex(grid)


def test_a_metric_that_is_absent_says_why(grid: Grid) -> None:
    frame = to_long(grid).set_index(["variant", "metric"])["reason"]["sdedit"]
    assert dict(frame) == {
        "id_sim": "",
        "clip_cos": "",
        "vqa_score": "there is no evaluator 'vqa'",
        "psnr_bg": "the case has no mask",
        "iou_target": "there is no evaluator 'segmentation'",
        "latent_error": "its editor does not record it",
    }


def test_reasons_and_failures_stand_below_the_table(grid: Grid) -> None:
    sentences = [
        "No value of Mask-guided: all 4 cases failed: <case>: out of range (2 cases); NaN in step 3 (2 cases).",
        "No PSNR bg of SDEdit, SD inpainting: the case has no mask.",
        "Failed cases of SD inpainting: <case>: out of range (1 case).",
    ]
    assert sentences[0] in grid.missing() and sentences[1] in grid.missing()
    text = to_markdown(grid).replace("&lt;", "<").replace("&gt;", ">").replace("\\", "")
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_the_page_shows_failed_rows_and_reasons(root: Path, tmp_path: Path) -> None:
    tables = root / "tables"
    tables.mkdir(exist_ok=True)
    paths = [tables / f"own.{kind}" for kind in ("csv", "md", "tex")]
    write_table(TABLE, root / "statistics" / "t.parquet", REPORTED, *paths)
    build_report(root, {"seed": 0, "models": {}}, {"own": TABLE}, REPORTED, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    row = html[html.index('id="own"') :]
    row = row[row.index("Mask-guided</th>") :]
    row = row[: row.index("</tr>")]
    assert "No value: all 4 cases failed: &lt;case&gt;: out of range (2 cases)" in row
    assert '<td class="count">0<a href="#failures"' in row and "4 failed</a>" in row
    assert "\nNo value: the case has no mask" in html


def test_only_values_on_the_same_cases_are_ranked(grid: Grid) -> None:
    sdedit, inpaint, lost = (line.cells[0] for line in grid.lines)
    assert (sdedit.n, inpaint.n, lost.n) == (4, 3, 0)
    assert [cell.rank for cell in (sdedit, inpaint, lost)] == [0, 0, 0]
    assert [cell.unranked for cell in (sdedit, inpaint, lost)] == [False, True, False]
    assert "**" not in to_markdown(grid).split("\n\n")[1] and r"\textbf" not in to_latex(grid)
    (sentence,) = grid.unranked()
    assert sentence in to_markdown(grid) and sentence in to_latex(grid)


def ranks(kinds: dict[str, tuple[float, int, str]]) -> dict[str, int]:
    """Ranks of made-up editors: {name: (value, n, cases)}."""
    frame = pd.DataFrame(
        [
            {"task": "t", "variant": name, "metric": "id_sim", "value": value, "ci_low": value, "ci_high": value}
            | {"n": n, "failed": 0, "reason": "", "failures": "", "cases": cases}
            for name, (value, n, cases) in kinds.items()
        ]
    )
    table = {"name": "x", "task": "t", "metrics": ["id_sim"], "rows": [{"variant": name} for name in kinds]}
    lines = build_grid(table, frame, read_reported(REPORTED)).lines
    return {line.row.variant: line.cells[0].rank for line in lines}


def test_equal_numbers_of_other_cases_are_not_the_same_cases() -> None:
    found = ranks({"a": (0.9, 5, "abc"), "b": (0.8, 6, "all"), "c": (0.7, 6, "all"), "d": (0.99, 6, "other")})
    assert found == {"a": 0, "b": 1, "c": 2, "d": 0}
    assert ranks({"a": (0.9, 3, "abc"), "b": (0.8, 6, "all")}) == {"a": 0, "b": 0}


def test_reasons_are_counted_and_shortened() -> None:
    reasons = [(f"c{i}", f"c{i}: bad") for i in range(3)] + [("c9", "x" * 500)]
    assert counted_reasons(reasons) == f"<case>: bad (3 cases); {'x' * 197}... (1 case)"
    many = counted_reasons((f"c{i}", f"reason {i}") for i in range(9))
    assert many.count(";") == MOST_REASONS and many.endswith("6 further reasons (6 cases)")
    assert counted_reasons([]) == ""


def test_a_metric_that_nothing_mentions_says_what_it_needs() -> None:
    scores = Collected(rows=[("t-0", "id_sim", 1.0)])
    silent = scores.silent(["clip", "identity", "segmentation", "autoencoder"])
    assert silent["iou_target"] == "no case has drags"
    assert silent["l2_latent"] == "no case has a chain"
    assert silent["drift_face"] == "no case has regions"
    assert silent["quality"] == "there is no evaluator 'quality'"
    assert not {"id_sim", "fid", "l2_source"} & set(silent)


def test_statistics_keep_what_scores_say(root: Path) -> None:
    frame, _ = read_parquet(root / "statistics" / "t.parquet", "")
    held = frame[(frame["metric"] == "id_sim")].set_index("variant")["cases"]
    assert held["sdedit"] and held["sdedit"] != held["sd_inpaint"] and held["mask_guided"] == ""
