"""The one reader of pictures: what it opens, what it refuses, and which pixels it takes."""

from __future__ import annotations

import ast
import io
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps

from editfrontier.base.errors import UserError
from editfrontier.data.cases import PICTURE_ENDINGS, read_image, read_mask
from editfrontier.data.pictures import (
    FORMATS,
    MOST_BYTES,
    alpha_mask,
    grey_mask,
    open_picture,
    painted,
    read_rgb,
    rgb,
)

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def png(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(UserError, match=r"a\.png: no such image file"):
        open_picture(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(UserError, match=r"a\.png: is a pointer of Git LFS .* `git lfs pull`"):
        open_picture(path)
    path.write_text("<html>")
    with pytest.raises(UserError, match=r"a\.png: is no readable image\. Replace"):
        open_picture(path)
    content = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.png: is no readable image \(.*truncated"):
        open_picture(path)
    with pytest.raises(UserError, match=r"row 3: is no readable image"):
        open_picture(b"nothing", "row 3")


def test_channels() -> None:
    rgba = np.full((4, 6, 4), 255, np.uint8)
    rgba[:, :2, 3] = 0
    rgba[:, 2, 3] = 127
    rgba[:, 3, 3] = 128
    image = open_picture(png(rgba), "mask")
    clear = alpha_mask(image)
    assert clear is not None and clear[0].tolist() == [True, True, True, False, False, False]
    assert rgb(image).shape == (4, 6, 3) and rgb(image).min() == 255  # white below white
    assert alpha_mask(open_picture(png(rgba[..., :3]), "mask")) is None
    palette = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) % 2).convert("P")
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=1)
    clear = alpha_mask(open_picture(buffer.getvalue(), "mask"))
    assert clear is not None and clear[0].tolist() == [False, True] * 3
    assert grey_mask(open_picture(png(np.array([[0, 127, 128, 255]], np.uint8)), "m")).tolist() == [[0, 0, 1, 1]]


def test_a_photo_is_turned_as_its_camera_says() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 0] = 255
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(buffer, "PNG", exif=exif)
    turned = rgb(open_picture(buffer.getvalue(), "photo"), upright=True)
    assert turned.shape == (8, 4, 3) and turned[0].min() == 255 and turned[1:].max() == 0
    assert rgb(open_picture(buffer.getvalue(), "photo")).shape == (4, 8, 3)


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 300])
def test_every_orientation_is_turned_as_pillow_does(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_picture(png(pixels, exif=exif), "photo")
    assert np.array_equal(rgb(image, upright=True), np.asarray(ImageOps.exif_transpose(image)))


def test_damaged_exif_data_do_not_turn_a_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nothing", b"Exif\0\0II"):
        image = open_picture(png(pixels, exif=exif), "photo")
        assert np.array_equal(rgb(image, upright=True), pixels)


@pytest.mark.parametrize("ending", ["PNG", "TIFF"])
def test_16_bits_are_brought_to_8(ending: str) -> None:
    grey, buffer = np.array([[0, 100, 257 * 100, 257 * 127, 257 * 128, 65535]], np.uint16), io.BytesIO()
    Image.fromarray(grey).save(buffer, ending)
    image = open_picture(buffer.getvalue(), "grey")
    assert rgb(image)[0, :, 1].tolist() == [0, 0, 100, 127, 128, 255]
    assert grey_mask(image)[0].tolist() == [False, False, False, False, True, True]


def test_other_modes_than_rgb_show_what_programs_show() -> None:
    ramp = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(8, 0)
    for mode, ending in (("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("CMYK", "TIFF"), ("RGBA", "PNG")):
        buffer = io.BytesIO()
        Image.fromarray(ramp).convert("RGB" if mode in ("CMYK", "RGBA") else "L").convert(mode).save(buffer, ending)
        assert np.abs(rgb(open_picture(buffer.getvalue(), mode))[..., 0].astype(int) - ramp).max() <= 1, mode


def test_pictures_without_a_known_white_are_refused(tmp_path: Path) -> None:
    for kind in (np.float32, np.int32):
        Image.fromarray(np.ones((4, 4), kind)).save(tmp_path / "a.tif")
        with pytest.raises(UserError, match=r"a\.tif: has 32 bits a pixel, expected 8 or 16"):
            open_picture(tmp_path / "a.tif")


def test_a_picture_that_is_too_large_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match=r"poster: has more than 20 pixels, .*Scale it down"):
        open_picture(png(np.zeros((8, 8), np.uint8)), "poster")


# --- what is opened --------------------------------------------------------------------------------------------------


@pytest.fixture
def at_once() -> Iterator[None]:
    """Fail what waits for more than ten seconds."""

    def fail(*_: object) -> None:
        raise AssertionError("waited for a file that is none")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_formats_are_read_as_pictures_and_as_masks(tmp_path: Path, kind: str) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    path = tmp_path / "a.png"  # whatever it is called
    Image.fromarray(pixels).save(path, kind, quality=95)
    assert np.abs(read_image(path).astype(int) - pixels).max() <= 8
    assert np.array_equal(read_mask(path, (16, 16)), pixels[..., 0] > 127)


def test_endings_are_those_of_the_formats() -> None:
    Image.init()
    of = {ending: name for ending, name in Image.registered_extensions().items() if name in FORMATS}
    assert {of[ending] for ending in PICTURE_ENDINGS} == set(FORMATS)


def test_an_eps_never_starts_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: started.append(given))
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    for read in (read_image, open_picture, lambda file: read_mask(file, (8, 8))):
        with pytest.raises(UserError, match=r"a\.png: is no readable image \(it is EPS, expected PNG, JPEG"):
            read(path)
    assert started == []


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a film"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_what_a_file_is_instead_is_said(content: bytes, name: str) -> None:
    with pytest.raises(UserError, match=rf"photo: is no readable image \(it is {name}, expected PNG"):
        open_picture(content, "photo")


@pytest.mark.usefixtures("at_once")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name, kind in (("pipe", "a pipe or a device"), ("zero", "a pipe or a device"), ("folder", "a folder")):
        for read in (read_image, read_rgb, lambda file: read_mask(file, (8, 8))):
            with pytest.raises(UserError, match=rf"{name}\.png: is {kind}, expected an image file"):
                read(tmp_path / f"{name}.png")


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(np.zeros((4, 4), np.uint8)))
    os.truncate(path, MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(UserError, match=r"a\.png: has \d+ bytes, expected at most"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_of_every_format_are_named(kind: str) -> None:
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(buffer, kind)
    whole = np.frombuffer(buffer.getvalue(), np.uint8)
    said = []
    for start in range(12, min(len(whole), 400), 8):
        damaged = whole.copy()
        damaged[start : start + 8] = rng.integers(0, 256, len(damaged[start : start + 8]))
        for content in (damaged.tobytes(), whole[:start].tobytes()):
            try:
                read_rgb(content, "photo", upright=True)
            except UserError as error:
                said.append(str(error))
    assert said and all(text.startswith("photo: ") for text in said)


def test_every_call_that_opens_pictures_names_the_formats() -> None:
    root = Path(__file__).parents[2]
    files = [file for folder in ("src", "scripts", "benchmarks") for file in (root / folder).rglob("*.py")]
    calls = [
        (file.name, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.get("formats"))
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and re.search(r"\bImage\.open$|imread$", ast.unparse(node.func))
    ]
    assert ("pictures.py", "FORMATS") in calls
    assert [call for call in calls if call[1] not in ("FORMATS", "('PNG',)")] == []


def test_of_several_pictures_in_a_file_the_first_is_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, second = (Image.new("RGB", (8, 8), (grey,) * 3) for grey in (0, 255))
    for kind, said in (("GIF", True), ("TIFF", True), ("MPO", False)):  # phones put a preview behind a JPEG
        buffer = io.BytesIO()
        first.save(buffer, kind, save_all=True, append_images=[second])
        caplog.clear()
        assert read_rgb(buffer.getvalue(), "photo").max() == 0
        assert ("photo: has 2 pictures in it, the first one is read" in caplog.text) == said, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_photos_and_masks_of_every_format_are_turned(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, exif=exif, quality=95)
    right = np.zeros((32, 16), bool)
    right[:16] = True
    assert np.array_equal(read_rgb(buffer.getvalue(), "photo", upright=True)[..., 0] > 127, right)
    assert np.array_equal(grey_mask(open_picture(buffer.getvalue(), "mask"), upright=True), right)


# --- transparency ----------------------------------------------------------------------------------------------------


def test_transparent_pixels_of_a_picture_are_white_paper(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 3] = (255, 128, 0)
    assert read_rgb(png(rgba), "layer")[0, :, 0].tolist() == [0, 127, 255]
    assert "layer: has transparent pixels, which are laid on white" in caplog.text
    caplog.clear()
    rgba[..., 3] = 255
    assert read_rgb(png(rgba), "layer").max() == 0 and caplog.text == ""
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    buffer = io.BytesIO()
    palette.save(buffer, "GIF", transparency=1)
    assert read_rgb(buffer.getvalue(), "icon")[0, :, 0].tolist() == [0, 255]
    la = np.dstack([np.zeros((1, 2), np.uint8), np.array([[255, 0]], np.uint8)])
    assert read_rgb(png(la), "grey")[0, :, 0].tolist() == [0, 255]


def test_masks_are_what_was_painted_not_what_lies_under_transparent_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    layer = np.full((8, 8, 4), 255, np.uint8)
    layer[..., 3] = 0
    layer[2:4, 2:4, 3] = 255
    layer[6, 6, 3] = 100  # a brush that is soft at its edge
    path = tmp_path / "m.png"
    path.write_bytes(png(layer))
    right = np.zeros((8, 8), bool)
    right[2:4, 2:4] = True
    assert np.array_equal(read_mask(path, (8, 8)), right)
    assert f"{path}: has transparent pixels, which count as not painted" in caplog.text
    right[6, 6] = True
    assert np.array_equal(painted(open_picture(path)), right)
    caplog.clear()
    layer[..., 3] = 255
    assert grey_mask(open_picture(png(layer), "m"), where="m").all() and caplog.text == ""
