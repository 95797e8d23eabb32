"""Cases of mask quality: each edit once with every mask, from the exact one to masks made worse on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, compact_json, read_image, read_mask, write_images
from editfrontier.data.masks import DEGRADATIONS, degrade, iou

MASK_KINDS = ("exact", "automatic", *DEGRADATIONS)
"""The masks of an edit, in the order of its cases."""


def masked_cases(case: Case, folder: Path) -> list[Case]:
    """Return a case once with every mask of `MASK_KINDS`, and write the masks.

    The background stays the complement of the exact mask, so that its metrics compare masks on the same pixels. The
    column `design` holds mask (its kind), iou (with the exact mask) and noise (the id of the given case): the cases of
    one edit share their noise, so that only the mask differs.

    Args:
        case: a case with an exact and an automatic mask.
        folder: the folder that its paths are relative to.
    """
    height, width, _ = read_image(folder / case.image).shape
    exact = read_mask(folder / case.mask, (height, width))
    background = write_images(folder, case.case_id, {"background_mask": ~exact})["background_mask"]
    cases = []
    for kind in MASK_KINDS:
        path, origin = {"exact": (case.mask, "exact"), "automatic": (case.automatic_mask, "automatic")}.get(
            kind, (f"mask_{kind}/{case.case_id}.png", "degraded")
        )
        if origin == "degraded":
            worse = degrade(exact, kind, stable_seed("degraded mask", case.case_id, kind))
            write_images(folder, case.case_id, {f"mask_{kind}": worse})
        used = read_mask(folder / path, exact.shape)
        design = {"mask": kind, "iou": round(iou(used, exact), 4), "noise": case.case_id}
        cases.append(
            replace(
                case,
                case_id=f"{case.case_id}-{kind}",
                mask=path,
                mask_origin=origin,
                background_mask=background,
                design=compact_json(design),
            )
        )
    return cases
