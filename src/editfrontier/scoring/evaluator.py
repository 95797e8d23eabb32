"""Evaluators, networks that judge images: their definition and the table of their kinds.

A kind is an entry of the table below, or `EVALUATOR` in a module of an installed package that names it under the entry
point group "editfrontier.evaluators". This module imports nothing heavy, so that a config can be checked without torch;
the classes of `scoring/evaluators/` are imported when they load a network. They take images as uint8 [B, 3, H, W] and
run without gradients, in eval mode, in batches, deterministically.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.precision import full_float32
from editfrontier.base.registry import Registry
from editfrontier.models.files import named_if_broken
from editfrontier.models.kinds import MODEL_KINDS
from editfrontier.models.registry import entry_of

if TYPE_CHECKING:
    from editfrontier.data.cases import Case

PIPELINE = "pipeline"
"""What stands for the architecture of a folder that holds a diffusers pipeline."""


@dataclass(frozen=True)
class Evaluator:
    """A kind of evaluator, which a config names a network for under `evaluators`.

    Attributes:
        name: of the kind. `Metric.needs` names it.
        readers: `architecture` in the folder's config.json, or PIPELINE -> class that loads such a folder, as
            "package.module:Class" with a method `load(folder, device, **options)`; "" = every other folder.
        models: kinds of the model registry that serve as one; none = its own name.
        on_request: whether a task loads it only where one of its metrics is asked for, because few tables show them. It
            is asked nothing about sources.
        speaks_of: (case) -> whether it has something to say about a case.
    """

    name: str
    readers: Mapping[str, str]
    models: tuple[str, ...] = ()
    on_request: bool = False
    speaks_of: Callable[[Case], bool] = lambda case: True

    @property
    def served_by(self) -> tuple[str, ...]:
        """The kinds of the model registry that serve as one."""
        return self.models or (self.name,)


_KINDS = (
    Evaluator("clip", {"": "editfrontier.scoring.evaluators.clip:ClipEvaluator"}),
    Evaluator(
        "identity",
        {
            "": "editfrontier.scoring.evaluators.identity:IdentityEvaluator",
            "arcface_ir_se50": "editfrontier.scoring.evaluators.arcface:ArcFaceEvaluator",
        },
    ),
    Evaluator(
        "attributes",
        {
            "": "editfrontier.scoring.evaluators.attributes:AttributeEvaluator",
            "resnet50_attributes": "editfrontier.scoring.evaluators.celeba_attributes:CelebAttributeEvaluator",
        },
    ),
    Evaluator(
        "features",
        {
            "": "editfrontier.scoring.evaluators.features:FeatureEvaluator",
            "fid_inception": "editfrontier.scoring.evaluators.inception:InceptionEvaluator",
        },
    ),
    Evaluator("lpips", {"": "editfrontier.scoring.evaluators.lpips:LpipsEvaluator"}),
    Evaluator(
        "quality",
        {
            "": "editfrontier.scoring.evaluators.quality:QualityEvaluator",
            "musiq": "editfrontier.scoring.evaluators.pyiqa:NoReferenceEvaluator",
            "pyiqa": "editfrontier.scoring.evaluators.pyiqa:NoReferenceEvaluator",
        },
    ),
    Evaluator(
        "artifact",  # where it is not the network of quality
        {"": "editfrontier.scoring.evaluators.quality:QualityEvaluator"},
        models=("quality",),
    ),
    Evaluator("full_reference", {"": "editfrontier.scoring.evaluators.pyiqa:FullReferenceEvaluator"}, on_request=True),
    Evaluator(
        "segmentation",
        {
            "": "editfrontier.scoring.evaluators.segmentation:SegmentationEvaluator",
            PIPELINE: "editfrontier.scoring.evaluators.propagation:PropagationEvaluator",
        },
        models=("text_to_image",),
        speaks_of=lambda case: bool(case.drags.strip()),
    ),
    Evaluator(
        "dift",
        {"": "editfrontier.scoring.evaluators.dift:DiftEvaluator"},
        models=("dift", "text_to_image"),
        speaks_of=lambda case: bool(case.drags.strip()),
    ),
    Evaluator(
        "autoencoder",
        {"": "editfrontier.scoring.evaluators.autoencoder:AutoencoderEvaluator"},
        models=("autoencoder", *MODEL_KINDS),
        speaks_of=lambda case: bool(case.chain),
    ),
    Evaluator(
        "vqa",
        {"": "editfrontier.scoring.evaluators.vqa:VqaEvaluator"},
        on_request=True,
        speaks_of=lambda case: bool(case.target_caption),
    ),
    Evaluator(
        "dino",
        {
            "": "editfrontier.scoring.evaluators.dino:DinoEvaluator",
            # The micro scale has no network that was trained without labels.
            "features": "editfrontier.scoring.evaluators.features:FeatureEvaluator",
        },
        models=("dino", "features"),
        on_request=True,
        speaks_of=lambda case: bool(case.true_edit),
    ),
)
EVALUATORS = Registry(
    "evaluator",
    Evaluator,
    "EVALUATOR",
    group="editfrontier.evaluators",
    entries={kind.name: kind for kind in _KINDS},
    home="an entry to src/editfrontier/scoring/evaluator.py",
)


def load_evaluator(kind: str, reference: str | Path, device: str = "cpu") -> Any:
    """Load an evaluator; the folder says which class reads it. From then on convolutions keep float32.

    Args:
        kind: a name of EVALUATORS.
        reference: folder, or a text of `models.registry`.
        device: where it runs.

    Raises:
        UserError: there is no such kind, the folder is missing or holds another network, or a file cannot be read.
    """
    from editfrontier.models.loading import resolve_model

    readers = EVALUATORS.get(kind).readers
    entry, folder = entry_of(reference), resolve_model(reference)
    reader = pkgutil.resolve_name(readers.get(_architecture(folder), readers[""]))
    full_float32()
    with named_if_broken(folder):
        return reader.load(folder, device, **(entry.options if entry else {}))


def _architecture(folder: Path) -> str:
    if (folder / "model_index.json").is_file():
        return PIPELINE
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # the class that reads the folder says what is wrong
    return str(content.get("architecture", "")) if isinstance(content, dict) else ""
