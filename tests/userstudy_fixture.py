"""A small study that people can judge: cases, edits and scores on disk, and files of responses with known answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from editfrontier.base.parquet import write_parquet
from editfrontier.data.cases import Case, write_cases, write_png
from editfrontier.study.inputs import Inputs, make_inputs
from editfrontier.study.userstudy.materials import Design, Trial
from editfrontier.study.userstudy.responses import FORMAT, VERSION

TASK = "portraits"
EDITORS = ("instruct_pix2pix", "mask_guided", "sd_inpaint", "sdedit")
HOSTILE = '</script><script>document.title = "owned"</script> & <img src=x onerror=alert(1)>'

Choose = Callable[[int, Trial], str]
"""(number of the trial, trial) -> left, right or tie."""


def make_results(
    root: Path,
    *,
    editors: Sequence[str] = EDITORS,
    cases: int = 12,
    failed: Sequence[tuple[str, int]] = (),
    true_edits: bool = True,
    values: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Write cases, edits and scores under `root` and return the experiment's resolved entry.

    Args:
        editors: variants that are compared; every edit is an image of its own.
        cases: number of cases, each of its own source image.
        failed: (editor, case) of edits that failed.
        true_edits: whether cases have one.
        values: metric -> editor -> its value on every case.
    """
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray:
        return rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)

    folder = root / "data" / TASK
    made = []
    for index in range(cases):
        name = f"case-{index:03d}"
        write_png(folder / f"{name}.png", picture())
        if true_edits:
            write_png(folder / f"{name}-true.png", picture())
        instruction = HOSTILE if index == 0 else f"make the hair of person {index} longer"
        made.append(
            Case(
                case_id=name,
                task=TASK,
                image=f"{name}.png",
                source_caption="",
                target_caption="",
                instruction=instruction,
                edit_type="attribute_add",
                true_edit=f"{name}-true.png" if true_edits else "",
                cluster=name,
                licence="CC0-1.0",
            )
        )
    write_cases(folder / "cases.parquet", made)
    ids = [case.case_id for case in made]
    for editor in editors:
        records, scores = [], []
        for index, name in enumerate(ids):
            ok = (editor, index) not in failed
            if ok:
                write_png(root / "edits" / TASK / editor / "images" / f"{name}.png", picture())
                scores += [(name, metric, by_editor[editor]) for metric, by_editor in (values or {}).items()]
            reason = "" if ok else "the sampler gave NaN"
            image = f"images/{name}.png" if ok else ""
            state = {"status": "ok" if ok else "failed", "reason": reason, "image": image}
            records.append({"case_id": name, "seconds": 0.1, **state})
        write_parquet(root / "edits" / TASK / editor / "shard-0.parquet", pd.DataFrame(records), {})
        count = sum(name == editor for name, _ in failed)
        about = {"variant": editor, "task": TASK, "counts": {"failed": count}, "failures": {}}
        frame = pd.DataFrame(scores, columns=["case_id", "metric", "value"])
        write_parquet(root / "scores" / TASK / f"{editor}.parquet", frame, about)
        (root / "features" / TASK).mkdir(parents=True, exist_ok=True)
        np.savez(root / "features" / TASK / f"{editor}.npz", variant=editor, case_ids=np.array(ids))
    about = json.dumps({"failures": {}})
    np.savez(root / "scores" / TASK / "sources.npz", case_ids=np.array(ids), clusters=np.array(ids), provenance=about)
    return {
        "name": "table1",
        "title": "Editing",
        "task": TASK,
        "metrics": list(values or {"id_sim": {}}),
        "rows": [{"variant": editor, "editor": editor} for editor in editors],
    }


def inputs_of(root: Path, table: Mapping[str, Any], files: Sequence[Path]) -> Inputs:
    """Return the inputs of the analysis as a config would give them."""
    entry = {
        "experiments": {"table1": table}, "tasks": [], "models": {}, "evaluators": {},
        "statistics": {"resamples": 300}, "files": [str(file) for file in files], "seed": 0,
    }  # fmt: skip
    return make_inputs("user_study", entry, root, "cpu")


def response(design: Design, participant: int, choose: Choose, count: int | None = None) -> dict[str, Any]:
    """Return a participant's file as the page exports it, of the first `count` trials."""
    trials = design.trials[participant - 1]
    answers = [
        {"trial": n, "choice": choose(n, trial), "left": trial.left_image, "right": trial.right_image, "ms": 1500}
        for n, trial in enumerate(trials[:count], start=1)
    ]
    complete = len(answers) == len(trials)
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": design.hash,
        "participant": participant,
        "started": "2026-01-01T10:00:00.000Z",
        "finished": "2026-01-01T10:20:00.000Z" if complete else None,
        "trials": len(trials),
        "answers": answers,
    }


def write_response(folder: Path, name: str, content: Any) -> Path:
    """Write one file of responses and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def preferring(strengths: Mapping[str, float], log_tie: float, rng: np.random.Generator) -> Choose:
    """Return choices drawn from the model of Bradley, Terry and Davidson; catch trials are answered right."""

    def choose(_: int, trial: Trial) -> str:
        if trial.kind == "catch":
            return trial.answer
        left, right = strengths[trial.left], strengths[trial.right]
        odds = np.exp([left, right, log_tie + (left + right) / 2])
        return str(rng.choice(["left", "right", "tie"], p=odds / odds.sum()))

    return choose
