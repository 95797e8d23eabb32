"""The source side of scoring: networks on source images, captions and reference images, once for each task."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier import __version__
from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.integrity.arrays import DAMAGED
from editfrontier.data.cases import Case, read_cases, read_image
from editfrontier.models.loading import weights_sha256
from editfrontier.scoring.drags import prepare_drags
from editfrontier.scoring.evaluator import EVALUATORS, load_evaluator
from editfrontier.scoring.metrics import quality
from editfrontier.scoring.metrics.moments import read_moments

log = logging.getLogger(__name__)


def evaluators_for(cases: Sequence[Case], evaluators: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evaluators that speak about any of the cases; to load the others takes longer than to score a task."""
    return {kind: value for kind, value in evaluators.items() if any(map(EVALUATORS.get(kind).speaks_of, cases))}


def load_evaluators(evaluators: Mapping[str, Any], device: str = "cpu") -> dict[str, Any]:
    """Load each evaluator whose value is a folder or another text that names a model; an evaluator is kept as it is."""
    return {
        kind: load_evaluator(kind, value, device) if isinstance(value, str | Path) else value
        for kind, value in evaluators.items()
    }


def prepare_sources(
    cases_path: Path,
    reference_path: Path | None,
    evaluators: Mapping[str, Any],
    out: Path,
    *,
    device: str = "cpu",
    batch_size: int = 64,
) -> None:
    """Run the source-side networks once for a task and write `out` (.npz). Command line: `sources`.

    Args:
        cases_path: case table of the task.
        reference_path: .npz with one array of uint8 [N,H,W,3], or with `files`, paths of images relative to its folder,
            or with the moments of `metrics.moments`, or a folder of images; None leaves FID and KID out.
        evaluators: kind (of EVALUATORS) -> model folder, or an evaluator; a kind left out leaves its metrics out.
        out: arrays by case (case_ids, clusters, image_row, source_text_row, target_text_row), by source image
            (clip_image, identity, landmarks, attributes, features, quality, artifact, latents), clip_text (if any case
            has a caption), clip_true and by case true_edit_row (if any has a true edit), reference (or reference_mean
            and reference_covariance, where those are published alone), artifact_threshold,
            the arrays of `drags.prepare_drags`, and `provenance` (JSON; `failures` = cases whose source image cannot be
            read; `captions` = "source" or "target" -> case -> why CLIP cannot read its caption).
    """
    cases, folder = read_cases(cases_path), cases_path.parent
    networks = load_evaluators(evaluators_for(cases, evaluators), device)
    paths = sorted({case.image for case in cases})
    content, row_of, unreadable = _source_images(folder, paths, networks, batch_size)
    failures = {case.case_id: unreadable[case.image] for case in cases if case.image in unreadable}
    if not row_of:
        raise UserError(
            f"{cases_path}: no source image can be read. First: {next(iter(failures.values()), 'the table is empty')}"
        )
    content["case_ids"] = np.array([case.case_id for case in cases])
    content["clusters"] = np.array([case.cluster for case in cases])
    content["image_row"] = np.array([row_of.get(case.image, -1) for case in cases])
    if "attributes" in networks:
        content["attribute_names"] = np.array(list(networks["attributes"].names))
    unread: dict[str, str] = {}
    if "clip" in networks:
        content |= _texts(cases, networks["clip"], batch_size, unread)
        content |= _true_edits(cases, folder, networks["clip"], batch_size)
    if "artifact" in content:
        content["artifact_threshold"] = np.array(quality.artifact_threshold(torch.from_numpy(content["artifact"])))
    if reference_path is not None and "features" in networks:
        published = read_moments(reference_path)
        if published is not None:
            content |= published.checked(networks["features"], content["features"].shape[1], reference_path)
            log.info("sources: the reference is published statistics, so that KID and its own row have no value")
        else:
            content["reference"] = _reference_features(reference_path, networks["features"], batch_size)
    content |= prepare_drags(cases, folder, networks, batch_size)
    captions = {
        role: {case.case_id: unread[text] for case in cases if (text := getattr(case, f"{role}_caption")) in unread}
        for role in ("source", "target")
    }
    provenance = provenance_of("sources", evaluators) | {"failures": failures, "captions": captions}
    write_npz(out, content | {"provenance": np.array(json.dumps(provenance, sort_keys=True))})


def _source_images(
    folder: Path, paths: Sequence[str], networks: Mapping[str, Any], batch_size: int
) -> tuple[dict[str, Any], dict[str, int], dict[str, str]]:
    """Return the arrays by image, image -> its row in them, and image -> why it cannot be read."""
    unreadable: dict[str, str] = {}
    row_of: dict[str, int] = {}
    arrays: dict[str, list[npt.NDArray[Any]]] = {}
    for chunk in chunks(paths, batch_size):
        images = {}
        for name in chunk:
            try:
                images[name] = read_image(folder / name)
            except UserError as error:
                unreadable[name] = str(error)
        for names in by_shape(images):
            row_of |= {name: len(row_of) + place for place, name in enumerate(names)}
            for key, values in image_networks(networks, stack([images[name] for name in names])).items():
                arrays.setdefault(key, []).append(values)
        log.info("sources: %d of %d images", len(row_of), len(paths))
    return {key: np.concatenate(parts) for key, parts in arrays.items()}, row_of, unreadable


def image_networks(
    networks: Mapping[str, Any], images: Tensor, landmarks: Tensor | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Outputs of all networks that take one image, as arrays with one row an image; images uint8 [B,3,H,W].

    landmarks: [B, 5, 2] of the faces that an identity network with a detector aligns by; None = it detects them.
    """
    outputs: dict[str, Tensor] = {}
    with torch.no_grad():
        if "clip" in networks:
            outputs["clip_image"] = networks["clip"].image(images)
        if "identity" in networks and hasattr(networks["identity"], "landmarks"):
            outputs["landmarks"] = networks["identity"].landmarks(images) if landmarks is None else landmarks
            outputs["identity"] = networks["identity"].embed(images, outputs["landmarks"])
        elif "identity" in networks:
            outputs["identity"] = networks["identity"].embed(images)
        if "attributes" in networks:
            outputs["attributes"] = networks["attributes"].probabilities(images)
        if "features" in networks:
            outputs["features"] = networks["features"].features(images)
        if "autoencoder" in networks:
            outputs["latents"] = networks["autoencoder"].latents(images).flatten(1)
        if "quality" in networks:
            net = networks["quality"]
            # One forward where the evaluator offers both scores at once.
            scores = net.scores(images) if hasattr(net, "scores") else (net.quality(images), net.artifact(images))
            outputs["quality"], outputs["artifact"] = scores
        if "artifact" in networks:
            outputs["artifact"] = networks["artifact"].artifact(images)
    return {key: values.detach().float().cpu().numpy() for key, values in outputs.items()}


def _texts(cases: Sequence[Case], clip: Any, batch_size: int, unread: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Embed the captions; one that CLIP cannot read (too long) is put into `unread` with the reason."""
    texts = sorted({text for case in cases for text in (case.source_caption, case.target_caption) if text})
    parts: list[Tensor] = []
    for chunk in chunks(texts, batch_size):
        try:
            parts.append(clip.text(list(chunk)))
        except UserError:
            for text in chunk:
                try:
                    parts.append(clip.text([text]))
                except UserError as error:
                    unread[text] = str(error)
                    log.warning("%s", error)
    row = {text: i for i, text in enumerate(text for text in texts if text not in unread)}
    content: dict[str, npt.NDArray[Any]] = {
        "source_text_row": np.array([row.get(case.source_caption, -1) for case in cases]),
        "target_text_row": np.array([row.get(case.target_caption, -1) for case in cases]),
    }
    if parts:
        content["clip_text"] = np.concatenate([part.float().cpu().numpy() for part in parts])
    return content


def _true_edits(cases: Sequence[Case], folder: Path, clip: Any, batch_size: int) -> dict[str, npt.NDArray[Any]]:
    """Embed the true edits; scoring says why one cannot be read."""
    row: dict[str, int] = {}
    parts: list[npt.NDArray[Any]] = []
    for chunk in chunks(sorted({case.true_edit for case in cases if case.true_edit}), batch_size):
        images = {}
        for name in chunk:
            with contextlib.suppress(UserError):
                images[name] = read_image(folder / name)
        for names in by_shape(images):
            parts.append(image_networks({"clip": clip}, stack([images[name] for name in names]))["clip_image"])
            row |= {name: len(row) + place for place, name in enumerate(names)}
    if not parts:
        return {}
    rows = np.array([row.get(case.true_edit, -1) for case in cases])
    return {"clip_true": np.concatenate(parts), "true_edit_row": rows}


def _reference_features(path: Path, features: Any, batch_size: int) -> npt.NDArray[Any]:
    parts = [image_networks({"features": features}, batch)["features"] for batch in _reference_images(path, batch_size)]
    if sum(map(len, parts)) < 4:
        raise UserError(f"{path}: holds fewer than 4 reference images. Give more, or leave the reference out.")
    return np.concatenate(parts)


def _reference_images(path: Path, batch_size: int) -> Iterator[Tensor]:
    if path.is_dir():
        yield from _listed_images(
            sorted(p for p in path.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg")), batch_size
        )
        return
    try:
        with np.load(path, allow_pickle=False) as file:
            listed = file["files"] if "files" in file.files else None
            array = listed if listed is not None else file["images"] if "images" in file.files else file[file.files[0]]
    except (*DAMAGED, IndexError) as error:
        raise UserError(
            f"{path}: not readable reference images ({error}), expected .npz or a folder. Make it again."
        ) from None
    if listed is not None:
        yield from _listed_images([path.parent / str(name) for name in listed], batch_size)
        return
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise UserError(f"{path}: holds {array.dtype} {array.shape}, expected uint8 [N,H,W,3]. Make it again.")
    for chunk in chunks(array, batch_size):
        yield stack(list(chunk))


def _listed_images(files: Sequence[Path], batch_size: int) -> Iterator[Tensor]:
    for chunk in chunks(files, batch_size):
        images = {str(file): read_image(file) for file in chunk}
        for names in by_shape(images):
            yield stack([images[name] for name in names])


def chunks(items: Any, size: int) -> Iterator[Any]:
    """Consecutive slices of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def by_shape(images: Mapping[str, npt.NDArray[np.uint8]]) -> list[list[str]]:
    """Names of images of one shape together, in order: a batch can hold one shape only."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, image in images.items():
        groups.setdefault(image.shape, []).append(name)
    return list(groups.values())


def stack(images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """uint8 arrays [H,W,3] to one tensor uint8 [B,3,H,W]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def write_npz(path: Path, content: Mapping[str, Any]) -> None:
    """Write arrays as .npz, atomically and with the same bytes for the same content."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **content)
    write_bytes(path, buffer.getvalue())


def provenance_of(stage: str, evaluators: Mapping[str, Any]) -> dict[str, Any]:
    """Versions and the weights that judge; an evaluator given as an object is named by its class."""
    weights = {name: _weights_of(value) for name, value in sorted(evaluators.items())}
    versions = {"editfrontier": __version__} | {name: version(name) for name in ("numpy", "torch")}
    return {"stage": stage, "versions": versions, "evaluators": weights}


def _weights_of(evaluator: Any) -> str:
    if not isinstance(evaluator, str | Path):
        return type(evaluator).__name__
    return weights_sha256(evaluator)
