"""The images and scores of the case browser, packed so that one page can carry them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from editfrontier.data.cases import Case, read_image
from editfrontier.scoring.metrics import METRICS
from editfrontier.study.results.gallery import (
    TaskResults,
    balanced_choice,
    edited_image,
    mask_image,
    readable,
    regions_of,
    source_image,
    worst_cases,
)
from editfrontier.study.results.naming import Row, metric_display, styles

if TYPE_CHECKING:
    import numpy.typing as npt

TILE = 128  # pixels; larger images are shown reduced to this
BUDGET = 6_000_000  # bytes of encoded images in one page
_QUALITIES = (92, 85, 75, 60)


def gallery(
    results: TaskResults, rows: Sequence[Row], first: Sequence[str], seed: int, budget: int = BUDGET
) -> dict[str, Any]:
    """Return the browser of one task: variants, metrics, cases with a strip of images and their scores.

    Each case has one WebP strip of square tiles: source, mask, the regions of its drags and their targets, true edit,
    then the variants; equal images share a tile. If not all cases fit, `balanced_choice` selects some, and the page
    says so.

    Args:
        results: cases, records and scores of the task.
        rows: variants in the order of display.
        first: variants that are shown initially.
        seed: of the choices.
        budget: largest size of the images in bytes.
    """
    metrics = _metrics(results)
    look = styles([row.editor for row in rows])
    usable = [case for case in results.cases if readable(results, case)]
    shown = usable
    strips: list[tuple[bytes, dict[str, int], int]] = []
    for quality in _QUALITIES:
        strips = [_strip(results, case, rows, quality) for case in shown]
        if sum(len(strip[0]) for strip in strips) * 4 / 3 <= budget:
            break
    else:
        mean = sum(len(strip[0]) for strip in strips) * 4 / 3 / max(len(strips), 1)
        chosen = {case.case_id for case in balanced_choice(usable, max(int(budget / mean), 1), seed)}
        chosen_strips = [(case, strip) for case, strip in zip(shown, strips, strict=True) if case.case_id in chosen]
        shown, strips = [case for case, _ in chosen_strips], [strip for _, strip in chosen_strips]
    return {
        "task": results.task,
        "total": len(results.cases),
        "unreadable": len(results.cases) - len(usable),
        "variants": [
            {
                "name": row.variant,
                "label": row.label,
                "colour": look[row.editor].colour,
                "control": row.control,
                "first": row.variant in first,
            }
            for row in rows
        ],
        "metrics": metrics,
        "chosen": [case.case_id for case in balanced_choice(shown, 6, seed)],
        "worst": {
            row.variant: worst_cases(results.variants[row.variant], 4)
            for row in rows
            if not row.control and row.variant in first
        },
        "cases": [_case(results, case, rows, metrics, strip) for case, strip in zip(shown, strips, strict=True)],
    }


def _metrics(results: TaskResults) -> list[str]:
    present = {name for variant in results.variants.values() for scores in variant.scores.values() for name in scores}
    return [name for name in METRICS if name in present] + sorted(present - set(METRICS))


def _case(
    results: TaskResults,
    case: Case,
    rows: Sequence[Row],
    metrics: Sequence[str],
    strip: tuple[bytes, Mapping[str, int], int],
) -> dict[str, Any]:
    encoded, tiles, count = strip
    variants = [results.variants[row.variant] for row in rows]
    reasons = {str(index): variant.failures.get(case.case_id) for index, variant in enumerate(variants)}
    return {
        "id": case.case_id,
        "attribute": case.attribute,
        "desired": case.desired,
        "type": case.edit_type,
        "instruction": case.instruction,
        "origin": case.instruction_origin,
        "caption": case.target_caption,
        "strip": "data:image/webp;base64," + base64.b64encode(encoded).decode(),
        "count": count,
        "source": tiles["source"],
        **{key: tiles.get(key, -1) for key in ("mask", "region", "target", "truth")},
        "tiles": [tiles.get(f"variant-{index}", -1) for index in range(len(rows))],
        "failures": {index: reason for index, reason in reasons.items() if reason is not None},
        "scores": [
            [rounded(variant.scores.get(case.case_id, {}).get(name, math.nan)) for name in metrics]
            for variant in variants
        ],
    }


def rounded(value: float, digits: int = 4) -> float | None:
    """Return a value with a few significant digits, None for NaN (JSON has none)."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _strip(results: TaskResults, case: Case, rows: Sequence[Row], quality: int) -> tuple[bytes, dict[str, int], int]:
    source = source_image(results, case)
    images: dict[str, npt.NDArray[np.uint8] | None] = {"source": source}
    mask = mask_image(results, case)
    if mask is not None:
        images["mask"] = np.repeat(mask.astype(np.uint8)[:, :, None] * 255, 3, axis=2)
    if regions := regions_of(results, case):
        for name, masks in (("region", [r.source for r in regions]), ("target", [r.target for r in regions])):
            images[name] = np.repeat(np.logical_or.reduce(masks).astype(np.uint8)[:, :, None] * 255, 3, axis=2)
    if case.true_edit:
        images["truth"] = read_image(results.folder / case.true_edit)
    for index, row in enumerate(rows):
        images[f"variant-{index}"] = edited_image(results, row.variant, case)

    side = min(TILE, max(source.shape[:2]))
    tiles: dict[str, int] = {}
    unique: dict[bytes, int] = {}
    strip: list[npt.NDArray[np.uint8]] = []
    for key, image in images.items():
        if image is None:
            continue
        tile = _square(image, side)
        content = tile.tobytes()
        if content not in unique:
            unique[content] = len(strip)
            strip.append(tile)
        tiles[key] = unique[content]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(strip, axis=1)).save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue(), tiles, len(strip)


def _square(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    if image.shape[:2] == (side, side):
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (side, side), (128, 128, 128))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(canvas)


def metric_table(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the properties of metrics that the page shows."""
    keys = ("label", "shown_unit", "direction", "arrow", "group", "description", "source", "percent")
    return {name: {key.removeprefix("shown_"): getattr(metric_display(name), key) for key in keys} for name in names}
