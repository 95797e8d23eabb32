"""The study of config/paper.yaml in miniature: fixtures for its data sets, random checkpoints for its models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from celeba_files import pack, write_celeba
from coco_files import write_coco
from drag_fixture import red_bench
from editfrontier.data.datasets import ffhq
from ffhq_files import write_ffhq
from hub_layout import write_checkpoint
from magicbrush_fixture import rows, write_parquet
from paper_fixture import write_evaluators, write_models
from tiny_sam import write_sam
from workspace import Workspace, make_workspace

SIZE, NATIVE = 64, 128
"""Sides of the images that are judged, and of those at a model's own size; the published ones are 256 and 512."""

SMALL: Mapping[str, Mapping[str, Any]] = {
    "faces": {"cases": 3, "shards": 1, "repeats": 1},
    "inversion": {"cases": 2, "shards": 1},
    "sweeps": {"cases": 2, "shards": 1},
    "scenes": {"cases": 3, "shards": 2, "repeats": 2},
    "wordings": {"cases": 4, "shards": 1, "repeats": 2, "options": {"wordings": 2}},
    "repeats": {"cases": 6, "shards": 1, "options": {"steps": 3}},
    "compositions": {"cases": 20, "shards": 1},
    "sessions": {"cases": 6, "shards": 1, "repeats": 1},
    "turns": {"cases": 4, "shards": 1, "repeats": 1},  # of two sessions
    "mask_quality": {"cases": 12, "shards": 1},
    "drags": {"cases": 4, "shards": 1, "repeats": 1},
}
"""What is made smaller of the tasks."""

STEPS: Mapping[str, Mapping[str, Any]] = {
    "sdedit": {"num_inference_steps": 10},
    "sd_inpaint": {"num_inference_steps": 3},
    "instruct_pix2pix": {"num_inference_steps": 3},
    "mask_guided": {"num_inference_steps": 4},
    "tf_icon": {"num_inference_steps": 4},
    "tf_icon_text": {"num_inference_steps": 4},
    "ultraedit": {"num_inference_steps": 3},
    "ultraedit_mask": {"num_inference_steps": 3},
    "drag_flow": {"num_inference_steps": 4, "skipped_steps": 1, "transport_steps": 2, "intensify_steps": 1},
    "region_drag": {"num_inference_steps": 4},
    "flow_reconstruction": {"num_inference_steps": 2},
    "diffusion_reconstruction": {"num_inference_steps": 12},
    "point_drag": {"num_inference_steps": 4, "drag_steps": 2, "lora_steps": 2},
}
"""Fewer steps of the editors."""

SHORT: Mapping[str, Mapping[str, Any]] = {
    "lipschitz": {
        "cases": 2, "whole_cases": 2, "ddim_steps": [2], "flow_steps": [2],
        "whole_ddim_steps": 2, "whole_flow_steps": 2, "iterations": 2,
    },
    "guidance_bound": {"cases": 2, "steps": 2, "scales": [1, 7.5]},
    "locality": {"cases": 2, "num_inference_steps": 2, "edges": [1, 2, 4, 8, 16], "timesteps": [301]},
    "score_difference": {"cases": 2, "steps": 2, "local_cases": 2, "local_steps": 2, "iterations": 2},
}  # fmt: skip
"""Fewer cases, steps and iterations of the analyses of theory."""

SWEEPS: Mapping[str, Mapping[str, list[float]]] = {
    "guidance": {"guidance_scale": [1, 3, 5, 7.5, 12]},
    "strength": {"strength": [0.2, 0.5, 0.8, 1.0]},
    "image_guidance": {"image_guidance_scale": [1, 1.5, 3]},
    "inner_steps": {"inner_steps": [1, 7, 10]},
}
"""Fewer points of the sweeps over a number."""

FEWER = 4
"""The rows of table 2 that name their steps take a number that many times smaller."""


def paper_config() -> dict[str, Any]:
    root = Path(__file__).resolve().parents[2]
    found: dict[str, Any] = yaml.safe_load((root / "config/paper.yaml").read_text())
    return found


def write_data(folder: Path, seed: int) -> dict[str, Path]:
    """Write every data set of the config in the format in which it is published; return name -> folder."""
    validation = ffhq.chosen("validation", seed)[:4]
    training = ffhq.chosen("training", seed, "reference")[:16]
    pack(write_celeba(folder / "faces", 48, 256), folder / "celeba_hq" / "CelebAMask-HQ.zip")
    (folder / "faces/list_eval_partition.txt").rename(folder / "celeba_hq/list_eval_partition.txt")
    return {
        "celeba_hq": folder / "celeba_hq",
        "ffhq": write_ffhq(folder / "ffhq", [*validation, *training]),
        "coco": write_coco(folder / "coco"),
        "magicbrush": write_parquet(folder / "magicbrush", rows()),
        "red_bench": red_bench(folder / "red_bench"),
    }


def _features_model(folder: Path) -> Path:
    """Write the model of diffusion features; it takes images of the size in its config, here a small one.

    The config is of the version of Stable Diffusion 2.1: in those of earlier ones a small size is taken for a mistake.
    """
    write_checkpoint("sd2_base", folder)
    file = folder / "unet/config.json"
    changed = {"sample_size": NATIVE // 8, "_diffusers_version": "0.10.0.dev0"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    return folder


def small_config(folder: Path) -> dict[str, Any]:
    """Return the config of the paper with local data and models; `folder` takes them."""
    config = paper_config()
    roots = write_data(folder / "data", config["seed"])

    def local(entry: dict[str, Any], **more: Any) -> None:
        options = {"root": str(roots[entry["dataset"]]), "size": SIZE}
        entry["options"] = {**entry.get("options", {}), **options, **more}

    for name, task in config["tasks"].items():
        local(task, **SMALL[name].get("options", {}))
        task |= {key: value for key, value in SMALL[name].items() if key != "options"}
    config["tasks"]["mask_quality"]["options"]["sam"] = str(write_sam(folder / "sam"))
    local(config["reference"])
    config["reference"]["images"] = 16
    models = write_models(folder / "models")
    config["models"] = {name: {**models[name], "size": NATIVE} for name in config["models"]}
    evaluators = write_evaluators(folder / "evaluators", _features_model(folder / "dift"))
    config["evaluators"] = {name: evaluators.get(name) for name in config["evaluators"]}  # none of quality
    for name, params in STEPS.items():
        config["editors"][name]["params"] = dict(params)
    for name, params in SHORT.items():
        config["analyses"][name]["params"] |= params
    for name, values in SWEEPS.items():
        config["experiments"][name]["rows"][0]["sweep"] = dict(values)
    for row in config["experiments"]["table2"]["rows"]:
        if "num_inference_steps" in row.get("params", {}):
            row["params"]["num_inference_steps"] //= FEWER
    config["compute"] |= {"device": "cpu", "batch_size": 4, "threads": 1}
    config["statistics"] |= {"resamples": 40, "set_resamples": 10}
    config["user_study"] |= {"participants": 6, "pairs": 8, "raters": 2, "repeats": 1}
    return config | {"results": "results/paper_small"}


def make_paper_study(folder: Path) -> Workspace:
    """Make a workspace with the study in it, its data and its models; nothing has run there."""
    (folder / "workspace").mkdir()
    workspace = make_workspace(folder / "workspace", stub=False)
    config = small_config(folder)
    (workspace.folder / "config/paper_small.yaml").write_text(yaml.safe_dump(config, sort_keys=False, width=1000))
    return Workspace(workspace.folder, "config/paper_small.yaml")
