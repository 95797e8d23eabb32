"""Inversions and drags beside the small study of `study_fixture`: invented images and scores, real statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from editfrontier.base.parquet import write_parquet
from editfrontier.data.cases import Case, write_cases, write_png
from editfrontier.scoring.metrics import METRICS
from editfrontier.statistics.task import Settings, subset_summaries, summary
from editfrontier.statistics.taskscores import TaskScores
from study_fixture import HOSTILE, Study

SETTINGS = Settings(resamples=60, set_resamples=20, permutations=99)
SIZE = 32
INVERSION_METRICS = ("lpips_source", "psnr_source", "latent_error", "forwards", "seconds")
DRAG_METRICS = ("iou_target", "centroid_shift", "lpips_bg_masked", "moved_towards", "seconds")

# variant -> label, group, paper, control; PSNR and its evaluations.
INVERSIONS: dict[str, tuple[str, str, str, bool, float, float]] = {
    "flow_reconstruction": ("FireFlow, 8", "FireFlow", "fireflow/steps=8", False, 24.0, 18),
    "flow_reconstruction+num_inference_steps=16": ("FireFlow, 16", "FireFlow", "fireflow/steps=16", False, 28.0, 34),
    "flow_reconstruction+num_inference_steps=32": ("FireFlow, 32", "FireFlow", "fireflow/steps=32", False, 30.0, 66),
    "flow_reconstruction+method=euler": ("Euler, 8", "Euler", "", False, 17.0, 16),
    "flow_reconstruction+method=euler,num_inference_steps=50": (
        "First order, 50 (E8)", "Euler", "ddim/steps=50", False, 27.0, 100,
    ),
    "diffusion_reconstruction": ("DDIM on SD, 50", "DDIM", "", False, 26.0, 100),
    "flow_reconstruction+method=none": ("Autoencoder alone, flow", "autoencoder", "", True, 31.0, 0),
    "diffusion_reconstruction+method=none": ("Autoencoder alone, SD", "autoencoder", "", True, 29.5, 0),
}  # fmt: skip

# variant -> label, paper, share of the way that it moves the region.
DRAGS: dict[str, tuple[str, str, float]] = {
    "drag_flow": ("DragFlow", "default", 0.95),
    "region_drag": ("Region drag", "", 0.7),
    "point_drag": ("Point drag", "", 0.6),
    "point_drag+lora=false": ("Naive point drag", "default", 0.4),
    "source": ("Source, unedited", "", 0.0),
    "copy_paste": ("Copy and paste", "", 1.0),
    "true_edit": ("True edit", "", 1.0),
}
_STEPS = {"small": 3.0, "medium": 6.0, "large": 10.0}


def add_experiments(study: Study, *, hostile: bool = True) -> Study:
    """Return the study with the tables table2, table4, table4_kind and table4_size, their tasks made and run."""
    tables = dict(study.tables) | {"table2": _inversions(study.root)} | _drags(study.root, hostile)
    return replace(study, tables=tables)


def _inversions(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    cases, images = [], {}
    for index in range(4):
        name = f"inversion-{index:05d}"
        ramp = np.linspace(60, 200, SIZE)[:, None, None] * np.ones((1, SIZE, 3))
        images[name] = np.clip(ramp + rng.integers(-40, 40, 3), 0, 255).astype(np.uint8)
        write_png(root / "data" / "inversion" / f"{name}.png", images[name])
        cases.append(_case(name, "inversion", f"{name}.png", edit_type="attribute_add", attribute="hat"))
    write_cases(root / "data" / "inversion" / "cases.parquet", cases)
    scores: dict[str, dict[str, list[float]]] = {}
    for variant, (*_, psnr, forwards) in INVERSIONS.items():
        wobble = rng.normal(0, 0.5, len(cases))
        lost = 10 ** (-(psnr + wobble) / 20)
        scores[variant] = {
            "lpips_source": list(0.5 * lost),
            "psnr_source": list(psnr + wobble),
            "latent_error": list(np.zeros(4) if forwards == 0 else 2 * lost),
            "forwards": [float(forwards)] * 4,
            "seconds": [0.002 * forwards + 0.001] * 4,
        }
        noisy = {
            n: np.clip(i + rng.normal(0, 300 * lost[0], i.shape), 0, 255).astype(np.uint8) for n, i in images.items()
        }
        _run(root, "inversion", variant, noisy, scores[variant])
    _summarise(root, "inversion", scores, cases, [])
    return {
        "name": "table2",
        "section": "inversion",
        "look": "group",
        "title": "Inversion",
        "caption": "How well a source comes back.",
        "task": "inversion",
        "metrics": list(INVERSION_METRICS),
        "rows": [
            {"variant": v, "label": label, "group": group, "paper": paper, "control": control}
            for v, (label, group, paper, control, *_) in INVERSIONS.items()
        ],
    }


def _drags(root: Path, hostile: bool) -> dict[str, dict[str, Any]]:
    """Nine drags, one of each kind and size; case 1 of region_drag failed. If hostile, case 2 has no readable drags."""
    folder = root / "data" / "drags"
    cases: list[Case] = []
    pictures: dict[str, tuple[np.ndarray, float]] = {}
    for index in range(9):
        kind = ("relocation", "rotation", "deformation")[index % 3]
        grade = list(_STEPS)[index // 3]
        name = f"drags-{index:05d}-{kind}-{grade}"
        shift = _STEPS[grade]
        source, target = _square(0.0), _square(shift)
        for part, array in {
            "source": _picture(source),
            "true": _picture(target),
            "mask": source | target,
            "background": ~(source | target),
            "from": source,
            "to": target,
        }.items():
            write_png(folder / f"{name}-{part}.png", array)
        region = {
            "kind": kind,
            "grade": grade,
            "source_mask": f"{name}-from.png",
            "target_mask": f"{name}-to.png",
            "affine": [[1.0, 0.0, shift], [0.0, 1.0, 0.0]],
            "points": [[[8.0, 16.0], [8.0 + shift, 16.0]], [[12.0, 18.0], [12.0 + shift, 18.0]]],
        }
        pictures[name] = (_picture(source), shift)
        made = _case(
            name,
            "drags",
            f"{name}-source.png",
            edit_type=kind,
            instruction=HOSTILE if hostile and index == 0 else f"move the square by {shift:g} px",
            mask=f"{name}-mask.png",
            background_mask=f"{name}-background.png",
            true_edit=f"{name}-true.png",
            drags="not JSON" if hostile and index == 2 else json.dumps([region]),
        )
        cases.append(made)
    write_cases(folder / "cases.parquet", cases)
    rng = np.random.default_rng(1)
    scores: dict[str, dict[str, list[float]]] = {}
    for variant, (_, _, share) in DRAGS.items():
        shifts = np.array([shift for _, shift in pictures.values()])
        left = shifts * (1 - share) * rng.uniform(0.8, 1.2, 9)
        images = {
            name: _picture(_square(shift - gap)) for (name, (_, shift)), gap in zip(pictures.items(), left, strict=True)
        }
        scores[variant] = {
            "iou_target": list(np.clip((10 - left) / (10 + left), 0, 1)),
            "centroid_shift": list(left),
            "lpips_bg_masked": list(0.02 * rng.uniform(0.5, 1.5, 9) * (variant != "source")),
            "moved_towards": list((left < 0.9 * shifts).astype(float)),
            "seconds": [1.5 * share] * 9,
        }
        failed = 1 if variant == "region_drag" else -1
        _run(root, "drags", variant, images, scores[variant], failed)
    _summarise(root, "drags", scores, cases, ["kind", "size"], failed={"region_drag": 1})
    whole = {
        "name": "table4",
        "section": "drags",
        "look": "row",
        "title": "Region drags",
        "caption": "How near the region came to its target.",
        "task": "drags",
        "metrics": list(DRAG_METRICS),
        "rows": [{"variant": v, "label": label, "paper": paper} for v, (label, paper, _) in DRAGS.items()],
    }
    parts = {
        f"table4_{by}": {
            **whole,
            "name": f"table4_{by}",
            "title": f"Region drags, by {by}",
            "by": by,
            "parent": "table4",
        }
        for by in ("kind", "size")
    }
    return {"table4": whole, **parts}


def _case(name: str, task: str, image: str, **values: Any) -> Case:
    texts = {"source_caption": "a picture", "target_caption": "a picture", "instruction": "change it"}
    return Case(case_id=name, task=task, image=image, cluster=name, licence="CC0-1.0", **{**texts, **values})


def _square(shift: float) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[11:21, 5 + round(shift) : 15 + round(shift)] = True
    return mask


def _picture(mask: np.ndarray) -> np.ndarray:
    picture = np.full((SIZE, SIZE, 3), (120, 170, 90), dtype=np.uint8)
    picture[mask] = (200, 60, 40)
    return picture


def _run(
    root: Path,
    task: str,
    variant: str,
    images: Mapping[str, np.ndarray],
    scores: Mapping[str, Sequence[float]],
    failed: int = -1,
) -> None:
    records, rows = [], []
    for index, (name, image) in enumerate(images.items()):
        ok = index != failed
        if ok:
            write_png(root / "edits" / task / variant / "images" / f"{name}.png", image)
            rows += [{"case_id": name, "variant": variant, "metric": m, "value": v[index]} for m, v in scores.items()]
        records.append(
            {
                "case_id": name,
                "status": "ok" if ok else "failed",
                "reason": "" if ok else f"case {name}: the region has zero area",
                "image": f"images/{name}.png" if ok else "",
                "sha256": "",
                "seconds": scores["seconds"][index],
            }
        )
    write_parquet(root / "edits" / task / variant / "shard-0.parquet", pd.DataFrame(records), {"editor": variant})
    write_parquet(root / "scores" / task / f"{variant}.parquet", pd.DataFrame(rows), {})


def _summarise(
    root: Path,
    task: str,
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    cases: Sequence[Case],
    splits: Sequence[str],
    failed: Mapping[str, int] | None = None,
) -> None:
    names = [name for name in METRICS if any(name in values for values in scores.values())]
    values = np.array([[scores[v][m] for m in names] for v in scores]).transpose(2, 0, 1)
    failures: list[dict[str, str]] = [{} for _ in scores]
    for variant, index in (failed or {}).items():
        place = list(scores).index(variant)
        values[index, place] = np.nan
        failures[place] = {cases[index].case_id: "the region has zero area"}
    data = TaskScores(
        task,
        list(scores),
        names,
        values,
        np.arange(len(cases)),
        [len(found) for found in failures],
        {},
        None,
        tuple(case.case_id for case in cases),
        tuple(failures),
    )
    table = root / "data" / task / "cases.parquet"
    write_parquet(root / "statistics" / f"{task}.parquet", summary(data, SETTINGS), {"resamples": 60})
    subsets = subset_summaries(data, SETTINGS, table, splits)
    write_parquet(root / "statistics" / f"{task}.subsets.parquet", subsets, {"resamples": 60})
