"""The reader of all pictures: the accepted files, and their pixels.

All code opens pictures here, so that masks and edits of all data sets are read in the same way: few formats, never a
device; colours as sRGB; transparent pixels as white paper in a picture, as not painted in a mask.
"""

from __future__ import annotations

import io
import logging
import stat
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from editfrontier.base.errors import UserError, file_that_is_meant

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""Accepted formats. Pillow knows forty by their content, and starts another program for one (EPS)."""

MOST_BYTES = 1 << 30
"""Largest file; the largest picture that Pillow opens has fewer bytes in all formats but raw ones."""

_DAMAGES = (
    *(OSError, SyntaxError, ValueError, RuntimeError, EOFError),
    *(IndexError, KeyError, OverflowError, TypeError, struct.error),
)
"""Exceptions of Pillow and its codecs for damaged files."""

_POINTER = b"version https://git-lfs"
_OTHERS = {
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"<svg": "SVG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
"""First bytes of other formats that people take for pictures."""


def read_rgb(source: Path | bytes, where: str = "", *, upright: bool = False) -> Pixels:
    """Read a picture as uint8 [H, W, 3]; arguments and errors as for `open_picture` and `rgb`."""
    return rgb(open_picture(source, where), upright=upright, where=where or str(source))


def open_picture(source: Path | bytes, where: str = "", *, missing: str = "") -> Image.Image:
    """Read a picture completely.

    Args:
        source: a file, or its content.
        where: name of the picture in messages, by default its path.
        missing: the fix that messages name if there is no such file, "" = a file of nearly that name.

    Raises:
        UserError: the file is missing, no regular file (a pipe, a device), no picture of `FORMATS`, truncated, of
            another depth than 8 or 16 bits, too large, or a pointer of Git LFS.
    """
    where = where or str(source)
    content = source if isinstance(source, bytes) else _content(source, where, missing)
    if content.startswith(_POINTER):
        raise UserError(
            f"{where}: is a pointer of Git LFS and not the image itself. Run `git lfs install` and `git lfs pull` in "
            "the clone that it lies in."
        )
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1  # there the others are previews
        image.load()
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"{where}: has more than {most} pixels, expected fewer. Scale it down.") from None
    except _DAMAGES as error:
        why = _seen(content) if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise UserError(f"{where}: is no readable image{why}. Replace the file, or download it again.") from None
    if frames > 1:
        log.info("%s: has %d pictures in it, the first one is read", where, frames)
    return _eight_bits(image, where)


def _content(path: Path, where: str, missing: str) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # opening a pipe waits forever, and a device has no end
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or a device"
            raise UserError(f"{where}: is {kind}, expected an image file. Put one there.")
        if about.st_size > MOST_BYTES:
            raise UserError(f"{where}: has {about.st_size} bytes, expected at most {MOST_BYTES}. Scale it down.")
        return path.read_bytes()
    except FileNotFoundError:
        meant = "" if missing else file_that_is_meant(path)
        fix = missing or f"{'Rename it' if meant else 'Put it there'}, or correct what names it."
        raise UserError(f"{where}: no such image file.{meant} {fix}") from None
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}). Put a readable image file there.") from None


def _seen(content: bytes) -> str:
    """Return the format of a file that is no picture, in brackets, if its first bytes name it."""
    other = next((name for start, name in _OTHERS.items() if content.startswith(start)), "")
    if content[4:8] == b"ftyp":
        other = "HEIC" if content[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis") else "a film"
    return f" (it is {other}, expected {', '.join(FORMATS)})" if other else ""


def _eight_bits(image: Image.Image, where: str) -> Image.Image:
    """Convert a picture of one channel of 16 bits to 8 bits; Pillow would make all values above 255 white.

    Raises:
        UserError: it has 32 bits a pixel, whose white is unknown.
    """
    if image.mode.startswith("I;16"):
        lowered = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().astype(np.uint8))
        lowered.info = {key: value for key, value in image.info.items() if key in ("exif", "icc_profile")}
        return lowered
    if image.mode in ("I", "F"):
        raise UserError(f"{where}: has 32 bits a pixel, expected 8 or 16 a channel. Save it as an 8-bit PNG.")
    return image


# --- turning ---------------------------------------------------------------------------------------------------------

_ORIENTATION = 0x0112
_TURNS = (
    None,
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
"""Orientation in EXIF data, 1 to 8 -> operation that makes the picture upright."""


def turned(image: Image.Image) -> Image.Image:
    """Return a picture upright, by its EXIF data if they can be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data fail in many ways, and viewers ignore them
        return image
    turn = _TURNS[orientation] if isinstance(orientation, int) and 0 <= orientation < len(_TURNS) else None
    return image if turn is None else image.transpose(turn)


# --- pixels ----------------------------------------------------------------------------------------------------------


def rgb(image: Image.Image, *, upright: bool = False, where: str = "a picture") -> Pixels:
    """Return a picture as uint8 [H, W, 3] in sRGB.

    Args:
        image: image of any mode. Another colour profile is converted, transparent pixels are laid on white, with a note
            in the log.
        upright: whether to turn it by its EXIF data.
        where: name of the picture in the log.
    """
    image = turned(image) if upright else image
    colours = _srgb(image, where)
    alpha = _alpha(image)
    if alpha is None:
        return np.array(colours, dtype=np.uint8)
    log.info("%s: has transparent pixels, which are laid on white", where)
    paper = Image.new("RGB", colours.size, (255, 255, 255))
    return np.array(Image.composite(colours, paper, Image.fromarray(alpha)), dtype=np.uint8)


def grey(image: Image.Image, *, upright: bool = False, where: str = "a mask") -> Pixels:
    """Return a grey mask as uint8 [H, W], with arguments as for `rgb`.

    Paint counts by its opacity, because painting programs keep colours in pixels that nobody painted.
    """
    image = turned(image) if upright else image
    image = _srgb(image, where) if image.mode == "LAB" else image  # Pillow cannot convert LAB to grey
    alpha = _alpha(image)
    levels = np.asarray((image if alpha is None else image.convert("RGBA")).convert("L"))
    if alpha is None:
        return levels
    painted_levels: Pixels = np.rint(levels.astype(np.float64) * alpha / 255).astype(np.uint8)
    if ((levels > 127) != (painted_levels > 127)).any():
        log.info("%s: has transparent pixels, which count as not painted", where)
    return painted_levels


def grey_mask(image: Image.Image, *, upright: bool = False, where: str = "a mask") -> Mask:
    """Return bool [H, W], True where a mask is brighter than the middle of the grey range; arguments as for `grey`."""
    return np.asarray(grey(image, upright=upright, where=where) > 127)


def painted(image: Image.Image, *, where: str = "a mask") -> Mask:
    """Return bool [H, W], True where a mask has another colour than black; arguments as for `grey`."""
    if image.mode == "LAB":
        raise UserError(f"{where}: is in LAB, whose black is not exact. Save it as PNG in sRGB.")
    alpha = _alpha(image)
    coloured: Mask = np.asarray(image.convert("RGBA").convert("RGB")).max(axis=2) > 0
    return coloured if alpha is None else coloured & (alpha > 0)


def alpha_mask(image: Image.Image, *, upright: bool = False) -> Mask | None:
    """Return bool [H, W], True where a picture is transparent (DALL-E's masks); None if it has no alpha channel."""
    if not image.has_transparency_data:
        return None
    image = turned(image) if upright else image
    return np.asarray(np.asarray(image.convert("RGBA").getchannel("A")) < 128)


def _alpha(image: Image.Image) -> Pixels | None:
    """Return the opacity uint8 [H, W], None if it is 255 everywhere."""
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return None if alpha.min(initial=255) == 255 else alpha


# --- colours ---------------------------------------------------------------------------------------------------------

SAME_COLOURS = 2
"""Largest difference, in levels of 255, of a profile that counts as sRGB. Programs write many versions of sRGB, and a
conversion between them would only round pixels."""


def _srgb(image: Image.Image, where: str) -> Image.Image:
    """Return the colours of a picture as an image of mode RGB, without its opacity."""
    opaque = image.convert("RGBA") if image.mode in ("La", "RGBa") else image
    profile = image.info.get("icc_profile")
    if not profile and image.mode != "LAB":
        return opaque.convert("RGB")
    mode = {"L": "L", "LA": "L", "La": "L", "1": "L", "CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "RGB")
    try:
        transform, name = _to_srgb(profile or b"", mode)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        if mode == "LAB":
            raise UserError(f"{where}: has colours that cannot be read ({error}). Save it as PNG in sRGB.") from None
        log.warning("%s: its colour profile cannot be used (%s), its colours are taken for sRGB", where, error)
        return opaque.convert("RGB")
    if transform is None:
        return opaque.convert("RGB")
    log.info("%s: is converted from the colour profile %r to sRGB", where, name)
    converted = ImageCms.applyTransform(opaque.convert(transform.input_mode), transform)
    assert converted is not None  # only a transform in place returns None
    return converted


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> tuple[Any, str]:
    """Return Pillow's transform from a profile to sRGB, None if both are the same, and the profile's name.

    Raises:
        PyCMSError, OSError, ValueError: the profile is damaged, or of another kind than the mode of the image.
    """
    if mode == "LAB":
        source, name = ImageCms.createProfile("LAB"), "LAB"
    else:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
        name, space = (source.profile_description or "").strip(), source.xcolor_space.strip()
        theirs = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space, space)
        if theirs != mode and (mode, theirs) != ("L", "RGB"):  # a grey picture may keep the profile of its colours
            raise ValueError(f"it is one of {space}, its image is {mode}")
        mode = theirs
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    return (None if mode in ("RGB", "L") and _keeps(transform, mode) else transform), name


def _keeps(transform: Any, mode: str) -> bool:
    """Return whether a transform changes no colour by more than `SAME_COLOURS`."""
    levels = np.linspace(0, 255, 16 if mode == "RGB" else 256).round().astype(np.uint8)
    if mode == "RGB":
        colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    else:
        colours = levels[None]
    probe = Image.fromarray(colours)
    converted = ImageCms.applyTransform(probe, transform)
    change = np.asarray(converted).astype(int) - np.asarray(probe.convert("RGB")).astype(int)
    return bool(np.abs(change).max() <= SAME_COLOURS)
