"""Colour profiles of pictures: what is not sRGB is converted, what is stays to the byte."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from editfrontier.base.errors import UserError
from editfrontier.data.cases import read_mask
from editfrontier.data.pictures import painted, read_rgb

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Primaries of Adobe RGB (1998) as XYZ at D50, columns of the matrix."""


def profile(space: str = "RGB", gamma: float = 2.2) -> bytes:
    """A profile of the ICC, version 2.4: a matrix of primaries, or the curve of a grey one."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    parts = [
        (b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + b"\0" * 78),
        (b"wtpt", xyz(white)),
    ]
    if space == "RGB":
        parts += [(name, xyz(value)) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), ADOBE, strict=True)]
    curves = (b"rTRC", b"gTRC", b"bTRC") if space == "RGB" else (b"kTRC",)
    parts += [(name, curve) for name in curves]
    table, body, start = b"", b"", 132 + 12 * len(parts)
    for name, part in parts:
        padded = part + b"\0" * (-len(part) % 4)
        table += name + struct.pack(">II", start + len(body), len(padded))
        body += padded
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02400000, b"mntr", space.ljust(4).encode(), b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + xyz(white)[8:] + b"\0" * 48
    whole = head + struct.pack(">I", len(parts)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def saved(picture: Image.Image, kind: str, icc: bytes, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, icc_profile=icc, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_another_colour_profile_is_converted_to_srgb(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    content = saved(Image.new("RGB", (16, 16), (60, 180, 75)), kind, profile(), quality=95)
    stored = Image.open(io.BytesIO(content)).convert("RGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile()))
    right = ImageCms.profileToProfile(stored, source, ImageCms.createProfile("sRGB"))
    assert right is not None and np.abs(np.asarray(right).astype(int) - np.asarray(stored)).max() > 50
    assert np.array_equal(read_rgb(content, "photo"), np.asarray(right))
    assert "photo: is converted from the colour profile 'wide' to sRGB" in caplog.text


def test_adobe_rgb_becomes_what_its_definition_says() -> None:
    """Decode by gamma 2.2, go to XYZ, and back by the matrix and curve of sRGB (IEC 61966-2-1, adapted to D50)."""
    red, green, blue = (0.43607, 0.22250, 0.01393), (0.38506, 0.71688, 0.09710), (0.14308, 0.06062, 0.71417)
    colours = np.random.default_rng(0).integers(0, 256, (1, 64, 3), dtype=np.uint8)
    linear = (colours[0] / 255.0) ** 2.2 @ np.array(ADOBE) @ np.linalg.inv(np.array([red, green, blue]))
    linear = linear.clip(0, 1)
    right = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    made = read_rgb(saved(Image.fromarray(colours), "PNG", profile()), "photo")[0]
    assert np.abs(made - right).max() < 3


def test_a_profile_of_srgb_changes_no_byte(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read_rgb(saved(Image.fromarray(pixels), "PNG", icc), "photo"), pixels)
    grey = pixels[..., 0]
    assert np.array_equal(read_rgb(saved(Image.fromarray(grey), "PNG", icc), "photo")[..., 0], grey)
    assert caplog.text == ""


def test_grey_profiles_layers_and_16_bits_are_converted_too() -> None:
    ramp = np.arange(0, 256, 5, dtype=np.uint8)[None]
    right = np.asarray(
        ImageCms.profileToProfile(
            Image.fromarray(ramp),
            ImageCms.ImageCmsProfile(io.BytesIO(profile("GRAY", 1.0))),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    )
    assert np.abs(right[..., 0].astype(int) - ramp).max() > 50
    icc = profile("GRAY", 1.0)
    assert np.array_equal(read_rgb(saved(Image.fromarray(ramp), "PNG", icc), "grey"), right)
    layer = Image.fromarray(np.dstack([ramp, np.full_like(ramp, 255)]))
    assert np.array_equal(read_rgb(saved(layer, "PNG", icc), "layer"), right)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    assert np.array_equal(read_rgb(saved(deep, "TIFF", icc), "deep"), right)


def test_a_profile_that_cannot_be_used_is_said_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    for icc in (b"nothing", profile()[:200], profile("GRAY")):
        caplog.clear()
        assert np.array_equal(read_rgb(saved(Image.fromarray(pixels), "PNG", icc), "photo"), pixels)
        assert "photo: its colour profile cannot be used" in caplog.text


def test_a_mask_in_lab_is_read_by_its_lightness(tmp_path: Path) -> None:
    lightness = np.zeros((8, 8), np.uint8)
    lightness[:3] = 255
    neutral = Image.new("L", (8, 8), 128)
    Image.merge("LAB", (Image.fromarray(lightness), neutral, neutral)).save(tmp_path / "mask.tif")
    assert np.array_equal(read_mask(tmp_path / "mask.tif", (8, 8)), lightness > 0)
    with pytest.raises(UserError, match="a mask: is in LAB.*Save it as PNG in sRGB"):
        painted(Image.open(tmp_path / "mask.tif"))
