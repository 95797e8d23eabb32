"""Edits of one image size as metrics see them: images, further data of the cases, outputs of the networks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.data.background import background_of
from editfrontier.data.cases import Case, read_image, read_mask
from editfrontier.data.regions import Region, parse_drags
from editfrontier.scoring.shapes import Images, Masks
from editfrontier.scoring.source_features import SourceFeatures

log = logging.getLogger(__name__)

T = TypeVar("T")

FACE = ("skin", "eyes", "brows", "nose", "mouth", "ears")
"""Regions that make up a face, as a case's `regions` names them."""


@dataclass(eq=False)
class Batch:
    """Edits of one image size.

    Attributes:
        cases: that were edited.
        folder: that their paths are relative to.
        source, edited: their images.
        outputs: of the networks for the edits, one row a case (`sources.image_networks`).
        sources: outputs of the networks for the source images and the captions.
        networks: evaluators by kind.
        all: the batch that this is a part of, None = it is whole.
        rows: places of the cases in that batch.
    """

    cases: Sequence[Case]
    folder: Path
    source: Images
    edited: Images
    outputs: Mapping[str, Tensor]
    sources: SourceFeatures
    networks: Mapping[str, Any]
    all: Batch | None = None
    rows: tuple[int, ...] = ()
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def ids(self) -> list[str]:
        """Ids of the cases."""
        return [case.case_id for case in self.cases]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.source.shape[2], self.source.shape[3]

    def once(self, compute: Callable[[Batch], T]) -> T:
        """Return the result of a function of this batch, computed once: for metrics that share a network's answer."""
        if compute not in self._kept:
            self._kept[compute] = compute(self)
        value: T = self._kept[compute]
        return value

    def of_all(self, compute: Callable[[Batch], Tensor]) -> Tensor:
        """Return this part's rows of the result of a function of the whole batch, computed once."""
        return self.once(compute) if self.all is None else self.all.of_all(compute)[list(self.rows)]

    def part(self, rows: Sequence[int]) -> Batch:
        """Return the batch of some of its cases, the same object for the same ones."""
        assert self.all is None, "a part has no parts"
        if len(rows) == len(self.cases):
            return self
        chosen = list(rows)
        key = tuple(chosen)
        if key not in self._kept:
            self._kept[key] = Batch(
                [self.cases[row] for row in chosen],
                self.folder,
                self.source[chosen],
                self.edited[chosen],
                {name: values[chosen] for name, values in self.outputs.items()},
                self.sources,
                self.networks,
                self,
                key,
            )
        part: Batch = self._kept[key]
        return part

    def inputs(self, name: str) -> list[Any]:
        """Return one of `INPUTS` for each case: a value, None for none, a `UserError` if it cannot be read."""
        if self.all is not None:
            values = self.all.inputs(name)
            return [values[row] for row in self.rows]
        if name not in INPUTS:
            raise UserError(f"input '{name}' of a metric: unknown.{did_you_mean(name, INPUTS)} Correct its `inputs`.")
        key = "input", name
        if key not in self._kept:
            self._kept[key] = [self._read(case, INPUTS[name].read) for case in self.cases]
        values = self._kept[key]
        return values

    def _read(self, case: Case, read: Callable[[Batch, Case], Any]) -> Any:
        try:
            return read(self, case)
        except UserError as error:  # takes away the metrics that need it, not the case
            log.warning("case %s: %s", case.case_id, error)
            return error

    def lacking(self, names: Sequence[str]) -> dict[int, str]:
        """Return the rows that lack one of some inputs, with the reason; "" = not worth a word."""
        lacking: dict[int, str] = {}
        for name in names:
            for row, value in enumerate(self.inputs(name)):
                if isinstance(value, UserError):
                    lacking.setdefault(row, str(value))
                elif value is None:
                    lacking.setdefault(row, INPUTS[name].none)
        return lacking

    def stacked(self, name: str) -> Tensor:
        """Return masks bool [batch, 1, height, width] or images uint8 [batch, 3, height, width] that all cases have."""
        values = self.inputs(name)
        return torch.stack(values) if isinstance(values[0], Tensor) else self.stack(values)

    def stack(self, masks: Sequence[npt.NDArray[np.bool_] | None]) -> Masks:
        """Stack masks [height, width]; None is an empty one."""
        empty = np.zeros(self.size, dtype=np.bool_)
        return torch.from_numpy(np.stack([empty if mask is None else mask for mask in masks]))[:, None]


# What cases may have --------------------------------------------------------------------------------------------------


class Input(NamedTuple):
    """How to read something of a case: (batch, case) -> value, None = it has none; and why it may have `none`."""

    read: Callable[[Batch, Case], Any]
    none: str = ""


def _background(batch: Batch, case: Case) -> npt.NDArray[np.bool_] | None:
    return background_of(case, batch.folder, batch.size)


def _surroundings(batch: Batch, case: Case) -> npt.NDArray[np.bool_]:
    background = _background(batch, case)
    return np.ones(batch.size, dtype=np.bool_) if background is None else background


def _mask(batch: Batch, case: Case) -> npt.NDArray[np.bool_] | None:
    return read_mask(batch.folder / case.mask, batch.size) if case.mask else None


def _true_edit(batch: Batch, case: Case) -> UInt8[Tensor, "3 height width"] | None:
    if not case.true_edit:
        return None
    path, (height, width) = batch.folder / case.true_edit, batch.size
    image = read_image(path)
    if image.shape[:2] != batch.size:
        raise UserError(
            f"{path}: the true edit is {image.shape[1]}x{image.shape[0]} but its source is {width}x{height} pixels. "
            "Make the data again."
        )
    return torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous()


def _drags(batch: Batch, case: Case) -> list[Region] | None:
    return parse_drags(case.drags, batch.folder, batch.size, case.case_id) if case.drags.strip() else None


def _regions(batch: Batch, case: Case) -> dict[str, npt.NDArray[np.bool_]] | None:
    """Read the masks of a case's regions, with the face that some of them make up."""
    if not case.regions.strip():
        return None
    try:
        paths = {str(name): batch.folder / str(path) for name, path in json.loads(case.regions).items()}
    except (ValueError, AttributeError):
        raise UserError(
            f"case {case.case_id}: regions are {case.regions[:60]!r}, expected JSON {{name: mask}}. Correct the column."
        ) from None
    masks = {name: read_mask(path, batch.size, allow_empty=True) for name, path in paths.items()}
    parts = [masks[name] for name in FACE if name in masks]
    return {**masks, "face": np.logical_or.reduce(parts)} if parts and "face" not in masks else masks


def _readable(role: str) -> Callable[[Batch, Case], bool]:
    def read(batch: Batch, case: Case) -> bool:
        if case.case_id in batch.sources.captions.get(role, {}):
            raise UserError(batch.sources.captions[role][case.case_id])
        return True

    return read


INPUTS: Mapping[str, Input] = {
    "background": Input(_background, "the case has no mask"),
    "surroundings": Input(_surroundings),  # the background, everything if nothing says where the edit is
    "mask": Input(_mask),
    "true_edit": Input(_true_edit, "the true edit is not known"),
    "drags": Input(_drags),
    "regions": Input(_regions),
    "identity": Input(lambda batch, case: case.identity or None, "the case depicts no identity"),
    "readable_source": Input(_readable("source")),  # CLIP can read the caption, or there is none
    "readable_target": Input(_readable("target")),
}
"""Data that a metric may ask a case for in addition to its images."""
