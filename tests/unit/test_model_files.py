"""Model folders that are broken: the message names the file and the fix, wherever weights are loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.data.reading.sam import load_segmenter
from editfrontier.models import files as model_files
from editfrontier.models.loading import load_pipeline
from editfrontier.models.weights import models_of
from editfrontier.running.doctor.here import check_models
from editfrontier.scoring.evaluator import load_evaluator
from hub_files import write_weights
from tiny_pipelines import tiny_pipeline
from tiny_sam import write_sam

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 3438167536\n"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def point(path: Path) -> None:
    path.write_text(POINTER)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose_target(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("blob-that-is-gone"))


BREAK: list[tuple[Callable[[Path], None], str]] = [
    (cut, r"is cut off: it has \d+ bytes, expected \d+"),
    (cut_in_the_header, "is cut off after 60 bytes"),
    (point, "is a pointer of Git LFS"),
    (empty, r"holds no safetensors \(0 bytes\)"),
    (lose_target, "is a link to a file that is gone"),
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("damage", "words"), BREAK, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_a_pipeline_with_a_broken_file(
    pipeline: Path, tmp_path: Path, part: str, damage: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pipeline, folder)
    file = folder / f"{part}.safetensors"
    damage(file)
    message = rf"{file}: {words}.*\. Copy the whole model to {folder} again .*"
    with pytest.raises(UserError, match=f"^{message}$"):
        load_pipeline("text_to_image", folder)
    (model,) = models_of({"models": {"own": {"path": str(folder)}}, "evaluators": {}})
    assert model.problem.startswith(f"{file}: "), "the check of weights calls it present"
    (check,) = check_models({"models": {"own": {"path": str(folder)}}, "evaluators": {}})
    assert (check.state, check.text.startswith(f"{file}: ")) == ("wrong", True)


def test_a_pipeline_that_is_whole_has_no_broken_file(pipeline: Path) -> None:
    assert model_files.broken_file(pipeline) == ""
    config = {"models": {"own": {"path": str(pipeline)}, "gone": {"path": str(pipeline / "gone")}}, "evaluators": {}}
    assert list(check_models(config)) == []


def test_texts_that_are_pointers_or_cut_off_are_named(pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pipeline, folder)
    config = folder / "unet/config.json"
    for damage, words in ((point, "pointer of Git LFS"), (cut, "cut off or damaged, expected JSON")):
        damage(config)
        with pytest.raises(UserError, match=f"{config}: is .*{words}"):
            load_pipeline("text_to_image", folder)
        shutil.copy(pipeline / "unet/config.json", config)


def test_missing_shards_are_named(pipeline: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = tmp_path / "model"
    shutil.copytree(pipeline, folder)
    whole = folder / "unet/diffusion_pytorch_model.safetensors"
    write_weights(whole, load_file(whole), shards=3)
    whole.unlink()
    assert load_pipeline("text_to_image", folder).unet.config.in_channels == 4
    index = whole.with_name(f"{whole.name}.index.json")
    for number in (2, 3):
        whole.with_name(f"diffusion_pytorch_model-0000{number}-of-00003.safetensors").unlink()
    absent = "diffusion_pytorch_model-00002-of-00003.safetensors, diffusion_pytorch_model-00003-of-00003.safetensors"
    with pytest.raises(UserError, match=f"{index}: 2 of its 3 shards are missing: {absent}"):
        load_pipeline("text_to_image", folder)
    index.unlink()
    with pytest.raises(UserError, match=r"00001-of-00003.safetensors: is a shard without its index, expected diff"):
        load_pipeline("text_to_image", folder)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("clip", "open_clip_model.safetensors"),
        ("identity", "model.safetensors"),
        ("autoencoder", "diffusion_pytorch_model.safetensors"),
        ("vqa", "model.safetensors"),
        ("lpips", "model.safetensors"),
    ],
)
def test_an_evaluator_with_a_broken_file(root: Path, tmp_path: Path, kind: str, file: str) -> None:
    folder = tmp_path / kind
    shutil.copytree(root / "resources/micro" / kind, folder)
    for damage, words in ((cut, "is cut off"), (point, "is a pointer of Git LFS")):
        damage(folder / file)
        fix = f"Restore it with `git checkout -- {folder}`"
        with pytest.raises(UserError, match=f"{folder / file}: {words}.*{fix}"):
            load_evaluator(kind, folder)


def test_published_weights_that_are_pointers_or_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITFRONTIER_WEIGHTS", str(tmp_path))
    folder = tmp_path / "inception"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "fid_inception", "weights": "net.pth"}))
    for damage, words in ((cut, "is cut off after"), (point, "is a pointer of Git LFS"), (empty, "is empty")):
        torch.save({"a": torch.zeros(100)}, folder / "net.pth")
        damage(folder / "net.pth")
        assert f"net.pth: {words}" in model_files.broken_file(folder)
        with pytest.raises(UserError, match=rf"net.pth: {words}.*Delete it and run `editfrontier weights"):
            load_evaluator("features", folder)


def test_a_segmenter_with_a_broken_file(tmp_path: Path) -> None:
    folder = write_sam(tmp_path / "sam")
    for damage, words in ((cut, "is cut off"), (point, "is a pointer of Git LFS")):
        damage(folder / "model.safetensors")
        with pytest.raises(UserError, match=f"model.safetensors: {words}.*Copy the whole model to {folder} again"):
            load_segmenter(folder, "cpu")


def test_what_stands_in_the_cache_of_the_hub_is_deleted_where_it_is_kept(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    file = tmp_path / "snapshots" / ("0" * 40) / "model.safetensors"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    blob.write_text(POINTER)
    file.symlink_to(os.path.relpath(blob, file.parent))
    assert f"Delete {blob} and run `editfrontier weights --pin" in model_files.broken_file(file.parent)


def test_other_errors_go_on_as_they_are(pipeline: Path) -> None:
    with pytest.raises(ZeroDivisionError), model_files.named_if_broken(pipeline):
        raise ZeroDivisionError
