"""Resolving and checking models: every bad input gives one message that names the file and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.microworld.zoo.provenance import update_scores
from editfrontier.models.loading import load_pipeline, resolve_model, verify_provenance, weights_sha256


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights.safetensors").write_bytes(b"one")
    (folder / "config.json").write_text("{}")
    (folder / "provenance.json").write_text('{"scores": {}}')
    update_scores(folder, {})
    return folder


def test_untouched_model_verifies(model: Path) -> None:
    assert set(verify_provenance(model)["files"]) == {"config.json", "unet/weights.safetensors"}


def test_missing_weight_file_is_named_with_the_fix(model: Path) -> None:
    (model / "unet" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors: is missing.*git checkout.*snakemake zoo"):
        verify_provenance(model)


def test_changed_weight_file_is_named_with_both_sums(model: Path) -> None:
    (model / "unet" / "weights.safetensors").write_bytes(b"two")
    with pytest.raises(UserError, match=r"weights\.safetensors: sha256 is 3fc4ccfe7458\.\.\., expected 7692c3ad3540"):
        weights_sha256(model)


def test_weights_hash_depends_on_contents_and_names_only(model: Path, tmp_path: Path) -> None:
    first = weights_sha256(model)
    update_scores(model, {"psnr": 30.0})
    assert weights_sha256(model) == first
    (model / "provenance.json").unlink()
    assert weights_sha256(model) == first
    (model / "config.json").rename(model / "other.json")
    assert weights_sha256(model) != first


def test_hash_of_a_hub_link_is_its_name(tmp_path: Path) -> None:
    blob = tmp_path / ("ab" * 32)
    blob.write_bytes(b"content")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "weights.safetensors").symlink_to(blob)
    before = weights_sha256(folder)
    blob.write_bytes(b"not read again")
    assert weights_sha256(folder) == before


def test_broken_provenance_is_a_user_error(model: Path) -> None:
    (model / "provenance.json").write_text("{")
    with pytest.raises(UserError, match=r"provenance\.json: cannot be read"):
        verify_provenance(model)
    (model / "provenance.json").unlink()
    with pytest.raises(UserError, match=r"provenance\.json: is missing"):
        verify_provenance(model)


def test_references(model: Path) -> None:
    assert resolve_model(model) == model
    assert resolve_model({"path": str(model), "sha256": weights_sha256(model)}) == model
    with pytest.raises(UserError, match="expected 0000"):
        resolve_model({"path": str(model), "sha256": "0000"})
    with pytest.raises(UserError, match="no such model folder"):
        resolve_model(model / "nowhere")
    with pytest.raises(UserError, match="either `path` or `id`"):
        resolve_model({"path": "a", "id": "b"})
    with pytest.raises(UserError, match="Did you mean 'revision'"):
        resolve_model({"id": "b", "revison": "c"})
    with pytest.raises(UserError, match="40 hex digits"):
        resolve_model({"id": "stabilityai/stable-diffusion-2-base", "revision": "main"})


def test_pipelines_refuse_unknown_kinds_and_empty_folders(model: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'inpainting'"):
        load_pipeline("inpaintin", model)
    with pytest.raises(UserError, match=r"model_index\.json: is missing"):
        load_pipeline("inpainting", model)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("GatedRepoError", ("gated", "accepted their licence", "HF_TOKEN")),
        ("RepositoryNotFoundError", ("no such repository", "Correct `id`")),
        ("RevisionNotFoundError", ("no revision", "Correct `revision`")),
        ("LocalEntryNotFoundError", ("could not be fetched", "give `path`")),
    ],
)
def test_what_the_hub_refuses_is_told_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, error: str, words: tuple[str, ...]
) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(*_: object, **__: object) -> None:
        kind = getattr(errors, error)
        raise kind.__new__(kind)  # without the response of a server that is not there

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError) as caught:
        resolve_model({"id": "somebody/gated-model", "revision": "0" * 40})
    assert all(word in str(caught.value) for word in ("somebody/gated-model", *words))


def test_a_full_disk_is_no_missing_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import huggingface_hub

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(UserError, match="somebody/model: the disk of the cache of the hub is full.* HF_HOME"):
        resolve_model({"id": "somebody/model", "revision": "0" * 40})


def test_import_is_light() -> None:
    import subprocess
    import sys

    code = "import sys, editfrontier.models.loading; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
