"""What an editor is, and the registry of editors.

An editor is a module with a constant `EDITOR` of the class below: a file of `editing/editors/`, or a module of an
installed package that names it under the entry point group "editfrontier.editors". This module and the editor modules
import nothing heavy at import time, so that a config can be checked without loading torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.params import NoParams as NoParams
from editfrontier.base.params import fill_params
from editfrontier.base.registry import Registry
from editfrontier.models.kinds import MODEL_KINDS

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from editfrontier.data.cases import Case
    from editfrontier.data.regions import Region
    from editfrontier.editing.origin import Origin
    from editfrontier.inversion import InversionCache

NEEDS = frozenset(
    {
        "source_caption",
        "target_caption",
        "instruction",
        "mask",
        "true_edit",
        "other",
        "drags",
        "optional_drags",
        "exemplar",
        "origin",
    }
)
MARKERS = tuple("os^vDXPh*<>pd8H")
"""Markers that figures and the page can draw, by their names in matplotlib."""


@dataclass
class EditBatch:
    """Cases of one size that are edited together. What no editor in use needs may be None."""

    case_ids: list[str]
    images: Float[Tensor, "batch 3 height width"]  # in [-1, 1]
    masks: Float[Tensor, "batch 1 height width"] | None  # in {0, 1}, 1 = editable
    source_captions: list[str]
    target_captions: list[str]
    instructions: list[str]
    generators: list[torch.Generator]  # one a case, on the CPU
    true_edits: Float[Tensor, "batch 3 height width"] | None = None
    others: Float[Tensor, "batch 3 height width"] | None = None  # the source of another case
    drags: list[list[Region]] | None = None  # each case's, at least one; may be none with the need "optional_drags"
    backgrounds: Float[Tensor, "batch 1 height width"] | None = None  # 1 = must not change; with drags
    exemplars: Float[Tensor, "batch 3 height width"] | None = None
    exemplar_masks: Float[Tensor, "batch 1 height width"] | None = None  # 1 = what the exemplar shows; with exemplars
    origins: list[Origin] | None = None  # the names of each case, and which part of its picture its image shows
    inversions: InversionCache | None = None  # where inversions are kept for other editors, None to keep none


@dataclass(frozen=True)
class Measured:
    """Edited images and what the editor measured on the way.

    Attributes:
        images: in [-1, 1].
        measures: name -> one finite value for each of the cases. A name that the metric registry knows becomes a
            metric; all of them stand in the record.
    """

    images: Float[Tensor, "batch 3 height width"]
    measures: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Editor:
    """An editing method.

    Attributes:
        params: frozen dataclass of hyperparameters of the types int, float, bool, str, Literal[...] or one of these
            `| None`, all with defaults; its docstring gives the source of each.
        edit: (model, batch, params) -> images [B, 3, H, W] in [-1, 1], or `Measured`. Sample i depends on case i alone,
            and draws from `batch.generators[i]` only.
        needs: fields of a case that it reads besides the image, a subset of NEEDS; a case that lacks one of them fails.
        model: which kind of diffusers pipeline it gets (one of MODEL_KINDS), None if it gets None.
        label: its name for readers; "" = `name`.
        colour, marker: its look in every figure, "#RRGGBB" and one of MARKERS; "" = spare ones.
        control: whether it is no editing method but says what a number is worth: nothing edited, everything replaced,
            edited perfectly. Controls are drawn hollow and are ranked with no editor.
        fingerprint: (params) -> a hash of all that its edits depend on besides code, weights and cases, such as files
            that the hyperparameters name; None if there is no such thing.
        survey: (cases, params) -> lines for the log, before anything is edited: which of the task's cases it will not
            be able to edit, where it can know. Raises `UserError` if that is all of them. None if it cannot know.
    """

    name: str
    params: type
    edit: Callable[[Any, EditBatch, Any], Float[Tensor, "batch 3 height width"] | Measured]
    needs: frozenset[str] = frozenset()
    model: str | None = None
    label: str = ""
    colour: str = ""
    marker: str = ""
    control: bool = False
    fingerprint: Callable[[Any], str] | None = None
    survey: Callable[[Sequence[Case], Any], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        for need in self.needs - NEEDS:
            raise UserError(f"editor '{self.name}': needs '{need}', which no case has.{did_you_mean(need, NEEDS)}")
        if self.model is not None and self.model not in MODEL_KINDS:
            near = did_you_mean(self.model, MODEL_KINDS)
            raise UserError(f"editor '{self.name}': there is no kind of model '{self.model}'.{near}")
        look = (self.colour, self.marker)
        if any(look) and (not re.fullmatch("#[0-9A-Fa-f]{6}", self.colour) or self.marker not in MARKERS):
            raise UserError(
                f"editor '{self.name}': its colour and marker are {look}, expected '#RRGGBB' and one of "
                f"{' '.join(MARKERS)}, or neither. Correct its EDITOR."
            )


EDITORS = Registry("editor", Editor, "EDITOR", "editfrontier.editing.editors", "editfrontier.editors")
get_editor = EDITORS.get


def make_params(editor: Editor, overrides: Mapping[str, Any]) -> Any:
    """Return the hyperparameters of an editor with some defaults replaced.

    Raises:
        UserError: an unknown key, a value of another type or outside its range; the message names editor and key.
    """
    return fill_params(f"editor '{editor.name}'", editor.params, overrides, "hyperparameter")


def check_range(params: Any, name: str, minimum: float, maximum: float = math.inf) -> None:
    """Raise `UserError` unless params.name is None or in [minimum, maximum]; for `__post_init__` of hyperparameters."""
    value = getattr(params, name)
    if value is not None and not minimum <= value <= maximum:
        span = f"in [{minimum:g}, {maximum:g}]" if maximum < math.inf else f"at least {minimum:g}"
        raise UserError(f"hyperparameter '{name}': {value!r}, expected {span}. Correct the value.")


def check_sampling(params: Any) -> None:
    """Check the hyperparameters that editors on a diffusion model share, as far as `params` has them."""
    check_range(params, "num_inference_steps", 1, 1000)
    if hasattr(params, "guidance_scale"):
        check_range(params, "guidance_scale", 1.0)
    if hasattr(params, "eta"):
        check_range(params, "eta", 0.0, 1.0)
    if hasattr(params, "strength"):
        check_range(params, "strength", 0.0, 1.0)
        if int(params.num_inference_steps * params.strength) < 1:
            raise UserError(
                f"hyperparameter 'strength': {params.strength!r} of {params.num_inference_steps} steps makes no step, "
                f"expected at least {1 / params.num_inference_steps:g}. Raise it."
            )
