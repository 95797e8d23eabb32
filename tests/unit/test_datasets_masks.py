"""Automatic masks: SAM and SAM 2 on tiny checkpoints of the real classes, and the cases that are made with them."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from celeba_files import write_celeba
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_mask, write_png
from editfrontier.data.dataset import MaskOptions
from editfrontier.data.datasets import celeba_hq
from editfrontier.data.framing import Mask, Pixels
from editfrontier.data.mask_quality import MASK_KINDS
from editfrontier.data.reading.automatic import Box, bounding_box, edits_behind, with_masks
from editfrontier.data.reading.build import build_task
from editfrontier.data.reading.sam import load_segmenter
from tiny_sam import write_sam, write_sam2

CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "sam": write_sam,
    "sam2": write_sam2,
    "sam2_video": lambda folder: write_sam2(folder, video=True),
}
SIZE = 64


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in CHECKPOINTS.items()}


@pytest.fixture(scope="module")
def image() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_each_box_gets_a_mask_of_the_size_of_the_image(checkpoints: dict[str, Path], name: str, image: Pixels) -> None:
    segment = load_segmenter(checkpoints[name], "cpu")
    boxes: list[Box] = [(10, 10, 40, 50), (0, 0, 20, 20)]
    both = segment(image, boxes)
    assert [(mask.shape, mask.dtype) for mask in both] == [((96, 80), np.bool_)] * 2
    assert (both[0] != both[1]).any()
    for box, mask in zip(boxes, both, strict=True):
        (alone,) = segment(image, [box])
        assert (alone != mask).mean() < 0.001  # sums of another order may move a pixel at the threshold


def test_the_mask_is_that_of_the_model_s_own_call(checkpoints: dict[str, Path], image: Pixels) -> None:
    """SAM by hand: the image scaled to 64 pixels and padded, the box with it, the mask scaled back and cut."""
    from transformers import SamImageProcessor, SamModel

    model = SamModel.from_pretrained(checkpoints["sam"]).eval()
    processor = SamImageProcessor.from_pretrained(checkpoints["sam"])
    prepared = processor(image, return_tensors="pt")
    height, width = 64, round(80 * 64 / 96)
    assert prepared["reshaped_input_sizes"].tolist() == [[height, width]]
    box = torch.tensor([[[10 * width / 80, 10 * height / 96, 40 * width / 80, 50 * height / 96]]])
    with torch.inference_mode():
        logits = model(pixel_values=prepared["pixel_values"], input_boxes=box, multimask_output=False).pred_masks[:, 0]
        scaled = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear")[..., :height, :width]
        expected = torch.nn.functional.interpolate(scaled, (96, 80), mode="bilinear")[0, 0] > 0
    (found,) = load_segmenter(checkpoints["sam"], "cpu")(image, [(10, 10, 40, 50)])
    assert (found != expected.numpy()).mean() < 0.001


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json: not readable, expected a checkpoint of SAM or SAM 2"):
        load_segmenter(tmp_path / "nowhere", "cpu")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match="is of the type 'clip', expected one of sam"):
        load_segmenter(tmp_path, "cpu")


def test_pickled_weights_are_not_loaded(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((checkpoints["sam"] / name).read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"not a readable checkpoint of SAM \(.*with model.safetensors"):
        load_segmenter(tmp_path, "cpu")


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_weights_that_are_cut_off_or_of_another_model_are_named(
    checkpoints: dict[str, Path], tmp_path: Path, name: str
) -> None:
    weights = load_file(checkpoints[name] / "model.safetensors")

    def damaged(case: str) -> Path:
        # A folder each: weights are mapped into memory, and must not change below it.
        folder = Path(shutil.copytree(checkpoints[name], tmp_path / case))
        file = folder / "model.safetensors"
        if case == "cut":
            file.write_bytes(file.read_bytes()[:5000])
        elif case == "few":
            save_file(dict(list(weights.items())[5:]), file, {"format": "pt"})
        elif case == "shape":
            wide = next(key for key, value in weights.items() if value.ndim == 2)
            save_file({**weights, wide: weights[wide][:1].clone()}, file, {"format": "pt"})
        else:
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | {"vision_config": {"hidden_size": "x"}}))
        return folder

    with pytest.raises(UserError, match=r"cut/model.safetensors: is cut off.*Copy the whole model"):
        load_segmenter(damaged("cut"), "cpu")
    for case in ("shape", "config"):
        with pytest.raises(UserError, match=rf"{case}: not a readable checkpoint of SAM \(.*Download the whole folder"):
            load_segmenter(damaged(case), "cpu")
    # transformers would draw the others at random.
    with pytest.raises(UserError, match=r"few: its weights lack \S+ \(and 4 others\)"):
        load_segmenter(damaged("few"), "cpu")


# --- cases -----------------------------------------------------------------------------------------------------------


def one_case(folder: Path) -> tuple[Case, Mask]:
    human = np.zeros((SIZE, SIZE), dtype=bool)
    human[10:30, 20:50] = True
    write_png(folder / "image" / "a.png", np.full((SIZE, SIZE, 3), 90, dtype=np.uint8))
    write_png(folder / "mask" / "a.png", human)
    case = Case(case_id="a", task="t", image="image/a.png", mask="mask/a.png", mask_origin="human", cluster="a",
                source_caption="", target_caption="", instruction="", edit_type="remove", licence="none")  # fmt: skip
    return case, human


def lower_half(image: Pixels, boxes: Sequence[Box]) -> list[Mask]:
    found = []
    for left, top, right, bottom in boxes:
        mask = np.zeros(image.shape[:2], dtype=bool)
        mask[int(top + bottom) // 2 : int(bottom), int(left) : int(right)] = True
        found.append(mask)
    return found


def options(masks: str) -> MaskOptions:
    return MaskOptions(masks=masks, sam="somewhere")  # type: ignore[arg-type]


def test_automatic_masks_stand_beside_those_by_people(tmp_path: Path) -> None:
    case, _ = one_case(tmp_path)
    (made,) = with_masks([case], tmp_path, options("human"), lower_half)
    assert made == dataclasses.replace(case, automatic_mask="automatic_mask/a.png")
    assert read_mask(tmp_path / made.automatic_mask, (SIZE, SIZE)).sum() == 300
    with (tmp_path / "automatic_masks.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"case_id": "a", "iou": "0.5000", "box_only": "no"}]


def test_automatic_masks_take_the_place_of_those_by_people_but_what_is_kept_stays(tmp_path: Path) -> None:
    case, human = one_case(tmp_path)
    (made,) = with_masks([case], tmp_path, options("automatic"), lower_half)
    assert (made.mask, made.mask_origin) == ("automatic_mask/a.png", "automatic")
    assert (read_mask(tmp_path / made.background_mask, (SIZE, SIZE)) == ~human).all()


def test_all_masks_of_an_edit_become_cases(tmp_path: Path) -> None:
    case, _ = one_case(tmp_path)
    made = with_masks([case], tmp_path, options("all"), lower_half)
    assert [json.loads(one.design)["mask"] for one in made] == list(MASK_KINDS)
    assert [one.mask_origin for one in made][:3] == ["human", "automatic", "degraded"]
    assert json.loads(made[1].design)["iou"] == 0.5
    assert {one.cluster for one in made} == {"a"}


def test_where_the_segmenter_finds_nothing_the_box_is_the_mask_and_the_table_says_so(tmp_path: Path) -> None:
    case, human = one_case(tmp_path)
    (made,) = with_masks([case], tmp_path, options("human"), lambda image, boxes: [np.zeros((SIZE, SIZE), dtype=bool)])
    assert (read_mask(tmp_path / made.automatic_mask, (SIZE, SIZE)) == human).all()
    assert (tmp_path / "automatic_masks.csv").read_text().splitlines()[1] == "a,1.0000,yes"


def test_boxes_hold_the_outer_edges_of_pixels() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 1:7] = True
    assert bounding_box(mask) == (1.0, 2.0, 7.0, 4.0)


def test_with_all_masks_fewer_edits_are_needed() -> None:
    assert [edits_behind(n, options("all")) for n in (1, 6, 7)] == [1, 1, 2]
    assert edits_behind(7, options("automatic")) == 7


@pytest.mark.parametrize(("masks", "count"), [("automatic", 3), ("all", 8)])
def test_a_task_is_built_with_masks_of_a_checkpoint(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str, count: int
) -> None:
    files = tuple(dataclasses.replace(file, md5="") for file in celeba_hq.DATASET.files)
    monkeypatch.setattr(celeba_hq, "DATASET", dataclasses.replace(celeba_hq.DATASET, files=files))
    raw = write_celeba(tmp_path / "raw", count=8, size=64)
    chosen: dict[str, Any] = {"masks": masks, "sam": str(checkpoints["sam"]), "sam_device": "cpu", "split": "all"}
    out = tmp_path / "out"
    cases = build_task("t", count, 0, out, dataset="celeba_hq", root=str(raw), size=SIZE, **chosen)
    assert len(cases) == count
    assert len({case.cluster for case in cases}) == (count if masks == "automatic" else 2)
    for case in cases:
        assert case.mask_origin != "exact"
        read_mask(out / case.mask, (SIZE, SIZE))
        assert read_mask(out / case.background_mask, (SIZE, SIZE)).any()
    assert len((out / "automatic_masks.csv").read_text().splitlines()) == 1 + (count if masks == "automatic" else 2)


def test_a_task_names_its_segmenter_by_the_registry(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of the hub that the workflow puts in place of the name leads to the folder in the hub's cache."""
    import huggingface_hub.constants

    from editfrontier.models import loading as models
    from editfrontier.models import registry as model_registry
    from editfrontier.models.registry import segmenter_reference
    from editfrontier.models.weights import models_of

    revision = "0123456789abcdef0123456789abcdef01234567"
    registry = tmp_path / "models.yaml"
    # As long as the registry names no revision itself, the lock file does.
    registry.write_text(
        re.sub(r"(id: facebook/sam-vit-huge\n  revision: )\w+", r"\1null", model_registry.REGISTRY.read_text())
    )
    (tmp_path / "models.lock.yaml").write_text(f"sam_vit_huge: {{ revision: '{revision}', files: {{}} }}\n")
    monkeypatch.setattr(model_registry, "REGISTRY", registry)
    assert segmenter_reference("sam_vit_huge") == f"facebook/sam-vit-huge@{revision}"
    assert segmenter_reference("/weights/sam") == "/weights/sam"

    cache = tmp_path / "hub"
    snapshot = cache / "models--facebook--sam-vit-huge" / "snapshots" / revision
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(checkpoints["sam"])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    options = {"masks": "all", "sam": "sam_vit_huge"}
    config = {"models": {}, "evaluators": {}, "tasks": {"masks": {"options": options}, "faces": {}}}
    (model,) = models_of(config)
    assert (model.users, model.problem) == (("tasks.masks.options.sam",), "")

    monkeypatch.setattr(
        models,
        "_download",
        lambda identifier, at: cache / f"models--{identifier.replace('/', '--')}" / "snapshots" / at,
    )
    files = tuple(dataclasses.replace(file, md5="") for file in celeba_hq.DATASET.files)
    monkeypatch.setattr(celeba_hq, "DATASET", dataclasses.replace(celeba_hq.DATASET, files=files))
    raw = write_celeba(tmp_path / "raw", count=8, size=64)
    made = {}
    for name in ("sam_vit_huge", segmenter_reference("sam_vit_huge"), str(checkpoints["sam"])):
        out = tmp_path / f"out-{len(made)}"
        chosen: dict[str, Any] = {"masks": "automatic", "sam": name, "sam_device": "cpu", "split": "all"}
        build_task("t", 2, 0, out, dataset="celeba_hq", root=str(raw), size=SIZE, **chosen)
        made[name] = (out / "automatic_masks.csv").read_text()
    assert len(made) == 3 and len(set(made.values())) == 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sam_vit_hug", "neither a folder nor a model of models.yaml.*mean 'sam_vit_huge'"),
        ("clip_vit_b32", "is of kind clip, expected one of sam_vit_base, sam_vit_huge, sam2_1_hiera_large"),
    ],
)
def test_a_wrong_name_of_a_segmenter_is_told_by_the_config(tmp_path: Path, name: str, problem: str) -> None:
    from editfrontier.study.config.study import load_study

    text = Path("config/paper.yaml").read_text()
    assert "sam: sam_vit_huge" in text
    (tmp_path / "paper.yaml").write_text(text.replace("sam: sam_vit_huge", f"sam: {name}"))
    with pytest.raises(UserError, match=problem):
        load_study([tmp_path / "paper.yaml"])
