"""Data sets of the micro world: cases with images, exact masks and true edits in a folder; and reference images.

A data set is a builder in `DATASETS`; a task of the config names one. Building is deterministic in the data set, the
seed and the options, and its seeds are disjoint from those of training data.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.files import write_bytes
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, write_cases, write_images, write_png, write_regions
from editfrontier.data.language import Language, load_language
from editfrontier.data.mask_quality import MASK_KINDS, masked_cases
from editfrontier.data.repeats import repeated
from editfrontier.microworld.chains import Chain, sample_chains
from editfrontier.microworld.drags import Drag, sample_drags
from editfrontier.microworld.edits import Edit, portrait_edits, scene_edits
from editfrontier.microworld.exemplars import Exemplar, portrait_exemplars
from editfrontier.microworld.portrait_painter import portrait_regions, render_portraits
from editfrontier.microworld.portraits import POPULATIONS, sample_portraits
from editfrontier.microworld.segment import Image, Mask, automatic_mask
from editfrontier.microworld.sessions import sample_sessions
from editfrontier.microworld.wordings import WORDINGS, worded_cases

LICENCE = "CC0-1.0, rendered"
FREE_FORM_SHARE = 0.2


def _json(values: Mapping[str, bool]) -> str:
    return json.dumps(dict(values), separators=(",", ":")) if values else ""


def _edit_case(
    edit: Edit, task: str, case_id: str, cluster: str, folder: Path, exemplar: Exemplar | None = None
) -> Case:
    automatic = automatic_mask(edit.before, edit.mask, stable_seed("automatic mask", case_id))
    images: dict[str, Image | Mask] = {
        "image": edit.before,
        "true_edit": edit.after,
        "mask": edit.mask,
        "automatic_mask": automatic.mask,
    }
    if exemplar is not None:
        images |= {"exemplar": exemplar.image, "exemplar_mask": exemplar.mask}
    paths = write_images(folder, case_id, images)
    regions = write_regions(folder, case_id, portrait_regions(edit.portrait)[0]) if edit.portrait is not None else ""
    return Case(
        case_id=case_id,
        task=task,
        image=paths["image"],
        mask=paths["mask"],
        automatic_mask=paths["automatic_mask"],
        true_edit=paths["true_edit"],
        source_caption=edit.source_caption,
        target_caption=edit.target_caption,
        instruction=edit.instruction.text,
        instruction_origin=edit.instruction.origin,
        edit_type=edit.edit_type,
        attribute=edit.attribute,
        desired=edit.desired,
        mask_origin="exact",
        exemplar=paths.get("exemplar", ""),
        exemplar_mask=paths.get("exemplar_mask", ""),
        source_attributes=_json(edit.source_attributes),
        target_attributes=_json(edit.target_attributes),
        identity=edit.identity,
        cluster=cluster,
        regions=regions,
        licence=LICENCE,
    )


def _drag_case(drag: Drag, task: str, case_id: str, folder: Path) -> Case:
    automatic = automatic_mask(drag.before, drag.source_mask, stable_seed("automatic mask", case_id))
    paths = write_images(
        folder,
        case_id,
        {
            "image": drag.before,
            "true_edit": drag.after,
            "mask": drag.mask,
            "automatic_mask": automatic.mask,
            "background_mask": ~drag.mask,
            "source_mask": drag.source_mask,
            "target_mask": drag.target_mask,
        },
    )
    operation = {
        "kind": drag.kind,
        "grade": drag.grade,
        "source_mask": paths["source_mask"],
        "target_mask": paths["target_mask"],
        "affine": drag.affine,
        "anchor": drag.anchor,
        "points": drag.points,
        "magnitude": drag.magnitude,
    }
    return Case(
        case_id=case_id,
        task=task,
        image=paths["image"],
        mask=paths["mask"],
        automatic_mask=paths["automatic_mask"],
        background_mask=paths["background_mask"],
        true_edit=paths["true_edit"],
        source_caption=drag.source_caption,
        target_caption=drag.target_caption,
        instruction=drag.instruction.text,
        instruction_origin=drag.instruction.origin,
        edit_type=drag.kind,
        mask_origin="exact",
        drags=json.dumps([operation], separators=(",", ":")),
        cluster=case_id,
        licence=LICENCE,
    )


def build_portraits(
    task: str,
    n: int,
    seed: int,
    folder: Path,
    lang: Language,
    *,
    population: str = "studio",
    free_form_share: float = FREE_FORM_SHARE,
) -> list[Case]:
    """Attribute edits of portraits, balanced over attributes and directions, each with an exemplar."""
    edits = portrait_edits(n, seed, lang, population=population, free_form_share=free_form_share)
    names = [f"{task}-{number:05d}-{edit.label}" for number, edit in enumerate(edits)]
    exemplars = portrait_exemplars(edits, seed, population)
    return [
        _edit_case(edit, task, name, name, folder, exemplar)
        for name, edit, exemplar in zip(names, edits, exemplars, strict=True)
    ]


def build_scenes(
    task: str, n: int, seed: int, folder: Path, lang: Language, *, free_form_share: float = FREE_FORM_SHARE
) -> list[Case]:
    """Single edits of scenes, balanced over kinds."""
    edits = scene_edits(n, seed, lang, free_form_share=free_form_share)
    names = [f"{task}-{number:05d}-{edit.label}" for number, edit in enumerate(edits)]
    return [_edit_case(edit, task, name, name, folder) for name, edit in zip(names, edits, strict=True)]


def build_sessions(
    task: str,
    n: int,
    seed: int,
    folder: Path,
    lang: Language,
    *,
    portrait_share: float = 0.5,
    free_form_share: float = FREE_FORM_SHARE,
) -> list[Case]:
    """Turns of editing sessions. A case is a turn, a cluster is a session; the number after "t" is the turn from 1."""
    sessions = sample_sessions(n, seed, lang, portrait_share=portrait_share, free_form_share=free_form_share)
    return [
        _edit_case(edit, task, f"{task}-{number:05d}-t{turn}-{edit.label}", f"{task}-{number:05d}", folder)
        for number, session in enumerate(sessions)
        for turn, edit in enumerate(session, start=1)
    ]


def build_drags(
    task: str, n: int, seed: int, folder: Path, lang: Language, *, free_form_share: float = FREE_FORM_SHARE
) -> list[Case]:
    """Region drags of scene objects, balanced over kinds and magnitudes."""
    drags = sample_drags(n, seed, lang, free_form_share=free_form_share)
    return [
        _drag_case(drag, task, f"{task}-{number:05d}-{drag.kind}-{drag.grade}", folder)
        for number, drag in enumerate(drags)
    ]


def build_mask_quality(
    task: str,
    n: int,
    seed: int,
    folder: Path,
    lang: Language,
    *,
    population: str = "studio",
    free_form_share: float = FREE_FORM_SHARE,
) -> list[Case]:
    """Attribute edits of portraits, each once with every mask of `mask_quality.MASK_KINDS`; a cluster is a portrait."""
    edits = -(-n // len(MASK_KINDS))
    base = build_portraits(task, edits, seed, folder, lang, population=population, free_form_share=free_form_share)
    return [masked for case in base for masked in masked_cases(case, folder)][:n]


def _chain_cases(chain: Chain, task: str, folder: Path) -> list[Case]:
    """The steps of a chain. All chains of one portrait share its image, which later steps are compared with."""
    cluster = f"{task}-{chain.source:05d}"
    name = f"{cluster}-{chain.label}"
    first = chain.steps[0].edit
    image = write_images(folder, cluster, {"image": first.before})["image"]
    regions = write_regions(folder, cluster, portrait_regions(first.portrait)[0]) if first.portrait is not None else ""
    cases = []
    for number, step in enumerate(chain.steps, start=1):
        case_id = f"{name}-k{number}"
        case = _edit_case(replace(step.edit, portrait=None), task, case_id, cluster, folder)
        (folder / case.image).unlink()  # the true image before this step, which no case is about
        paths = write_images(folder, case_id, {"background_mask": step.background})
        cases.append(
            replace(
                case,
                image=image,
                background_mask=paths["background_mask"],
                chain=name,
                step=number,
                design=json.dumps(chain.design, separators=(",", ":")),
                regions=regions,
            )
        )
    return cases


def build_chains(
    task: str,
    n: int,
    seed: int,
    folder: Path,
    lang: Language,
    *,
    design: str = "repeated",
    steps: int = 8,
    population: str = "studio",
    free_form_share: float = FREE_FORM_SHARE,
) -> list[Case]:
    """Chains of portrait edits: one edit repeated, or several attributes one after another; a cluster is a portrait.

    The image of every step is the source of the chain, which scores compare with; the captions, the mask and the
    instruction are those of the step, the true edit and the background those of all steps up to it.
    """
    options = {"population": population, "free_form_share": free_form_share}
    chains = sample_chains(n, design, steps, seed, lang, task=task, **options)  # type: ignore[arg-type]
    return [case for chain in chains for case in _chain_cases(chain, task, folder)]


def build_wordings(
    task: str, n: int, seed: int, folder: Path, lang: Language, *, population: str = "studio", wordings: int = WORDINGS
) -> list[Case]:
    """Attribute edits of portraits, each once in every wording, at equal noise; a cluster is a portrait.

    With `repeats`, each wording is drawn with the same further seeds.
    """
    if not isinstance(wordings, int) or isinstance(wordings, bool) or wordings < 1:
        raise UserError(f"task '{task}': wordings is {wordings!r}, expected a whole number from 1. Correct it.")
    base = build_portraits(task, -(-n // wordings), seed, folder, lang, population=population, free_form_share=0.0)
    return [worded for case in base for worded in worded_cases(case, lang, wordings)][:n]


Builder = Callable[..., list[Case]]
"""(task, number of cases, seed, folder, language, **options) -> cases whose images are written to the folder."""

DATASETS: dict[str, Builder] = {
    "portraits": build_portraits,
    "scenes": build_scenes,
    "sessions": build_sessions,
    "drags": build_drags,
    "mask_quality": build_mask_quality,
    "chains": build_chains,
    "wordings": build_wordings,
}


def build_task(
    task: str,
    n: int,
    seed: int,
    out_dir: Path,
    *,
    dataset: str | None = None,
    language: Path | None = None,
    repeats: int = 1,
    **options: Any,
) -> list[Case]:
    """Builds the cases of a task: PNG files and, last, `cases.parquet`.

    Args:
        task: name of the task, the start of its case ids.
        n: number of cases, at least 1.
        seed: of the data.
        out_dir: folder for the table and the images.
        dataset: a name of `DATASETS` (None: the name of the task).
        language: language file (None: the default one).
        repeats: seeds that every case is edited with, at least 1 (see `repeated`).
        options: keyword options of the builder, for example `free_form_share`, `population`, `portrait_share`.

    Returns:
        the cases, as written.

    Raises:
        UserError: unknown data set or option, or a value out of range.
    """
    name = dataset if dataset is not None else task
    if name not in DATASETS:
        raise UserError(
            f"dataset '{name}' of task '{task}': unknown.{did_you_mean(name, DATASETS)} Correct the config."
        )
    builder = DATASETS[name]
    known = set((builder.__kwdefaults__ or {}).keys())
    for option, value in options.items():
        if option not in known:
            raise UserError(
                f"task '{task}': unknown option '{option}' of dataset '{name}'.{did_you_mean(option, known)} Remove it."
            )
        if option.endswith("_share") and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise UserError(f"task '{task}': {option} is {value!r}, expected a number from 0 to 1. Correct it.")
    if n < 1:
        raise UserError(f"task '{task}': cases is {n}, expected at least 1. Raise it.")
    if repeats < 1:
        raise UserError(f"task '{task}': repeats is {repeats}, expected at least 1. Raise it.")
    cases = repeated(builder(task, n, seed, out_dir, load_language(language), **options), repeats)
    write_cases(out_dir / "cases.parquet", cases)
    return cases


def build_reference(n: int, seed: int, population: str, out_path: Path) -> None:
    """Renders reference portraits for FID and KID.

    Args:
        n: number of images.
        seed: of the data; disjoint from the cases and from training data.
        population: one of `portraits.POPULATIONS`; "outdoor" stands for FFHQ.
        out_path: `.npz` file that takes the array `images`, uint8 [n, 64, 64, 3]; otherwise a folder of PNG files.
    """
    if population not in POPULATIONS:
        raise UserError(f"reference population '{population}': unknown.{did_you_mean(population, POPULATIONS)}")
    portraits = sample_portraits(n, seed=stable_seed("reference", seed), population=population)
    images = render_portraits(portraits).images.permute(0, 2, 3, 1).contiguous().numpy()
    if out_path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images)
        write_bytes(out_path, buffer.getvalue())
    else:
        for number, image in enumerate(images):
            write_png(out_path / f"{number:06d}.png", image)
