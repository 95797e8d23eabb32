"""Finding, checking and loading pretrained models: local folders of the zoo, or hub ids with a pinned revision.

Light at import. Weights are safetensors, no remote code runs, and a folder with a provenance.json is compared with it
before it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import FETCH_WEIGHTS, UserError, did_you_mean
from editfrontier.base.fetching.files import digest
from editfrontier.base.files import DISK_FULL
from editfrontier.models.files import PROVENANCE, REMEDY, named_if_broken
from editfrontier.models.kinds import MODEL_KINDS, ModelKind
from editfrontier.models.registry import (
    ALLOW,
    IGNORE,
    UNPINNED,
    FilesReference,
    HubReference,
    entry_of,
    parse_reference,
    reference_hash,
    weights_root,
)

if TYPE_CHECKING:
    import torch

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")


def resolve_model(reference: Mapping[str, Any] | str | Path) -> Path:
    """Return the local folder of a model.

    Args:
        reference: a path, a reference of `models.registry`, or a mapping with `path` (a local folder), or with `id` and
            `revision` (a hub repository and the 40 hex digits of a commit; downloaded into the hub cache on first use
            unless HF_HUB_OFFLINE is set, safetensors and text files alone), each with an optional `sha256` that must
            equal `weights_sha256` of the folder.

    Raises:
        UserError: the reference is malformed, the folder is missing, or the checksum does not match.
    """
    if isinstance(reference, str | Path):
        match parse_reference(reference):
            case HubReference() as hub:
                return _folder(_download(hub.id, hub.revision), hub)
            case FilesReference() as files:
                return _files_folder(files)
        reference = {"path": str(reference)}
    unknown = sorted(set(reference) - {"path", "id", "revision", "sha256"})
    if unknown:
        hint = did_you_mean(unknown[0], ("path", "id", "revision", "sha256"))
        raise UserError(f"model: key '{unknown[0]}' is unknown.{hint}")
    if ("path" in reference) == ("id" in reference):
        raise UserError(f"model: {dict(reference)} is unclear, expected either `path` or `id`. Give one of them")
    if "path" in reference:
        folder = Path(reference["path"])
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such model folder, expected a local model. {REMEDY.format(folder=folder)}, "
                "or correct `path`"
            )
    else:
        folder = _download(str(reference["id"]), str(reference.get("revision", "")))
    expected = reference.get("sha256")
    if expected and weights_sha256(folder) != expected:
        raise UserError(
            f"{folder}: sha256 of the weights is {weights_sha256(folder)}, expected {expected}. "
            "Correct `sha256` in the config, or fetch the model again"
        )
    return folder


def _folder(snapshot: Path, hub: HubReference) -> Path:
    folder = snapshot / hub.subfolder
    if not folder.is_dir():
        raise UserError(
            f"model {hub.id}: has no folder '{hub.subfolder}' at revision {hub.revision}, or it was not fetched. "
            f"Correct `subfolder` in the config, or run {FETCH_WEIGHTS} where the hub can be reached"
        )
    return folder


def _files_folder(files: FilesReference) -> Path:
    folder = weights_root() / files.name
    if missing := missing_file(files):
        raise UserError(
            f"{missing}: is missing, expected a file of the model '{files.name}'. Run {FETCH_WEIGHTS} "
            "where the network can be reached, or set EDITFRONTIER_WEIGHTS to the folder that holds the models"
        )
    return folder


def missing_file(files: FilesReference) -> Path | None:
    """Return the first single file of a model that was not fetched, None if all are there."""
    folder, entry = weights_root() / files.name, entry_of(f"weights:{files.name}@{files.digest}")
    expected = ["config.json", *(file.name for file in (entry.files if entry else ()))]
    return next((folder / name for name in expected if not (folder / name).is_file()), None)


def _download(identifier: str, revision: str) -> Path:
    if revision == UNPINNED:
        raise UserError(
            f"model {identifier}: its revision is not pinned, expected the 40 hex digits of a commit. "
            f"Run {FETCH_WEIGHTS} where the hub can be reached, or set `revision` in the config"
        )
    if not _REVISION.fullmatch(revision):
        raise UserError(
            f"model {identifier}: revision is {revision!r}, expected the 40 hex digits of a commit. "
            "Pin `revision` in the config"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    entry = entry_of(f"{identifier}@{revision}")
    allow, ignore = (list(entry.allow), list(entry.ignore)) if entry else (list(ALLOW), list(IGNORE))
    try:
        return Path(snapshot_download(identifier, revision=revision, allow_patterns=allow, ignore_patterns=ignore))
    except GatedRepoError as error:
        raise UserError(
            f"model {identifier}: its weights are gated and the hub refused them, expected a token of an account that "
            "has accepted their licence. Accept it on the model's page, then run `hf auth login` or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"model {identifier}: the hub has no revision {revision}, expected a commit of its repository. "
            "Correct `revision` in the config"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"model {identifier}: the hub shows no such repository, expected one that exists and that this account may "
            "see. Correct `id` in the config; if it is private, run `hf auth login` or set HF_TOKEN"
        ) from error
    except Exception as error:  # the hub client raises many unrelated types for "offline" and "not found"
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise UserError(
                f"model {identifier}: the disk of the cache of the hub is full. Free some space, or set HF_HOME to a "
                "folder of another disk, and run again: finished files are kept"
            ) from error
        raise UserError(
            f"model {identifier}: could not be fetched ({type(error).__name__}), expected a reachable hub or a filled "
            f"cache. Run {FETCH_WEIGHTS} where the hub can be reached, check the id, or give `path` to a copy"
        ) from error


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file; a link into a hub cache has it as its name, which saves time."""
    if path.is_symlink():
        name = path.resolve().name
        if _SHA256.fullmatch(name):
            return name
    return digest(path, "sha256")


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a model's folder but its provenance, by relative POSIX path, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PROVENANCE)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return the provenance of a shipped model; raise `UserError` if the file is missing or unreadable."""
    path = Path(folder) / PROVENANCE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: is missing, expected the provenance of the model. {REMEDY.format(folder=folder)}"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected JSON. {REMEDY.format(folder=folder)}") from error
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise UserError(f"{path}: has no `files`, expected checksums of the model. {REMEDY.format(folder=folder)}")
    return record


def verify_provenance(folder: Path) -> dict[str, Any]:
    """Compare every file of a shipped model with its provenance, and return the provenance.

    Raises:
        UserError: a file is missing or has another checksum; the message says how to restore it.
    """
    folder = Path(folder)
    record = read_provenance(folder)
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: is missing, expected a file of the model. {REMEDY.format(folder=folder)}")
        actual = file_sha256(path)
        if actual != expected:
            raise UserError(
                f"{path}: sha256 is {actual[:12]}..., expected {expected[:12]}... of its provenance. "
                f"{REMEDY.format(folder=folder)}"
            )
    return record


def weights_sha256(folder: Path | str) -> str:
    """Return one sha256 over names and contents of all files of a model folder but its provenance, which is checked.

    A reference of `models.registry`, which names its weights exactly, is hashed itself.

    Raises:
        UserError: the folder is empty or does not match its provenance.
    """
    reference = parse_reference(folder)
    if not isinstance(reference, Path):
        return reference_hash(reference)
    folder = reference
    hashes = verify_provenance(folder)["files"] if (folder / PROVENANCE).exists() else file_hashes(folder)
    if not hashes:
        raise UserError(f"{folder}: holds no file, expected a model. {REMEDY.format(folder=folder)}")
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()


def mixed_precision(kind: str, dtype: str) -> dict[str, torch.dtype]:
    """Return the precision of each part of a pipeline whose denoiser runs in `dtype`, for `load_pipeline`.

    The denoiser and a T5 are loaded in it directly: in float32 those of FLUX would not both fit on a card. All other
    parts, also autoencoder and CLIP, keep float32. T5 overflows in float16 and uses bfloat16 instead.
    """
    import torch

    if dtype == "float32":
        return {"default": torch.float32}
    traits = MODEL_KINDS.get(kind)
    denoiser = "transformer" if traits.flow else "unet"
    return {"default": torch.float32, denoiser: getattr(torch, dtype), **dict.fromkeys(traits.t5, torch.bfloat16)}


def load_pipeline(
    kind: str, path: Path | str, device: str = "cpu", dtype: torch.dtype | str | Mapping[str, torch.dtype] = "float32"
) -> Any:
    """Load a diffusers pipeline from a folder: verified files, safetensors, no safety checker, no progress bar.

    Args:
        kind: a name of MODEL_KINDS.
        path: a folder or a reference of `models.registry`.
        device: device of the networks.
        dtype: a torch dtype or its name, for all networks; or one for each part, with a "default" (`mixed_precision`).

    Raises:
        UserError: an unknown kind, a missing folder or file, another checksum, or a model that cannot be loaded.
    """
    traits = MODEL_KINDS.get(kind)
    folder = resolve_model(path)
    if (folder / PROVENANCE).exists():
        verify_provenance(folder)
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"{folder / 'model_index.json'}: is missing, expected a folder of {traits.pipeline}. "
            f"{REMEDY.format(folder=folder)}"
        )
    with named_if_broken(folder):
        pipeline = _load(traits, folder, dtype)
    denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    if denoiser.config.in_channels != traits.channels:
        raise UserError(
            f"{folder}: its denoiser takes {denoiser.config.in_channels} channels, expected {traits.channels} of a "
            f"model of kind {kind}. Correct `path` of this model in the config"
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _load(traits: ModelKind, folder: Path, dtype: torch.dtype | str | Mapping[str, torch.dtype]) -> Any:
    import torch

    precision = (
        dict(dtype) if isinstance(dtype, Mapping) else getattr(torch, dtype) if isinstance(dtype, str) else dtype
    )
    try:
        return (_load_whole if traits.whole else _load_parts)(traits, folder, precision)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: cannot be loaded as {traits.pipeline} ({error}), expected its files. "
            f"{REMEDY.format(folder=folder)}"
        ) from error


def _load_whole(traits: ModelKind, folder: Path, precision: Any) -> Any:
    import diffusers

    options: dict[str, Any] = {"safety_checker": None} if traits.safety_checker else {}
    return getattr(diffusers, traits.pipeline).from_pretrained(
        str(folder),
        dtype=precision,
        use_safetensors=True,
        low_cpu_mem_usage=True,  # networks are filled while they are built
        local_files_only=True,
        **options,
    )


def _load_parts(traits: ModelKind, folder: Path, precision: Any) -> Any:
    import diffusers
    import transformers

    networks = {
        **{"transformer": diffusers.SD3Transformer2DModel, "vae": diffusers.AutoencoderKL},
        **dict.fromkeys(("text_encoder", "text_encoder_2"), transformers.CLIPTextModelWithProjection),
        "text_encoder_3": transformers.T5EncoderModel,
    }
    others = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler,
        **dict.fromkeys(("tokenizer", "tokenizer_2"), transformers.CLIPTokenizer),
        "tokenizer_3": transformers.T5TokenizerFast,
    }
    loaded = {}
    for name, part in {**networks, **others}.items():
        chosen = precision.get(name, precision["default"]) if isinstance(precision, dict) else precision
        options: dict[str, Any] = {"dtype": chosen, "use_safetensors": True} if name in networks else {}
        loaded[name] = part.from_pretrained(str(folder), subfolder=name, local_files_only=True, **options)
        if name in networks:
            loaded[name].to(chosen)  # without `accelerate` a network has the precision of its file
    return getattr(diffusers, traits.pipeline)(**loaded)
