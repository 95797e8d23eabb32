"""A study of chains on disk, in the workflow's layout, whose images, scores and attributes are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from editfrontier.base.parquet import write_parquet
from editfrontier.data.cases import Case, write_cases, write_png
from editfrontier.study.inputs import Inputs, make_inputs

SIDE = 8
NAMES = ("smile", "glasses", "hat")
TASK = "chains"


def make_chain(
    name: str, cluster: str, attributes: Sequence[str], steps: int | None = None, **design: str | int
) -> list[Case]:
    """A chain that adds attributes one after another, or one of them `steps` times."""
    sequence = list(attributes) if steps is None else [attributes[0]] * steps
    present = dict.fromkeys(NAMES, False)
    cases = []
    for step, attribute in enumerate(sequence, start=1):
        before, present = dict(present), present | {attribute: True}
        cases.append(
            Case(
                case_id=f"{name}-k{step}",
                task=TASK,
                image=f"{cluster}.png",
                source_caption="",
                target_caption="",
                instruction=f"add {attribute}",
                edit_type="attribute_add",
                attribute=attribute,
                source_attributes=json.dumps(before),
                target_attributes=json.dumps(present),
                cluster=cluster,
                chain=name,
                step=step,
                design=json.dumps(design) if design else "",
                licence="CC0-1.0",
            )
        )
    return cases


def write_study(
    root: Path,
    chains: Sequence[Sequence[Case]],
    variants: Mapping[str, Callable[[int, int], Mapping[str, Any] | str]],
    controls: Sequence[str] = (),
) -> Inputs:
    """Write cases, records, scores and features.

    Args:
        root: results folder.
        chains: the chains; their sources are black images.
        variants: name -> (number of the chain, step) -> `level` of the edited image (0 to 255), `attributes` (one for
            each of NAMES), and any metrics; or the status "failed" or "not run".
        controls: those of the variants that are controls.
    """
    folder = root / "data" / TASK
    cases = [case for chain in chains for case in chain]
    write_cases(folder / "cases.parquet", cases)
    for image in {case.image for case in cases}:
        write_png(folder / image, np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
    scores, features = root / "scores" / TASK, root / "features" / TASK
    scores.mkdir(parents=True)
    features.mkdir(parents=True)
    np.savez(
        scores / "sources.npz",
        case_ids=np.array([case.case_id for case in cases]),
        clusters=np.array([case.cluster for case in cases]),
        attribute_names=np.array(NAMES),
        provenance=np.array(json.dumps({"failures": {}})),
    )
    for variant, behave in variants.items():
        rows, record, held, probabilities, failures = [], [], [], [], {}
        for number, chain in enumerate(chains):
            for case in chain:
                outcome = behave(number, case.step)
                if isinstance(outcome, str):
                    failures[case.case_id] = f"{outcome}: a reason"
                    row = {"status": outcome, "reason": failures[case.case_id], "image": "", "sha256": ""}
                    record.append({"case_id": case.case_id, **row, "seconds": 0.0})
                    continue
                values = dict(outcome)
                level = int(values.pop("level", 0))
                path = root / "edits" / TASK / variant / f"{case.case_id}.png"
                write_png(path, np.full((SIDE, SIDE, 3), level, dtype=np.uint8))
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                row = {"status": "ok", "reason": "", "image": path.name, "sha256": sha256, "seconds": 1.0}
                record.append({"case_id": case.case_id, **row})
                held.append(case.case_id)
                probabilities.append(values.pop("attributes", [0.0] * len(NAMES)))
                rows += [
                    (case.case_id, variant, name, float(v)) for name, v in {"l2_source": level / 255, **values}.items()
                ]
        write_parquet(root / "edits" / TASK / variant / "shard-0.parquet", pd.DataFrame(record), {"variant": variant})
        frame = pd.DataFrame(rows, columns=["case_id", "variant", "metric", "value"])
        frame = frame.astype({"case_id": "str", "variant": "str", "metric": "str", "value": "float64"})
        counts = {"cases": len(cases), "ok": len(held), "failed": len(failures)}
        about = {"variant": variant, "task": TASK, "counts": counts, "failures": failures}
        write_parquet(scores / f"{variant}.parquet", frame, about)
        np.savez(
            features / f"{variant}.npz",
            variant=np.array(variant),
            case_ids=np.array(held),
            attributes=np.array(probabilities).reshape(len(held), len(NAMES)),
        )
    return make_inputs("question", entry_of(list(variants), controls), root, "cpu")


def entry_of(variants: Sequence[str], controls: Sequence[str] = (), analysis: str = "drift") -> dict[str, Any]:
    """The resolved entry of an analysis on these variants."""
    rows = [{"variant": name, "editor": name, "label": name.title(), "control": name in controls} for name in variants]
    table = {"name": "table", "title": "t", "task": TASK, "metrics": ["l2_source"], "rows": rows}
    return {
        "analysis": analysis,
        "params": {},
        "experiments": {"table": table},
        "tasks": [],
        "models": {},
        "evaluators": {},
        "files": [],
        "statistics": {"resamples": 400},
        "seed": 1,
    }
