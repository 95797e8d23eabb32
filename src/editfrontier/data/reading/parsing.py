"""Face parsing of CelebAMask-HQ: masks of the parts of a face, the regions made of them, and edit masks.

People drew the masks (Lee et al. 2020, MaskGAN): one PNG a part, 512x512, not 0 = part, no file for a hidden part.
Lengths below are pixels at an image height of 256, as in `masks`; the shapes of edit masks are our choice, because the
data set has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.data.framing import Frame, frame_of
from editfrontier.data.masks import Mask, dilated, pixels
from editfrontier.data.pictures import open_picture, painted

PARTS = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear"),
    *("mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
"""Names of the files, in the order of the authors' script: where masks overlap, the pixel belongs to the later part."""

FOLDER_SIZE = 2000
"""Images whose masks share a folder, named 0 to 14."""

REGIONS: Mapping[str, tuple[str, ...]] = {
    "skin": ("skin",),
    "eyes": ("l_eye", "r_eye"),
    "brows": ("l_brow", "r_brow"),
    "nose": ("nose",),
    "mouth": ("mouth", "u_lip", "l_lip"),
    "ears": ("l_ear", "r_ear"),
    "hair": ("hair",),
    "clothes": ("cloth",),
    "accessory": ("eye_g", "hat", "ear_r", "neck_l"),
}
"""Region of the metrics -> its parts. The neck belongs to no region."""

LEAST_PIXELS_AT_256 = 64
"""Least pixels of an edit mask; a part with fewer counts as hidden."""

Parts = Mapping[str, Mask]
"""Part -> bool [H, W]; a hidden part is all False."""

EditMask = Callable[[Parts, bool], Mask | None]
"""(parts, desired value) -> edit mask, None if the parts that it is made of are hidden"""


def read_parts(folder: Path, number: int, size: int) -> dict[str, Mask]:
    """Read the masks of the parts of one face and scale them.

    Args:
        folder: `CelebAMask-HQ-mask-anno`.
        number: number of the image, from 0.
        size: height and width of the result, pixels.

    Returns:
        Part -> bool [size, size] for all `PARTS`; they may overlap.

    Raises:
        UserError: the folder of the masks or all masks of the face are missing, a mask is no image or not square, or
            masks differ in size.
    """
    place = folder / str(number // FOLDER_SIZE)
    if not place.is_dir():
        raise UserError(f"{place}: there is no such folder of parsing masks. Unpack CelebAMask-HQ.zip again.")
    parts: dict[str, Mask] = {}
    frame: Frame | None = None
    first = ""
    for part in PARTS:
        path = place / f"{number:05d}_{part}.png"
        if not path.is_file():
            parts[part] = np.zeros((size, size), dtype=np.bool_)
            continue
        raw: Mask = painted(open_picture(path), where=str(path))
        if raw.shape[0] != raw.shape[1]:
            raise UserError(f"{path}: is {raw.shape[1]}x{raw.shape[0]} pixels, expected a square. Unpack it again.")
        if frame is None:
            frame, first = frame_of((raw.shape[0], raw.shape[1]), size, "crop"), path.name
        if raw.shape != frame.picture:
            raise UserError(
                f"{path}: is {raw.shape[1]}x{raw.shape[0]} pixels but {first} of the same face is "
                f"{frame.picture[1]}x{frame.picture[0]}. Unpack CelebAMask-HQ.zip again."
            )
        parts[part] = frame.mask(raw)
    if frame is None:
        raise UserError(
            f"{place}: has no mask of image {number}, expected {number:05d}_skin.png and others. The archive was not "
            f"unpacked to its end: delete {folder} and unpack CelebAMask-HQ.zip again."
        )
    return parts


def face_regions(parts: Parts) -> dict[str, Mask]:
    """Return the visible regions of a face, disjoint, and the background, by name."""
    owner = np.zeros(parts["skin"].shape, dtype=np.int64)
    for number, part in enumerate(PARTS, start=1):
        owner[parts[part]] = number
    regions = {name: np.isin(owner, [PARTS.index(part) + 1 for part in names]) for name, names in REGIONS.items()}
    return {name: mask for name, mask in {**regions, "background": owner == 0}.items() if mask.any()}


# --- edit masks ------------------------------------------------------------------------------------------------------


def edit_mask(parts: Parts, attribute: str, desired: bool) -> Mask | None:
    """Return the mask of an edit that gives an attribute of `EDIT_MASKS` a desired value.

    Returns:
        bool [H, W]; None if the parts that the mask is made of are hidden.
    """
    mask = EDIT_MASKS[attribute](parts, desired)
    height = len(parts["skin"])
    return mask if mask is not None and mask.sum() >= LEAST_PIXELS_AT_256 * (height / 256) ** 2 else None


def _union(parts: Parts, *names: str) -> Mask:
    union: Mask = np.logical_or.reduce([parts[name] for name in names])
    return union


def _grown(mask: Mask, at_256: float) -> Mask | None:
    return dilated(mask, at_256=at_256) if mask.any() else None


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Return the first and last row, and the first and last column, of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def _rectangle(shape: tuple[int, ...], top: float, bottom: float, left: float, right: float) -> Mask:
    """Return the pixels of the image from (top, left) to (bottom, right), both included."""
    mask = np.zeros(shape, dtype=np.bool_)
    mask[max(round(top), 0) : max(round(bottom) + 1, 0), max(round(left), 0) : max(round(right) + 1, 0)] = True
    return mask


def _around(at_256: float, *names: str) -> EditMask:
    """Return the function that makes the mask of some parts with a rim, for both values."""
    return lambda parts, desired: _grown(_union(parts, *names), at_256)


def _glasses(parts: Parts, desired: bool) -> Mask | None:
    """Return the glasses to remove, or the rectangle around eyes and brows for new ones."""
    if not desired and parts["eye_g"].any():
        return _grown(parts["eye_g"], 6)
    eyes = _union(parts, "l_eye", "r_eye", "l_brow", "r_brow")
    return _grown(_rectangle(eyes.shape, *_box(eyes)), 10) if eyes.any() else None


def _hat(parts: Parts, desired: bool) -> Mask | None:
    """Return hat and hair to remove a hat; else all above the brows, a tenth wider than the head."""
    head, brows = _union(parts, "skin", "hair", "hat", "l_ear", "r_ear"), _union(parts, "l_brow", "r_brow")
    if not desired:
        return _grown(_union(parts, "hat", "hair"), 6) if parts["hat"].any() else None
    if not head.any() or not brows.any():
        return None
    _, _, left, right = _box(head)
    aside = 0.1 * (right - left)
    return _rectangle(head.shape, 0, _box(brows)[0] - pixels(3, len(head)), left - aside, right + aside)


def _beard(parts: Parts, desired: bool) -> Mask | None:
    """Return cheeks and chin below the nose and the area below the chin, without the lips."""
    if not parts["nose"].any() or not parts["skin"].any():
        return None
    below = np.zeros_like(parts["skin"])
    below[_box(parts["nose"])[1] + 1 :] = True
    jaw = _grown(parts["skin"] & below, 10)
    return jaw & below & ~_union(parts, "mouth", "u_lip", "l_lip") if jaw is not None else None


def _moustache(parts: Parts, desired: bool) -> Mask | None:
    """Return the area between nose and mouth, a little wider than the mouth, with the upper lip."""
    lips = _union(parts, "mouth", "u_lip", "l_lip")
    if not parts["nose"].any() or not parts["u_lip"].any():
        return None
    height = len(lips)
    _, _, left, right = _box(lips)
    aside, over = pixels(8, height), pixels(3, height)
    bottom = _box(parts["u_lip"])[1]
    return _rectangle(lips.shape, _box(parts["nose"])[1] - over, bottom, left - aside, right + aside)


def _bangs(parts: Parts, desired: bool) -> Mask | None:
    """Return forehead, brows, and the hair above the eyes."""
    eyes = _union(parts, "l_eye", "r_eye")
    if not eyes.any():
        return None
    above = np.zeros_like(eyes)
    above[: _box(eyes)[0]] = True
    grown = _grown(_union(parts, "skin", "hair", "l_brow", "r_brow") & above, 4)
    return grown & above if grown is not None else None


def _earrings(parts: Parts, desired: bool) -> Mask | None:
    """Return the earrings to remove, or the area from the middle of each ear down for new ones."""
    if not desired and parts["ear_r"].any():
        return _grown(parts["ear_r"], 5)
    masks = []
    for name in ("l_ear", "r_ear"):
        if parts[name].any():
            top, bottom, left, right = _box(parts[name])
            height = len(parts[name])
            aside, down = pixels(5, height), pixels(24, height)
            masks.append(_rectangle(parts[name].shape, (top + bottom) / 2, bottom + down, left - aside, right + aside))
    return np.logical_or.reduce(masks) if masks else None


def _necklace(parts: Parts, desired: bool) -> Mask | None:
    if not desired and parts["neck_l"].any():
        return _grown(parts["neck_l"], 5)
    return _grown(parts["neck"], 10)


# With the cheeks beside the mouth, which move with its corners.
_MOUTH = _around(14, "mouth", "u_lip", "l_lip")
_FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
EDIT_MASKS: Mapping[str, EditMask] = {
    "smile": _MOUTH,
    "open_mouth": _MOUTH,
    "glasses": _glasses,
    "hat": _hat,
    "beard": _beard,
    "moustache": _moustache,
    "earrings": _earrings,
    "lipstick": _around(3, "u_lip", "l_lip"),
    "old": _around(3, *_FACE, "neck"),  # where wrinkles are
    "bangs": _bangs,
    "necklace": _necklace,
    **dict.fromkeys(("black_hair", "brown_hair", "blond_hair", "grey_hair"), _around(4, "hair")),
}
"""By attribute of the language."""
