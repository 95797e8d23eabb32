"""Pictures of any size to squares, with masks, points and maps; and files that are no pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from editfrontier.errors import UserError
from editfrontier.framing import alpha_mask, apply, frame_of, grey_mask, open_picture, rgb, safe_name, same_size


def png(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_picture_of_the_size_is_kept_to_the_byte() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for fit in ("crop", "stretch"):
        assert np.array_equal(frame_of((32, 32), 32, fit).image(image), image)


def test_a_crop_is_the_largest_square_around_the_mask_within_the_picture() -> None:
    mask = np.zeros((40, 100), bool)
    assert (frame_of((40, 100), 20, "crop").left, frame_of((40, 100), 20, "crop").width) == (30, 40)
    mask[10:20, 60:70] = True
    assert frame_of((40, 100), 20, "crop", mask).left == 45  # the middle of the mask is at 65
    mask[:] = False
    mask[:, 98:] = True
    assert frame_of((40, 100), 20, "crop", mask).left == 60
    tall = frame_of((100, 40), 20, "crop", mask.T)
    assert (tall.top, tall.left, tall.height, tall.width) == (60, 0, 40, 40)
    assert frame_of((40, 100), 20, "stretch", mask).width == 100


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_points_and_maps_follow_the_pixels(fit: str) -> None:
    """A square and its target, moved on the picture and then framed, or framed and then moved."""
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[32:48, 40:56] = 255
    frame = frame_of((80, 120), 40, fit)  # type: ignore[arg-type]
    centre = frame.points(np.array([[47.5, 39.5]]))[0]
    rows, columns = np.nonzero(frame.image(picture)[..., 0] > 127)
    assert centre == pytest.approx((columns.mean(), rows.mean()), abs=0.05)
    affine = np.array([[0.0, -1.0, 87.0], [1.0, 0.0, -8.0]])
    start = np.array([[41.0, 33.0], [50.0, 40.0]])
    native, framed = frame.points(apply(affine, start)), apply(frame.affine(affine), frame.points(start))
    assert native == pytest.approx(framed)


def test_masks_keep_what_covers_half_of_a_pixel_and_never_vanish() -> None:
    mask = np.zeros((16, 16), bool)
    mask[0:2, 0:4] = True  # half of the first pixel
    mask[8:9, 8:12] = True  # a quarter of another one
    made = frame_of((16, 16), 4, "stretch").mask(mask)
    assert made.sum() == 1 and made[0, 0]
    thin = np.zeros((16, 16), bool)
    thin[5, 5] = True
    assert np.argwhere(frame_of((16, 16), 4, "stretch").mask(thin)).tolist() == [[1, 1]]
    assert not frame_of((16, 16), 4, "stretch").mask(np.zeros((16, 16), bool)).any()
    with pytest.raises(ValueError, match="expected a picture"):
        frame_of((16, 16), 4, "crop").mask(np.zeros((16, 8), bool))


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
    assert rgb(image).shape == (4, 6, 3) and rgb(image).min() == 255  # the alpha channel is dropped, not blended
    assert alpha_mask(open_picture(png(rgba[..., :3]), "mask")) is None
    palette = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) % 2).convert("P")
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=1)
    clear = alpha_mask(open_picture(buffer.getvalue(), "mask"))
    assert clear is not None and clear[0].tolist() == [False, True] * 3
    assert grey_mask(open_picture(png(np.array([[0, 127, 128, 255]], np.uint8)), "m")).tolist() == [[0, 0, 1, 1]]
    with pytest.raises(UserError, match=r"m\.png: the mask is 6x4 but its image is 4x6 pixels"):
        same_size(np.zeros((4, 6), bool), (6, 4), "m.png")


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


def test_names() -> None:
    assert safe_name(["animals", "JH_2023-09-14 1820é"]) == "animals-JH_2023-09-14-1820-"
