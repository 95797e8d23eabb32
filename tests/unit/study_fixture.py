"""A small study on disk, in the workflow's layout: hostile text, failures, a missing variant, NaN."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from editfrontier.base.parquet import write_parquet
from editfrontier.data.cases import Case, write_cases, write_png

HOSTILE = '</script><script>alert("x")</script> & 100% of $x_1^2$ \\input{a} | `b` <b>#~{}</b>'
CONTROLS = ("source", "autoencoder_round_trip", "random_image", "true_edit")
EDITORS = ("sdedit", "sd_inpaint", "instruct_pix2pix", "mask_guided")
ABLATION = {
    "mask_guided+guidance_scale=3": ("w = 3, cosine", "w=3 cosine", ""),
    "mask_guided+guidance_scale=5": ("w = 5, cosine", "w=5 cosine", ""),
    "mask_guided": ("w = 7.5, cosine", "w=7.5 cosine", ""),
    "mask_guided+guidance_scale=12": ("w = 12, cosine", "w=12 cosine", ""),
    "mask_guided+schedule=constant": ("constant 0.5", "w=7.5 constant", "schedule"),
    "mask_guided+schedule=step": ("step", "w=7.5 step", "schedule"),
    "mask_guided+mode=cumulative": ("cosine, cumulative (E15)", "", "errata"),
    "mask_guided+polarity=printed": ("as printed (E4)", "", "errata"),
}
METRICS = (
    "fid",
    "kid",
    "id_sim",
    "clip_score",
    "clip_directional",
    "success",
    "lpips_bg_masked",
    "lpips_bg_spatial",
    "psnr_bg",
    "quality",
    "artifact",
    "l2_true",
)

# How each variant behaves: (share of the true edit that it makes, noise on the whole image).
BEHAVIOUR = {
    "source": (0.0, 0.0),
    "autoencoder_round_trip": (0.0, 0.03),
    "random_image": (-1.0, 0.0),
    "true_edit": (1.0, 0.0),
    "sdedit": (0.8, 0.10),
    "sd_inpaint": (0.9, 0.04),
    "instruct_pix2pix": (0.85, 0.07),
    "mask_guided": (0.7, 0.04),
    "mask_guided+guidance_scale=3": (0.45, 0.03),
    "mask_guided+guidance_scale=5": (0.6, 0.035),
    "mask_guided+guidance_scale=12": (0.8, 0.08),
    "mask_guided+schedule=constant": (0.1, 0.03),
    "mask_guided+schedule=step": (0.72, 0.05),
    "mask_guided+mode=cumulative": (0.8, 0.04),
    "mask_guided+polarity=printed": (0.05, 0.12),
}

Painter = Callable[[int], tuple[np.ndarray, np.ndarray, str, str]]


@dataclass(frozen=True)
class Study:
    root: Path
    config: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    reported: Path


def plain_painter(size: int) -> Painter:
    """Squares on a gradient: (source, true edit, attribute, instruction) of a case."""

    def paint(index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        rng = np.random.default_rng(index)
        ramp = np.linspace(60, 200, size)[:, None, None] * np.ones((1, size, 3))
        source = np.clip(ramp + rng.integers(-40, 40, 3), 0, 255).astype(np.uint8)
        edited = source.copy()
        start = int(rng.integers(2, size // 2))
        edited[start : start + size // 3, start : start + size // 3] = rng.integers(0, 255, 3)
        return (
            source,
            edited,
            ("smile", "hat", "glasses")[index % 3],
            f"add a {('smile', 'hat', 'pair of glasses')[index % 3]}",
        )

    return paint


def make_study(
    root: Path,
    *,
    cases: int = 8,
    size: int = 16,
    painter: Painter | None = None,
    hostile: bool = True,
    absent: tuple[str, ...] = ("mask_guided+mode=cumulative",),
) -> Study:
    """Write a study under `root`; case 1 of sdedit failed, the variants of `absent` have not run."""
    paint = painter or plain_painter(size)
    task = "portraits"
    folder = root / "data" / task
    made: list[Case] = []
    images: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for index in range(cases):
        source, edited, attribute, instruction = paint(index)
        name = f"portraits-{index:05d}-{attribute}-add"
        mask = (source.astype(int) != edited.astype(int)).any(axis=2)
        for kind, array in (("source", source), ("true", edited), ("mask", mask)):
            write_png(folder / "images" / f"{name}-{kind}.png", array)
        images[name] = (source, edited)
        made.append(
            Case(
                case_id=name,
                task=task,
                image=f"images/{name}-source.png",
                source_caption="a portrait",
                target_caption=f"a portrait with a {attribute}" if index or not hostile else HOSTILE,
                instruction=instruction if index or not hostile else HOSTILE,
                edit_type="attribute_add",
                attribute=attribute,
                desired=True,
                mask=f"images/{name}-mask.png",
                true_edit=f"images/{name}-true.png",
                cluster=f"source-{index // 2}",
                licence="CC0-1.0",
            )
        )
    write_cases(folder / "cases.parquet", made)

    summaries = []
    for variant, behaviour in BEHAVIOUR.items():
        if variant in absent:
            continue
        summaries += _run_variant(root, task, variant, behaviour, images, size)
    (root / "statistics").mkdir(parents=True, exist_ok=True)
    summaries += [
        {
            "task": task,
            "variant": "reference",
            "metric": m,
            "value": v,
            "ci_low": v * 0.9,
            "ci_high": v * 1.2,
            "n": 512,
            "failed": 0,
        }
        for m, v in (("fid", 3.2), ("kid", 0.1))
    ]
    frame = pd.DataFrame(summaries)
    write_parquet(root / "statistics" / f"{task}.parquet", frame, {"resamples": 1000})

    names = [name for name in BEHAVIOUR if name not in absent]
    front = [
        {
            "task": task,
            "variant": name,
            "control": name in CONTROLS,
            **_composites(BEHAVIOUR[name]),
            "on_front": name in ("sdedit", "mask_guided"),
            "probability": 0.0 if name in CONTROLS else 0.5,
            "n": cases,
        }
        for name in names
    ]
    settings = {
        "fidelity": ["id_sim", "lpips_bg_spatial"],
        "fidelity_anchors": ["random_image", "source"],
        "controllability": ["clip_directional", "success"],
        "controllability_anchors": ["source", "true_edit"],
    }
    write_parquet(
        root / "statistics" / f"{task}.frontier.parquet", pd.DataFrame(front), {"settings": settings, "absent": ""}
    )
    pairs = [
        {
            "task": task,
            "experiment": "table1",
            "metric": metric,
            "variant_a": a,
            "variant_b": b,
            "difference": 0.1 * (i - j),
            "ci_low": 0.1 * (i - j) - 0.05,
            "ci_high": 0.1 * (i - j) + 0.05,
            "p": 0.01,
            "p_holm": 0.04 if i else 0.2,
            "family": "editors",
            "n": cases,
        }
        for metric in ("id_sim", "success", "clip_score", "lpips_bg_spatial")
        for i, a in enumerate(EDITORS)
        for j, b in enumerate(EDITORS)
        if i < j
    ]
    write_parquet(root / "statistics" / f"{task}.differences.parquet", pd.DataFrame(pairs), {"settings": settings})
    checks = [
        ("identity", "id_sim", "spearman", -0.93, "below -0.8", True),
        ("attributes", "success", "balanced_accuracy", 0.985, "at least 0.97", True),
        ("true edit", "lpips_bg_spatial", "maximum", 0.0, "0", True),
        ("corruption", "quality", "spearman", -0.7, "below -0.8", False),
    ]
    pd.DataFrame(
        [
            {
                "check": c,
                "metric": m,
                "statistic": s,
                "value": v,
                "ci_low": v - 0.02,
                "ci_high": v + 0.02,
                "n": 200,
                "expectation": e,
                "holds": h,
            }
            for c, m, s, v, e, h in checks
        ]
    ).to_csv(root / "validation.csv", index=False)
    rng = np.random.default_rng(0)
    points: list[tuple[str, str, str, float, float]] = []
    for group in ("same picture", "other picture"):
        points += [("identity", "id_sim", group, x, 1 - 2 * x + float(rng.normal(0, 0.1))) for x in rng.random(100)]
    points += [
        ("success", "success", a, float(i), 0.9 + 0.01 * (i % 9))
        for i, a in enumerate(("smile", "hat", "beard", "long_hair", "old"))
    ]
    points += [
        ("background", "lpips_bg_spatial", g, float(k), abs(float(rng.normal(0.4 * k, 0.05))))
        for k, g in enumerate(("true edit", "another portrait"))
        for _ in range(40)
    ]
    points += [
        ("corruption", "quality", f, x, 90 - 60 * x + float(rng.normal(0, 5)))
        for f in ("blur", "noise", "jpeg")
        for x in (0.0, 0.25, 0.5, 1.0)
        for _ in range(8)
    ]
    points += [("corruption", "fid", "all families", x, 100 * x) for x in (0.0, 0.25, 0.5, 1.0)]
    points += [
        ("direction", "clip_directional", g, float(k), float(rng.normal(0.4 * k, 0.1)))
        for k, g in enumerate(("other edit", "asked edit"))
        for _ in range(40)
    ]
    points += [("captions", "clip_cos", "margin", 0.0, float(rng.normal(0.1, 0.05))) for _ in range(80)]
    write_parquet(
        root / "validation.points.parquet", pd.DataFrame(points, columns=["check", "metric", "group", "x", "y"]), {}
    )
    reported = Path(__file__).resolve().parents[2] / "config" / "reported_values.csv"
    tables = {
        "table1": {
            "name": "table1",
            "section": "editors",
            "title": "Editing of face attributes" + (" & 100% <b>" if hostile else ""),
            "task": task,
            "metrics": list(METRICS),
            "rows": [{"variant": v} for v in (*CONTROLS, *EDITORS)],
        },
        "table3": {
            "name": "table3",
            "section": "ablation",
            "title": "Ablation of mask-guided editing",
            "task": task,
            "metrics": ["fid", "id_sim", "clip_score", "success", "lpips_bg_spatial", "lpips_bg_masked"],
            "rows": [
                {"variant": v, "label": label, "paper": paper, "group": group}
                for v, (label, paper, group) in ABLATION.items()
            ],
        },
    }
    config = {"scale": "fixture", "seed": 0, "note": HOSTILE if hostile else "", "models": {}}
    return Study(root, config, tables, reported)


def _composites(behaviour: tuple[float, float]) -> dict[str, float]:
    share, noise = behaviour
    x, y = (0.0, -1.0) if share < 0 else (1 - 2 * noise, share)
    return {
        "fidelity": x,
        "fidelity_low": x - 0.03,
        "fidelity_high": x + 0.03,
        "controllability": y,
        "controllability_low": y - 0.05,
        "controllability_high": y + 0.05,
    }


def _run_variant(
    root: Path,
    task: str,
    variant: str,
    behaviour: tuple[float, float],
    images: dict[str, tuple[np.ndarray, np.ndarray]],
    size: int,
) -> list[dict[str, Any]]:
    share, noise = behaviour
    rng = np.random.default_rng(int(hashlib.sha256(variant.encode()).hexdigest()[:8], 16))
    records, scores = [], []
    names = list(images)
    for index, (name, (source, edited)) in enumerate(images.items()):
        if variant == "sdedit" and index == 1:
            records.append(
                {
                    "case_id": name,
                    "status": "failed",
                    "reason": "NaN in the latent at step 3 " + HOSTILE,
                    "image": "",
                    "sha256": "",
                    "seconds": 0.0,
                    "forwards": 0,
                    "seed": 0,
                }
            )
            continue
        base = (
            images[names[(index + 3) % len(names)]][0]
            if share < 0
            else source + max(share, 0) * (edited.astype(float) - source)
        )
        result = np.clip(base + rng.normal(0, 255 * noise, (size, size, 3)), 0, 255).astype(np.uint8)
        image = f"images/{name}.png"
        write_png(root / "edits" / task / variant / image, result)
        records.append(
            {
                "case_id": name,
                "status": "ok",
                "reason": "",
                "image": image,
                "sha256": "0" * 64,
                "seconds": 0.5 + 0.01 * index,
                "forwards": 100,
                "seed": 0,
            }
        )
        wobble = float(rng.normal(0, 0.02))
        kept = 0.0 if share < 0 else 1 - 3 * noise - 0.05 * max(share, 0)
        values = {
            "id_sim": kept + wobble,
            "clip_score": 0.5 + 0.2 * max(share, 0) + wobble,
            "clip_directional": 0.4 * share + wobble,
            "success": float(rng.random() < 0.1 + 0.85 * share),
            "lpips_bg_masked": 0.8 * noise + (0.4 if share < 0 else 0),
            "lpips_bg_spatial": noise + (0.5 if share < 0 else 0),
            "psnr_bg": min(60.0, 60 - 400 * noise),
            "quality": 80 - 300 * noise,
            "artifact": float(rng.random() < noise * 2),
            "l2_true": abs(1 - share) * 0.1 + noise,
        }
        scores += [{"case_id": name, "variant": variant, "metric": m, "value": v} for m, v in values.items()]
    (root / "edits" / task / variant).mkdir(parents=True, exist_ok=True)
    half = len(records) // 2
    for shard, part in enumerate((records[:half], records[half:])):
        write_parquet(
            root / "edits" / task / variant / f"shard-{shard}.parquet",
            pd.DataFrame(part),
            {"editor": variant.partition("+")[0], "versions": {"torch": "2.15.0"}, "code": "abc"},
        )
    (root / "scores" / task).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(scores)
    write_parquet(root / "scores" / task / f"{variant}.parquet", frame, {})
    failed = sum(record["status"] != "ok" for record in records)
    rows = []

    def add(metric: str, value: float, low: float, high: float, n: int) -> None:
        interval = {"value": value, "ci_low": low, "ci_high": high, "n": n, "failed": failed}
        rows.append({"task": task, "variant": variant, "metric": metric, **interval})

    for metric, column in frame.groupby("metric")["value"]:
        mean, width = float(column.mean()), 1.96 * float(column.std()) / len(column) ** 0.5
        add(metric, mean, mean - width, mean + width, len(column))
    fid = 5 + 300 * noise + (8 * share if share > 0 else 0)
    for metric, value in (("fid", fid), ("kid", fid / 10 - 1)):
        if variant == "sd_inpaint" and metric == "kid":
            value = float("nan")
        add(metric, value, value * 0.9, value * 1.15, len(images) - failed)
    return rows


def page_data(html: str) -> Any:
    """Return the JSON that the page carries."""
    start = html.index('<script type="application/json" id="data">') + len('<script type="application/json" id="data">')
    return json.loads(html[start : html.index("</script>", start)])
