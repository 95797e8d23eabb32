"""From a picture of any size to the square that is evaluated, with the masks, points and maps that belong to it.

A picture, of any size, belongs to a data set or a user; an image belongs to a case. Pixel coordinates are (x, y), x to
the right, y downwards, whole numbers at pixel centres, as in `regions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from editfrontier.base.errors import UserError
from editfrontier.data.pictures import Mask, Pixels, read_rgb

Floats = npt.NDArray[np.float64]
Fit = Literal["crop", "stretch"]


@dataclass(frozen=True)
class Frame:
    """The part of a picture that is kept, and the size that it gets.

    Attributes:
        picture: (height, width) of the picture.
        left, top: first pixel of the part.
        height, width: size of the part.
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

    def scaled_image(self, pixels: Pixels) -> Pixels:
        """Return the same part of a picture [H, W, 3] of the same shape in another resolution, as `image` does."""
        height, width = pixels.shape[:2]
        y, x = height / self.picture[0], width / self.picture[1]
        box = (self.left * x, self.top * y, (self.left + self.width) * x, (self.top + self.height) * y)
        scaled = Image.fromarray(pixels).resize((self.size, self.size), Image.Resampling.LANCZOS, box)
        return np.asarray(scaled, dtype=np.uint8)

    def text(self, file: str = "") -> str:
        """Return what `parse` reads, for the column `frame` of a case; `file`: path or name of the picture."""
        return json.dumps({**asdict(self), "file": file}, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> tuple[Frame, str]:
        """Return the frame and the file that `text` wrote."""
        values = json.loads(text)
        file = values.pop("file")
        return cls(**{**values, "picture": tuple(values["picture"])}), file

    def mask(self, mask: Mask) -> Mask:
        """Return bool [H, W] as [size, size]: pixels at least half covered, else those covered most."""
        cover = np.asarray(self._resized(Image.fromarray(mask.astype(np.uint8) * 255), Image.Resampling.BOX))
        framed: Mask = cover >= 128
        if not framed.any() and cover.any():
            framed = cover == cover.max()
        return framed

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
        about: bool [H, W], the area that a crop is centred on as far as the picture allows; None or empty = the middle.
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


def read_square(path: Path, size: int) -> Pixels:
    """Read a square image at the evaluation resolution, uint8 [size, size, 3].

    Raises:
        UserError: the file is missing, no image, not square, or smaller than `size`.
    """
    pixels = read_rgb(path)
    height, width = pixels.shape[:2]
    if height != width:
        raise UserError(f"{path}: is {width}x{height} pixels, expected a square. Get the original file.")
    if height < size:
        raise UserError(
            f"{path}: is {width}x{height} pixels, smaller than the {size}x{size} that are evaluated. Take the images "
            "in full size, or lower the option `size`."
        )
    return frame_of((height, width), size, "crop").image(pixels)


def apply(affine: Floats, points: Floats) -> Floats:
    """Map points [N, 2] (x, y) by an affine map [2, 3]."""
    moved: Floats = points @ affine[:, :2].T + affine[:, 2]
    return moved


def same_size(mask: Mask, picture: tuple[int, int], where: str) -> Mask:
    """Return a mask; raise `UserError`, starting with `where`, if it is of another size than its picture [H, W]."""
    if mask.shape != picture:
        raise UserError(
            f"{where}: the mask is {mask.shape[1]}x{mask.shape[0]} but its image is {picture[1]}x{picture[0]} pixels. "
            "Resize the mask to the image with nearest-neighbour interpolation."
        )
    return mask


def safe_name(parts: Sequence[Any]) -> str:
    """Join the names of a sample to a part of a case id: letters, digits, "_" and "-"."""
    text = "-".join(str(part) for part in parts)
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "-" for letter in text)
