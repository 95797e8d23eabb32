"""Pictures of any size to the square that is evaluated, with the masks, points and maps that belong to them.

A picture is what a data set or a user has, of any size; an image is what a case has. Pixel coordinates are (x, y), x to
the right, y downwards, whole numbers at pixel centres, as in `dragging.regions`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from editfrontier.errors import UserError

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Fit = Literal["crop", "stretch"]

_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Frame:
    """The part of a picture that is kept, and the size that it gets.

    Attributes:
        picture: (height, width) of the picture.
        left, top: the first pixel that is kept.
        height, width: of the part that is kept.
        size: height and width of the result.
    """

    picture: tuple[int, int]
    left: int
    top: int
    height: int
    width: int
    size: int

    def image(self, pixels: Pixels) -> Pixels:
        """Return uint8 [H, W, 3] as [size, size, 3], resampled by Lanczos with antialiasing."""
        return np.asarray(self._resized(Image.fromarray(pixels), Image.Resampling.LANCZOS), dtype=np.uint8)

    def mask(self, mask: Mask) -> Mask:
        """Return bool [H, W] as [size, size]: pixels of which at least half are covered.

        Where that leaves nothing of a part of the mask that the frame holds, the pixels that are covered most are
        taken.
        """
        cover = np.asarray(self._resized(Image.fromarray(mask.astype(np.uint8) * 255), Image.Resampling.BOX))
        made: Mask = cover >= 128
        if not made.any() and cover.any():
            made = cover == cover.max()
        return made

    def points(self, points: Floats) -> Floats:
        """Map points [N, 2] of the picture to the result."""
        return apply(self.map, np.asarray(points, dtype=np.float64).reshape(-1, 2))

    def affine(self, affine: Floats) -> Floats:
        """Return the map [2, 3] on the result that does what `affine` does on the picture."""
        there, moved = (np.vstack([matrix, [0.0, 0.0, 1.0]]) for matrix in (self.map, affine))
        conjugated: Floats = (there @ moved @ np.linalg.inv(there))[:2]
        return conjugated

    @property
    def map(self) -> Floats:
        """The map [2, 3] of pixel coordinates of the picture to those of the result."""
        x, y = self.size / self.width, self.size / self.height
        return np.array([[x, 0.0, (0.5 - self.left) * x - 0.5], [0.0, y, (0.5 - self.top) * y - 0.5]])

    def _resized(self, image: Image.Image, method: Image.Resampling) -> Image.Image:
        if image.size != self.picture[::-1]:
            raise ValueError(f"expected a picture of (height, width) {self.picture}, got {image.size[::-1]}")
        box = (self.left, self.top, self.left + self.width, self.top + self.height)
        if box == (0, 0, self.size, self.size) and self.picture == (self.size, self.size):
            return image
        return image.resize((self.size, self.size), method, box)


def frame_of(picture: tuple[int, int], size: int, fit: Fit, about: Mask | None = None) -> Frame:
    """Return how a picture becomes a square.

    Args:
        picture: (height, width).
        size: height and width of the result, pixels.
        fit: "crop" keeps the largest square, "stretch" the whole picture with its sides made equal.
        about: bool [H, W] that a crop is centred on as far as the picture allows, None or empty = the middle.
    """
    height, width = picture
    if fit == "stretch":
        return Frame(picture, 0, 0, height, width, size)
    side = min(picture)
    middle = (height / 2, width / 2)
    if about is not None and about.any():
        rows, columns = (np.flatnonzero(about.any(axis)) for axis in (1, 0))
        middle = ((rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2)
    top, left = (
        round(min(max(centre - side / 2, 0), whole - side)) for centre, whole in zip(middle, picture, strict=True)
    )
    return Frame(picture, left, top, side, side, size)


def apply(affine: Floats, points: Floats) -> Floats:
    """Map points [N, 2] (x, y) by an affine map [2, 3]."""
    moved: Floats = points @ affine[:, :2].T + affine[:, 2]
    return moved


def open_picture(source: Path | bytes, where: str = "") -> Image.Image:
    """Read a picture whole.

    Args:
        source: a file, or its content.
        where: what messages call it, the path by default.

    Raises:
        UserError: it is missing, no picture, truncated, of another depth than 8 or 16 bits, too large, or a pointer of
            Git LFS in its place.
    """
    where = where or str(source)
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{where}: no such image file. Put it there, or correct what names it.") from None
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}). Put a readable image file there.") from None
    if content.startswith(_POINTER):
        raise UserError(
            f"{where}: is a pointer of Git LFS and not the image itself. Run `git lfs install` and `git lfs pull` in "
            "the clone that it lies in."
        )
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"{where}: has more than {most} pixels, which nobody edits whole. Scale it down.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        shown = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"  # that one names the buffer only
        raise UserError(f"{where}: is no readable image{shown}. Replace the file, or download it again.") from None
    return _eight_bits(image, where)


def _eight_bits(image: Image.Image, where: str) -> Image.Image:
    """Return a picture of one channel of 16 bits as one of 8; Pillow would make all above 255 white.

    Raises:
        UserError: it has 32 bits a pixel, of which nobody knows which number is white.
    """
    if image.mode.startswith("I;16"):
        made = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().astype(np.uint8))
        made.info = {key: value for key, value in image.info.items() if key == "exif"}
        return made
    if image.mode in ("I", "F"):
        raise UserError(f"{where}: has 32 bits a pixel, expected 8 or 16 a channel. Save it as an 8-bit PNG.")
    return image


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
"""By the orientation in EXIF data, 1 to 8, what makes a picture upright."""


def rgb(image: Image.Image, *, upright: bool = False) -> Pixels:
    """Return a picture as uint8 [H, W, 3]; an alpha channel is dropped. `upright` turns it as its EXIF data say, if
    they can be read."""
    turn = _turn(image) if upright else None
    turned = image if turn is None else image.transpose(turn)
    return np.array(turned.convert("RGB"), dtype=np.uint8)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data fail in many ways, and programs that show pictures pass over them
        return None
    return _TURNS[orientation] if isinstance(orientation, int) and 0 <= orientation < len(_TURNS) else None


def grey_mask(image: Image.Image) -> Mask:
    """Return a picture as bool [H, W], True where it is brighter than the middle of the grey range."""
    found: Mask = np.asarray(image.convert("L")) > 127
    return found


def alpha_mask(image: Image.Image) -> Mask | None:
    """Return bool [H, W], True where a picture is transparent (DALL-E's masks); None if it has no alpha channel."""
    if not image.has_transparency_data:
        return None
    clear: Mask = np.asarray(image.convert("RGBA").getchannel("A")) < 128
    return clear


def same_size(mask: Mask, picture: tuple[int, int], where: str) -> Mask:
    """Return a mask; raise `UserError`, starting with `where`, if it is of another size than its picture [H, W]."""
    if mask.shape != picture:
        raise UserError(
            f"{where}: the mask is {mask.shape[1]}x{mask.shape[0]} but its image is {picture[1]}x{picture[0]} pixels. "
            "Resize the mask to the image with nearest-neighbour interpolation."
        )
    return mask


def safe_name(parts: Sequence[Any]) -> str:
    """Join what names a sample to a part of a case id: letters, digits, "_" and "-"."""
    text = "-".join(str(part) for part in parts)
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "-" for letter in text)
