"""Data sets of the micro world: cases with images, exact masks and true edits in a folder; and reference images.

A data set is a builder in `DATASETS`; a task of the config names it. The data set, the seed and the options decide the
cases, and the seeds are disjoint from those of training data.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.files import write_bytes
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, compact_json, write_case, write_cases, write_images, write_png, write_regions
from editfrontier.data.language import Language, load_language, portrait_caption
from editfrontier.data.mask_quality import MASK_KINDS, masked_cases
from editfrontier.data.pictures import Mask, Pixels
from editfrontier.data.repeats import repeated
from editfrontier.data.wordings import WORDINGS, worded_cases
from editfrontier.microworld.chains import Chain, sample_chains
from editfrontier.microworld.drags import Drag, sample_drags
from editfrontier.microworld.edits import Edit, portrait_edits, scene_edits
from editfrontier.microworld.exemplars import Exemplar, portrait_exemplars
from editfrontier.microworld.portrait_painter import portrait_regions, render_portraits
from editfrontier.microworld.portraits import POPULATIONS, Portraits, sample_portraits
from editfrontier.microworld.segment import automatic_mask
from editfrontier.microworld.sessions import sample_sessions

LICENCE = "CC0-1.0, rendered"
FREE_FORM_SHARE = 0.2


@dataclass(frozen=True)
class Order:
    """A task's order of cases: its name, their number, the seed of the data, the folder of the images, the language."""

    task: str
    n: int
    seed: int
    folder: Path
    lang: Language


def _regions(order: Order, name: str, portrait: Portraits | None) -> str:
    """Write the masks of the regions that a portrait, a batch of one, shows; return the column `regions`."""
    return write_regions(order.folder, name, portrait_regions(portrait)[0]) if portrait is not None else ""


def _written(
    order: Order, truth: Edit | Drag, case_id: str, segmented: Mask, more: Mapping[str, Pixels | Mask], **columns: Any
) -> Case:
    """Write a case; `segmented`: the mask whose part of the image the automatic mask segments; `more`: other images."""
    automatic = automatic_mask(truth.before, segmented, stable_seed("automatic mask", case_id)).mask
    images: dict[str, Pixels | Mask] = {"image": truth.before, "true_edit": truth.after, "mask": truth.mask}
    return write_case(
        order.folder,
        case_id,
        {**images, "automatic_mask": automatic, **more},
        task=order.task,
        source_caption=truth.source_caption,
        target_caption=truth.target_caption,
        instruction=truth.instruction.text,
        instruction_origin=truth.instruction.origin,
        licence=LICENCE,
        **columns,
    )


def _edit_case(order: Order, edit: Edit, case_id: str, cluster: str, exemplar: Exemplar | None = None) -> Case:
    return _written(
        order,
        edit,
        case_id,
        edit.mask,
        {"exemplar": exemplar.image, "exemplar_mask": exemplar.mask} if exemplar is not None else {},
        edit_type=edit.edit_type,
        attribute=edit.attribute,
        desired=edit.desired,
        source_attributes=compact_json(edit.source_attributes) if edit.source_attributes else "",
        target_attributes=compact_json(edit.target_attributes) if edit.target_attributes else "",
        identity=edit.identity,
        cluster=cluster,
        regions=_regions(order, case_id, edit.portrait),
    )


def _edit_cases(order: Order, edits: Sequence[Edit], exemplars: Sequence[Exemplar | None] = ()) -> list[Case]:
    """Return a case, and a cluster, for each edit."""
    cases = []
    for number, (edit, exemplar) in enumerate(zip(edits, exemplars or [None] * len(edits), strict=True)):
        case_id = f"{order.task}-{number:05d}-{edit.label}"
        cases.append(_edit_case(order, edit, case_id, case_id, exemplar))
    return cases


def _drag_case(order: Order, drag: Drag, case_id: str) -> Case:
    regions = {"source_mask": drag.source_mask, "target_mask": drag.target_mask}
    operation = {
        "kind": drag.kind,
        "grade": drag.grade,
        **write_images(order.folder, case_id, regions),
        "affine": drag.affine,
        "anchor": drag.anchor,
        "points": drag.points,
        "magnitude": drag.magnitude,
    }
    columns = {"edit_type": drag.kind, "drags": compact_json([operation]), "cluster": case_id}
    return _written(order, drag, case_id, drag.source_mask, {"background_mask": ~drag.mask}, **columns)


def build_portraits(
    order: Order, *, population: str = "studio", free_form_share: float = FREE_FORM_SHARE
) -> list[Case]:
    """Build attribute edits of portraits, balanced over attributes and directions, each with an exemplar."""
    edits = portrait_edits(order.n, order.seed, order.lang, population=population, free_form_share=free_form_share)
    return _edit_cases(order, edits, portrait_exemplars(edits, order.seed, population))


def build_scenes(order: Order, *, free_form_share: float = FREE_FORM_SHARE) -> list[Case]:
    """Build single edits of scenes, balanced over kinds."""
    return _edit_cases(order, scene_edits(order.n, order.seed, order.lang, free_form_share=free_form_share))


def build_sessions(
    order: Order, *, portrait_share: float = 0.5, free_form_share: float = FREE_FORM_SHARE
) -> list[Case]:
    """Build turns of editing sessions: a case is a turn (from 1, after "t"), a cluster is a session."""
    shares = {"portrait_share": portrait_share, "free_form_share": free_form_share}
    return [
        _edit_case(order, edit, f"{order.task}-{number:05d}-t{turn}-{edit.label}", f"{order.task}-{number:05d}")
        for number, session in enumerate(sample_sessions(order.n, order.seed, order.lang, **shares))
        for turn, edit in enumerate(session, start=1)
    ]


def build_drags(order: Order, *, free_form_share: float = FREE_FORM_SHARE) -> list[Case]:
    """Build region drags of scene objects, balanced over kinds and magnitudes."""
    drags = sample_drags(order.n, order.seed, order.lang, free_form_share=free_form_share)
    return [
        _drag_case(order, drag, f"{order.task}-{number:05d}-{drag.kind}-{drag.grade}")
        for number, drag in enumerate(drags)
    ]


def build_mask_quality(
    order: Order, *, population: str = "studio", free_form_share: float = FREE_FORM_SHARE
) -> list[Case]:
    """Build attribute edits of portraits, each with every kind of mask (`MASK_KINDS`); a cluster is a portrait."""
    edits = replace(order, n=-(-order.n // len(MASK_KINDS)))
    base = build_portraits(edits, population=population, free_form_share=free_form_share)
    return [masked for case in base for masked in masked_cases(case, order.folder)][: order.n]


def _chain_cases(order: Order, chain: Chain) -> list[Case]:
    """Return the steps of a chain. All chains of one portrait share its image, which later steps are compared with."""
    cluster = f"{order.task}-{chain.source:05d}"
    name = f"{cluster}-{chain.label}"
    first = chain.steps[0].edit
    image = write_images(order.folder, cluster, {"image": first.before})["image"]
    regions = _regions(order, cluster, first.portrait)
    cases = []
    for number, step in enumerate(chain.steps, start=1):
        case_id = f"{name}-k{number}"
        case = _edit_case(order, replace(step.edit, portrait=None), case_id, cluster)
        (order.folder / case.image).unlink()  # the true image before this step, which no case shows
        background = write_images(order.folder, case_id, {"background_mask": step.background})["background_mask"]
        columns = {"image": image, "background_mask": background, "regions": regions, "chain": name}
        cases.append(replace(case, step=number, design=compact_json(chain.design), **columns))  # type: ignore[arg-type]
    return cases


def build_chains(
    order: Order,
    *,
    design: str = "repeated",
    steps: int = 8,
    population: str = "studio",
    free_form_share: float = FREE_FORM_SHARE,
) -> list[Case]:
    """Build chains of portrait edits: one edit repeated, or several attributes in turn; a cluster is a portrait.

    The image of every step is the source of the chain, which scores compare with. The captions, the mask and the
    instruction belong to the step; the true edit and the background to all steps up to it.
    """
    words = {"task": order.task, "population": population}
    chains = sample_chains(order.n, design, steps, order.seed, order.lang, free_form_share=free_form_share, **words)
    return [case for chain in chains for case in _chain_cases(order, chain)]


def build_wordings(order: Order, *, population: str = "studio", wordings: int = WORDINGS) -> list[Case]:
    """Build attribute edits of portraits, each in every wording, at equal noise; a cluster is a portrait.

    With `repeats`, all wordings share the further seeds.
    """
    if not isinstance(wordings, int) or isinstance(wordings, bool) or wordings < 1:
        raise UserError(f"task '{order.task}': wordings is {wordings!r}, expected a whole number from 1. Correct it.")
    edits = replace(order, n=-(-order.n // wordings))
    base = build_portraits(edits, population=population, free_form_share=0.0)
    variants = (worded_cases(case, order.lang, wordings, portrait_caption) for case in base)
    return [worded for cases in variants for worded in cases][: order.n]


Builder = Callable[..., list[Case]]
"""(order, **options) -> cases, whose images are in the folder of the order."""

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
    """Build and return the cases of a task: PNG files and, last, `cases.parquet`.

    Arguments as for `data.reading.build.build_task`; `dataset` is a name of `DATASETS`, and `options` are those of its
    builder.

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
    for option, value in (("cases", n), ("repeats", repeats)):
        if value < 1:
            raise UserError(f"task '{task}': {option} is {value}, expected at least 1. Raise it.")
    cases = repeated(builder(Order(task, n, seed, out_dir, load_language(language)), **options), repeats)
    write_cases(out_dir / "cases.parquet", cases)
    return cases


def build_reference(n: int, seed: int, population: str, out_path: Path) -> None:
    """Render reference portraits for FID and KID.

    Args:
        n: number of images.
        seed: seed of the data; the portraits are disjoint from the cases and from training data.
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
