"""What masks cost, on scores whose costs were put in by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis_fixture import found_by, inputs_of, rows_of, scores_of
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case
from editfrontier.study.analyses.mask_quality import ANALYSIS
from editfrontier.study.designs.masks import mask_table
from editfrontier.study.run import draw_analysis

KINDS = {"exact": 1.0, "dilated": 0.8, "shifted": 0.4}
EDITORS = ["mask_guided", "drag_flow", "true_edit"]
METRICS = ["boundary", "success", "l2_true"]
# Loss by a mask of no overlap: of boundary and l2_true more, of success less.
LOSS = {"mask_guided": (0.0, 0.0, 0.1), "drag_flow": (0.2, 0.5, 0.1), "true_edit": (0.0, 0.0, 0.0)}


def _cases(edits: int) -> list[Case]:
    texts = {"source_caption": "a", "target_caption": "b", "instruction": "c", "edit_type": "d", "licence": "x"}
    return [
        Case(
            case_id=f"c{edit * len(KINDS) + place}", task="mq", image="i", cluster=f"e{edit}",
            design=json.dumps({"mask": kind, "iou": iou, "noise": f"e{edit}"}), **texts,
        )
        for edit in range(edits)
        for place, (kind, iou) in enumerate(KINDS.items())
    ]  # fmt: skip


def _values(edits: int, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.zeros((edits, len(KINDS), len(EDITORS), len(METRICS)))
    own = rng.normal(0, 0.3, (edits, 1, 1))  # what an edit costs whatever its mask
    for v, editor in enumerate(EDITORS):
        for k, iou in enumerate(KINDS.values()):
            shift = np.array(LOSS[editor]) * (1 - iou)
            values[:, k, v] = own[:, :, 0] + shift + rng.normal(0, noise, (edits, len(METRICS)))
            values[:, k, v, 1] = rng.uniform(size=edits) < 0.9 - LOSS[editor][1] * (1 - iou)
    return values.reshape(edits * len(KINDS), len(EDITORS), len(METRICS))


def _inputs(tmp_path: Path, values: np.ndarray, cases: list[Case]):  # type: ignore[no-untyped-def]
    scores = scores_of(values, EDITORS, METRICS, [int(case.cluster[1:]) for case in cases], "mq")
    return inputs_of(tmp_path, {"e": scores}, {"e": rows_of(EDITORS, ["true_edit"])}, {"mq": cases})


def test_losses_slopes_and_the_comparison_of_editors_are_recovered(tmp_path: Path) -> None:
    cases = _cases(40)
    inputs = _inputs(tmp_path, _values(40), cases)
    found = found_by(ANALYSIS, inputs, metrics=tuple(METRICS))
    assert [row.level for row in found.select("iou")] == ["exact", "dilated", "shifted"]
    difference = found.one("difference", variant="drag_flow", metric="boundary", level="shifted")
    assert difference is not None
    assert difference.value == pytest.approx(0.12, abs=0.01)
    assert difference.low < 0.12 < difference.high
    assert difference.n == 40
    p = found.one("difference_p", variant="drag_flow", metric="boundary", level="shifted")
    assert p is not None
    assert p.value < 0.01
    none = found.one("difference_p", variant="mask_guided", metric="boundary", level="shifted")
    assert none is not None
    assert none.value > 0.05
    slope = found.one("slope", variant="drag_flow", metric="boundary")
    assert slope is not None
    assert slope.low < -0.2 < slope.high < 0
    extra = {name: found.one("extra_loss", variant="drag_flow", metric=name, level="") for name in METRICS}
    assert extra["boundary"] is not None
    assert extra["boundary"].value == pytest.approx(0.2 * (0.2 + 0.6) / 2, abs=0.01)
    assert extra["success"] is not None
    assert extra["success"].value > 0  # less success is a loss
    assert extra["l2_true"] is not None
    assert extra["l2_true"].low < 0 < extra["l2_true"].high  # both lose the same
    assert not found.select("extra_loss", variant="mask_guided")
    assert not found.select("difference", variant="true_edit")
    said = " ".join(ANALYSIS.say(found, inputs))
    assert "drag flow, shifted mask: Boundary changes by +0.1" in said
    draw_analysis(ANALYSIS, found, inputs, ANALYSIS.params(metrics=tuple(METRICS)), tmp_path / "figure")
    assert (tmp_path / "figure.svg").stat().st_size > 1000


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    cases = _cases(6)
    values = _values(6)
    values[:, 1] = np.nan  # drag_flow failed everywhere
    inputs = _inputs(tmp_path, values, cases)
    found = found_by(ANALYSIS, inputs, metrics=("boundary", "id_sim"), against="sdedit")
    assert "no case has this metric" in found.select("mean", metric="id_sim")[0].note
    lost = found.select("difference", variant="drag_flow", metric="boundary")
    assert [(row.n, math.isnan(row.value)) for row in lost] == [(0, True), (0, True)]
    (row,) = found.select("extra_loss")
    assert "'sdedit' is no editor" in row.note
    assert ANALYSIS.say(found, inputs)
    draw_analysis(ANALYSIS, found, inputs, ANALYSIS.params(), tmp_path / "figure")


def test_a_task_without_masks_in_its_design_is_refused(tmp_path: Path) -> None:
    cases = _cases(2)
    inputs = _inputs(tmp_path, _values(2), cases)
    plain = [Case(**{**case.__dict__, "design": ""}) for case in cases]
    with pytest.raises(UserError, match="expected mask, iou and noise"):
        mask_table(plain, inputs.scores("e"))
    worse = [Case(**{**case.__dict__, "design": case.design.replace("exact", "rough")}) for case in cases]
    with pytest.raises(UserError, match="no case has the exact mask"):
        mask_table(worse, inputs.scores("e"))
