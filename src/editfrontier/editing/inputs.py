"""What an editor reads of a case: files to arrays, arrays to batches, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import case_generator, stable_seed
from editfrontier.data.attribute_map import attribute_regions
from editfrontier.data.background import background_of
from editfrontier.data.cases import Case, read_image, read_mask
from editfrontier.data.pictures import Pixels
from editfrontier.data.pixels import to_images
from editfrontier.data.regions import Region, parse_drags
from editfrontier.editing.editor import EditBatch
from editfrontier.editing.origin import Origin
from editfrontier.editing.records import EditSpec

TEXTS = ("source_caption", "target_caption", "instruction")


@dataclass(frozen=True)
class Carried:
    """What a step of a chain gets from the one before it.

    Attributes:
        latents: [C, h, w] that the image was decoded from, None where only pixels are carried.
        sha256: of the latents, "" for none.
    """

    image: Pixels
    latents: Tensor | None
    sha256: str


@dataclass(frozen=True)
class CaseInputs:
    """A case with the images that its editor reads, and a digest of everything that its edit depends on."""

    case: Case
    image: Pixels  # [H, W, 3]
    mask: npt.NDArray[np.bool_] | None  # [H, W]
    true_edit: Pixels | None
    other: Pixels | None
    exemplar: Pixels | None
    exemplar_mask: npt.NDArray[np.bool_] | None  # [H, W], all of it if the case has none
    drags: list[Region] | None
    background: npt.NDArray[np.bool_] | None  # [H, W], True = must not change
    digest: str
    latents: Tensor | None = None  # [C, h, w] of the image, where they are carried along a chain
    origin: Origin | None = None


def read_inputs(
    case: Case,
    cases: Sequence[Case],
    folder: Path,
    needs: Iterable[str],
    seed: int,
    carried: Carried | None = None,
    origin: Origin | None = None,
) -> CaseInputs:
    """Read what an editor needs of a case; raise `UserError` that says what the case lacks or which file is wrong.

    Args:
        cases: all cases of the task; "other" is drawn by seed from those with another source image.
        folder: that the paths of the case are relative to.
        carried: what the step before made; it takes the place of the case's image, which the whole chain has.
        origin: where the case comes from, for editors with the need "origin".
    """
    needs = set(needs)
    for name in sorted(needs & {*TEXTS, "mask", "true_edit", "drags", "exemplar"}):
        if not getattr(case, name).strip():
            raise UserError(f"case {case.case_id}: has no {name}, which the editor needs. Fill in this column.")
    image = carried.image if carried else read_image(folder / case.image)
    size = (image.shape[0], image.shape[1])
    mask = read_mask(folder / case.mask, size) if "mask" in needs else None
    true_edit = _same_size(folder / case.true_edit, size) if "true_edit" in needs else None
    exemplar = _same_size(folder / case.exemplar, size) if "exemplar" in needs else None
    exemplar_mask = _exemplar_mask(case, folder, size) if "exemplar" in needs else None
    other = _same_size(folder / _other(case, cases, seed).image, size) if "other" in needs else None
    drags = _drags(case, folder, size, needs)
    background = None if drags is None else background_of(case, folder, size, for_editor=True)
    digest = hashlib.sha256(json.dumps([getattr(case, name) for name in (*TEXTS, "drags")]).encode())
    arrays: list[npt.NDArray[Any] | None] = [image, mask, true_edit, other, exemplar]
    if exemplar_mask is not None:
        arrays.append(exemplar_mask)
    if drags is not None:
        arrays += [background, *(array for region in drags for array in (region.source, region.affine, region.target))]
    for array in arrays:
        digest.update(b"-" if array is None else array.tobytes() + str(array.shape).encode())
    if carried:
        digest.update(carried.sha256.encode())
    if origin:
        digest.update(repr(origin).encode())
    if noise_name(case) != case.case_id:
        digest.update(noise_name(case).encode())
    return CaseInputs(
        case, image, mask, true_edit, other, exemplar, exemplar_mask, drags, background, digest.hexdigest(),
        carried.latents if carried else None, origin,
    )  # fmt: skip


def _exemplar_mask(case: Case, folder: Path, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return read_mask(folder / case.exemplar_mask, size) if case.exemplar_mask else np.ones(size, dtype=np.bool_)


def _drags(case: Case, folder: Path, size: tuple[int, int], needs: set[str]) -> list[Region] | None:
    """Read the drags of a case, or those that stand for its attribute where drags are optional."""
    if not needs & {"drags", "optional_drags"}:
        return None
    if case.drags.strip():
        return parse_drags(case.drags, folder, size, case.case_id)
    if not case.mask:
        raise UserError(
            f"case {case.case_id}: has neither drags nor a mask, so nothing says where it may change. Fill in one of "
            "these columns."
        )
    return attribute_regions(case.attribute, case.desired, read_mask(folder / case.mask, size), case.case_id)


def _same_size(path: Path, size: tuple[int, int]) -> Pixels:
    image = read_image(path)
    if image.shape[:2] != size:
        raise UserError(
            f"{path}: is {image.shape[1]}x{image.shape[0]}, expected {size[1]}x{size[0]} as its source. Resize it."
        )
    return image


def _other(case: Case, cases: Sequence[Case], seed: int) -> Case:
    others = [other for other in cases if other.cluster != case.cluster]
    if not others:
        raise UserError(f"case {case.case_id}: there is no other source image in its task. Add cases.")
    return others[stable_seed("other", case.case_id, seed) % len(others)]


def noise_name(case: Case) -> str:
    """Return what names a case's noise: "noise" of its design, which several cases may share, else its id."""
    return str(json.loads(case.design or "{}").get("noise", case.case_id))


def make_batch(inputs: Sequence[CaseInputs], spec: EditSpec, device: torch.device) -> EditBatch:
    """Collate cases of one size."""
    cases = [row.case for row in inputs]

    def images(arrays: Sequence[Pixels | None]) -> Tensor | None:
        present = [array for array in arrays if array is not None]
        return to_images(present).to(device) if present else None

    def stacked(arrays: Sequence[npt.NDArray[np.bool_] | None]) -> Tensor | None:
        present = [array for array in arrays if array is not None]
        return torch.from_numpy(np.stack(present))[:, None].float().to(device) if present else None

    return EditBatch(
        case_ids=[case.case_id for case in cases],
        images=to_images([row.image for row in inputs]).to(device),
        masks=stacked([row.mask for row in inputs]),
        source_captions=[case.source_caption for case in cases],
        target_captions=[case.target_caption for case in cases],
        instructions=[case.instruction for case in cases],
        generators=[case_generator(noise_name(case), spec.variant, spec.seed) for case in cases],
        true_edits=images([row.true_edit for row in inputs]),
        others=images([row.other for row in inputs]),
        drags=[row.drags for row in inputs if row.drags is not None] or None,
        backgrounds=stacked([row.background for row in inputs]),
        exemplars=images([row.exemplar for row in inputs]),
        exemplar_masks=stacked([row.exemplar_mask for row in inputs]),
        origins=[row.origin for row in inputs if row.origin is not None] or None,
    )
